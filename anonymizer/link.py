"""What a camera's worker and the service say to each other, over one socket pair.

A message is a head of 8 bytes (payload length as unsigned 32-bit, kind and channel as 8 bits each, two bytes of zero,
network order) and its payload. Channel 0 is the main stream, 1 the sub-stream, 2 audio. The worker never waits for the
service: what does not fit is dropped up to the next key frame.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.errors import AnonymizerError
from anonymizer.groups import Member
from anonymizer.policy import RuleSet

_HEAD = struct.Struct("!IBBH")
_UNIT = struct.Struct("!BBdd")
_CODECS = list(Codec)
LONGEST = 64 << 20
MAIN, SUB, AUDIO = range(3)


class LinkError(AnonymizerError):
    """The other side is gone, or speaks nonsense."""


class Kind(IntEnum):
    UNIT = 1  # an access unit
    STILL = 2  # a JPEG of the newest anonymised picture; to the worker: please send one
    EVENT = 3  # JSON: something that happened to a track
    STATE = 4  # JSON: how the camera does
    NOTICE = 5  # JSON: level and text, for the service's log and the audit
    SEALED = 6  # JSON: a sealed fragment of the camera's own pictures, or why there is none
    KEY = 16  # to the worker: a key frame, please
    ORDER = 17  # to the worker: an Order
    STOP = 18  # to the worker: finish what waits and end


@dataclass(frozen=True, slots=True)
class Message:
    kind: Kind
    channel: int
    payload: bytes

    def json(self) -> Any:
        """The payload as JSON. LinkError where it is none."""
        try:
            return json.loads(self.payload)
        except ValueError as error:
            raise LinkError(f"{self.kind.name} carries no JSON") from error

    def unit(self) -> AccessUnit:
        """The payload as an access unit. LinkError where it is none."""
        try:
            codec, key, time, wall = _UNIT.unpack_from(self.payload)
            return AccessUnit(_CODECS[codec], self.payload[_UNIT.size :], bool(key), time, wall)
        except (struct.error, IndexError) as error:
            raise LinkError("UNIT carries no access unit") from error


@dataclass(frozen=True, slots=True)
class Order:
    """The service's word on a camera. rules: those in force, None where they cannot be read. enabled: whether the
    camera may be shown at all. members: enrolled people.

    It travels as a pickle, from the service to the process that it started and never back.
    """

    rules: RuleSet | None
    enabled: bool
    members: tuple[Member, ...] = ()

    def encode(self) -> bytes:
        return encode(Kind.ORDER, pickle.dumps(self))

    @classmethod
    def decode(cls, payload: bytes) -> Order:
        order = pickle.loads(payload)
        if not isinstance(order, cls):
            raise LinkError("ORDER carries no order")
        return order


def encode(kind: Kind, payload: bytes = b"", channel: int = 0) -> bytes:
    """One message as bytes."""
    return _HEAD.pack(len(payload), kind, channel, 0) + payload


def encode_json(kind: Kind, value: Any) -> bytes:
    return encode(kind, json.dumps(value, separators=(",", ":")).encode())


def encode_unit(unit: AccessUnit, channel: int) -> bytes:
    head = _UNIT.pack(_CODECS.index(unit.codec), unit.key, unit.time, unit.wall)
    return encode(Kind.UNIT, head + unit.data, channel)


class Decoder:
    """Cuts a stream of bytes into messages. LinkError for bytes that cannot come from our own encoder."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[Message]:
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            length, kind, channel, zero = _HEAD.unpack_from(self._buffer)
            if length > LONGEST or zero or kind not in Kind.__members__.values():
                raise LinkError(f"no message begins with {bytes(self._buffer[: _HEAD.size]).hex()}")
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield Message(Kind(kind), channel, payload)


class Outbox:
    """The worker's side: queues messages and writes as many bytes as the socket takes, without ever waiting. For
    several threads.

    limit: bytes of access units that may wait. Beyond it all waiting units that are not half sent are dropped, and
    each channel is silent until its next key frame; ``dropped`` counts units. Of other messages the oldest of more
    than 1,000 goes. LinkError where the service is gone.
    """

    def __init__(self, link: socket.socket, limit: int = 8 << 20) -> None:
        link.setblocking(False)
        self._link = link
        self._limit = limit
        self._units: deque[tuple[int, bytes]] = deque()
        self._others: deque[bytes] = deque(maxlen=1000)
        self._partial = memoryview(b"")
        self._waiting = 0
        self._silent: set[int] = set()
        self._lock = threading.Lock()
        self.dropped = 0

    def put_unit(self, unit: AccessUnit, channel: int) -> bool:
        """Queue an access unit. False where its channel is silent and needs a key frame."""
        with self._lock:
            if channel in self._silent:
                if not unit.key:
                    self.dropped += 1
                    return False
                self._silent.discard(channel)
            data = encode_unit(unit, channel)
            if self._waiting + len(data) > self._limit:
                self.dropped += len(self._units) + 1
                self._silent.update({channel, *(c for c, _ in self._units)} - {AUDIO})
                self._units.clear()
                self._waiting = 0
                return False
            self._units.append((channel, data))
            self._waiting += len(data)
            return True

    def put(self, message: bytes) -> None:
        self._others.append(message)

    def flush(self) -> None:
        """Write what the socket takes now."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        try:
            while True:
                if not self._partial:
                    if self._others:
                        self._partial = memoryview(self._others.popleft())
                    elif self._units:
                        data = self._units.popleft()[1]
                        self._waiting -= len(data)
                        self._partial = memoryview(data)
                    else:
                        return
                self._partial = self._partial[self._link.send(self._partial) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise LinkError("the service is gone") from error

    @property
    def empty(self) -> bool:
        return not (self._partial or self._others or self._units)
