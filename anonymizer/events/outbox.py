"""What waits for the broker: bounded, whatever the broker does. Any thread may use it."""

from __future__ import annotations

import threading
from collections import deque

from anonymizer.events.topics import Delivery, Message


class Outbox:
    """limit: queued messages kept; beyond it the oldest goes. Of the others the newest of each topic is kept."""

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Message] = deque()
        self._limit = limit
        self._retained: dict[str, Message] = {}
        self._due: dict[str, Message] = {}  # by topic: retained ones that have changed, and newest ones
        self.dropped = 0
        """Queued messages that nobody got."""

    def __len__(self) -> int:
        return len(self._queue) + len(self._due)

    @property
    def forgetting(self) -> bool:
        """Whether the broker is still to be told to forget something."""
        with self._lock:
            return any(not message.payload for message in self._retained.values())

    def put(self, message: Message, again: bool = False) -> None:
        """again: send a retained message even where it is the same as before."""
        with self._lock:
            if message.delivery is Delivery.QUEUED:
                if len(self._queue) >= self._limit:
                    self._queue.popleft()
                    self.dropped += 1
                self._queue.append(message)
            elif message.delivery is Delivery.NEWEST:
                self._due[message.topic] = message
            elif again or self._retained.get(message.topic) != message:
                self._retained[message.topic] = self._due[message.topic] = message

    def take(self) -> Message | None:
        """The next to send, or None. The taker ends with ``sent`` or ``unsent``."""
        with self._lock:
            if self._due:
                return self._due.pop(next(iter(self._due)))
            return self._queue.popleft() if self._queue else None

    def sent(self, message: Message, accepted: bool = True) -> None:
        """The broker has it; accepted: whether it also keeps or passes it on."""
        with self._lock:
            if not accepted and message.delivery is Delivery.QUEUED:
                self.dropped += 1
            if not message.payload and self._retained.get(message.topic) is message:
                del self._retained[message.topic]

    def unsent(self, message: Message) -> None:
        """The connection broke. A queued message waits again, before those that came later."""
        if message.delivery is not Delivery.QUEUED:
            return
        with self._lock:
            if len(self._queue) >= self._limit:
                self.dropped += 1
            else:
                self._queue.appendleft(message)

    def connected(self) -> None:
        """A broker that may remember nothing: all retained messages are due again, and pictures from before are not."""
        with self._lock:
            self._due = dict(self._retained)
