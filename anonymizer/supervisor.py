"""The service's end of one camera: starts its worker, takes what it sends, starts it anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from anonymizer import link
from anonymizer.access_unit import AudioParameters, Codec
from anonymizer.errors import AnonymizerError
from anonymizer.events.state import CameraCounters, CameraState
from anonymizer.ingest.backoff import Backoff
from anonymizer.link import AUDIO, MAIN, Kind, LinkError, Message
from anonymizer.publish import Stream
from anonymizer.worker import Spec, main

log = logging.getLogger(__name__)

_STARTING = 60.0
"""As ``_SILENT``, until a worker has told something for the first time: many that start at once take their time."""
_SILENT = 10.0
"""Seconds after which a worker that tells nothing, or takes no order, is stuck and is killed. It tells its state every
second."""
DROPPED = "frames are dropped: they come faster than they can be worked on"
"""What is told when a camera begins to."""


class Listener(Protocol):
    """What the service does with what workers tell."""

    def event(self, camera: str, event: dict[str, Any]) -> None: ...

    def changed(self, camera: str, state: CameraState) -> None: ...

    def notice(self, camera: str, level: str, text: str) -> None: ...

    def sealed(self, camera: str, told: dict[str, Any]) -> None: ...

    def trouble(self, camera: str) -> str:
        """What the service itself cannot do for the camera, such as recording it, or empty. Asked once a second."""


class Supervisor:
    """One camera. Used in the service's asyncio loop only; ``run`` until cancelled, or ``stop``.

    streams: main and, where configured, sub: they live as long as the camera is configured, through all restarts.
    specify: gives the spec for the next start, with the epoch.
    """

    def __init__(
        self, name: str, streams: dict[int, Stream], specify: Callable[[int], Spec], listener: Listener
    ) -> None:
        self.name = name
        self.state = CameraState(reason="starting")
        self.size = 0, 0
        self.clock = ""
        self.restarts = 0
        self._streams = streams
        self._specify = specify
        self._listener = listener
        self._past, self._present = CameraCounters(), CameraCounters()
        self._dropping = False
        self._process: multiprocessing.process.BaseProcess | None = None
        self._orders: asyncio.Queue[bytes] | None = None
        self._stills: list[asyncio.Future[bytes]] = []
        self._still_asked = float("-inf")
        self._patience = _STARTING
        self._stopping = False

    @property
    def counters(self) -> CameraCounters:
        """Of all workers that this camera has had."""
        return self._past + self._present

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Keep a worker alive until ``stop``."""
        backoff = Backoff()
        epoch = time.time_ns() // 1_000_000
        while not self._stopping:
            began = time.monotonic()
            try:
                await self._life(epoch)
            except (OSError, AnonymizerError) as error:
                log.error("%s: its worker is lost, or cannot be started: %s", self.name, error)
            except Exception:  # whatever it is, the camera must come back
                log.exception("%s: its worker is lost, or cannot be started", self.name)
            finally:
                self._end()
            if self._stopping:
                return
            if time.monotonic() - began > 10:
                backoff.succeeded()
            self.restarts += 1
            epoch = max(epoch + 1, time.time_ns() // 1_000_000)
            self._change(online=False, degraded=True, fps=0.0, faces=0, reason="its worker died and is started anew")
            self._listener.notice(self.name, "error", "the camera's worker died and is started anew")
            await asyncio.sleep(backoff.failed())

    async def _life(self, epoch: int) -> None:
        """One worker, from start to end."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
                context = multiprocessing.get_context("spawn")
                process = context.Process(target=main, args=(self._specify(epoch), theirs), name=self.name, daemon=True)
                # Starting takes some milliseconds of the loop: nothing else would be served by moving it to a thread,
                # where a second start at the same time could inherit this one's descriptors.
                process.start()
            ours.setblocking(False)
            self._process, self._orders, self._patience = process, asyncio.Queue(), _STARTING
            tasks = [asyncio.create_task(talk) for talk in (self._hear(ours), self._deliver(ours, self._orders))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._orders = None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _hear(self, ours: socket.socket) -> None:
        """Take what the worker tells until it is gone."""
        loop, decoder = asyncio.get_running_loop(), link.Decoder()
        room = memoryview(bytearray(1 << 18))  # one for all: a fresh one for each read tears holes into the heap
        while True:
            try:
                count = await asyncio.wait_for(loop.sock_recv_into(ours, room), self._patience)
            except TimeoutError:
                raise LinkError(f"it has told nothing for {self._patience:.0f} s") from None
            if not count:
                return
            self._patience = _SILENT
            for message in decoder.feed(room[:count]):
                self._take(message)

    async def _deliver(self, ours: socket.socket, orders: asyncio.Queue[bytes]) -> None:
        """Send orders one after the other, each whole. A worker that takes none would go on with what it knows."""
        while True:
            message = await orders.get()
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(ours, message), self._patience)
            except TimeoutError:
                raise LinkError(f"it has taken no order for {self._patience:.0f} s") from None

    def _take(self, message: Message) -> None:
        if message.kind is Kind.UNIT:
            unit = message.unit()
            if message.channel == AUDIO:
                for stream in self._streams.values():
                    if stream.audio is not None:
                        stream.publish(unit)
            elif message.channel in self._streams:
                self._streams[message.channel].publish(unit)
        elif message.kind is Kind.STATE:
            self._take_state(message.json())
        elif message.kind is Kind.EVENT:
            self._listener.event(self.name, message.json())
        elif message.kind is Kind.SEALED:
            self._listener.sealed(self.name, message.json())
        elif message.kind is Kind.STILL:
            for waiter in self._stills:
                if not waiter.done():
                    waiter.set_result(message.payload)
            self._stills.clear()
        elif message.kind is Kind.NOTICE:
            said = message.json()
            self._listener.notice(self.name, str(said.get("level")), str(said.get("text")))

    def _take_state(self, told: dict[str, Any]) -> None:
        try:
            counters = CameraCounters.from_json(told["counters"])
            dropping = counters.frames_dropped > self._present.frames_dropped
            if dropping and not self._dropping:
                self._listener.notice(self.name, "warning", DROPPED)
            self._present, self._dropping = counters, dropping
            width, height = told["size"]
            self.size, self.clock = (int(width), int(height)), str(told["clock"])
            if (sound := told["audio"]) is not None and self._streams[MAIN].audio is None:
                parameters = AudioParameters(
                    Codec(sound["codec"]), int(sound["rate"]), int(sound["channels"]), bytes.fromhex(sound["config"])
                )
                self._streams[MAIN].audio = parameters
            state = dict(told["state"])
            if trouble := self._listener.trouble(self.name):
                state |= {"degraded": True, "reason": "; ".join(filter(None, (state["reason"], trouble)))}
            self._change(**state)
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"STATE cannot be understood: {error}") from error

    def _change(self, **changes: Any) -> None:
        state = self.state.updated(changes)
        if state != self.state:
            self.state = state
            self._listener.changed(self.name, state)

    def set(self, **changes: Any) -> None:
        """Change what the service knows of the camera: enabled, privacy, method, profile, clients."""
        self._change(**changes)

    # Orders

    def request_key(self, channel: int) -> None:
        self._send(link.encode(Kind.KEY, channel=channel))

    def order(self, order: link.Order) -> None:
        self._send(order.encode())

    async def still(self, timeout: float = 3.0) -> bytes | None:
        """A JPEG of the newest anonymised picture; None when there is none in time."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._stills.append(waiter)
        if len(self._stills) == 1 or time.monotonic() - self._still_asked > 1:
            self._still_asked = time.monotonic()
            self._send(link.encode(Kind.STILL))
        try:
            return await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            return None
        finally:
            with contextlib.suppress(ValueError):
                self._stills.remove(waiter)

    def _send(self, message: bytes) -> None:
        """Without a worker there is nobody to tell: the next one begins with the newest word."""
        if self._orders is not None:
            self._orders.put_nowait(message)

    async def stop(self, patience: float = 3.0) -> None:
        """Let the worker finish what waits, then end it."""
        self._stopping = True
        self._send(link.encode(Kind.STOP))
        deadline = time.monotonic() + patience
        while self._process is not None and self._process.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            if self._process.is_alive():
                self._process.kill()
            self._process.join(2)
            self._process = None
        self._past, self._present = self._past + self._present, CameraCounters()
