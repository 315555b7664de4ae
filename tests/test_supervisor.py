"""The service's end of a worker, with a thread in the worker's place: what reaches it, and what its failing does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anonymizer import link, supervisor
from anonymizer.events.state import CameraState
from anonymizer.link import Decoder, Kind, Message
from anonymizer.publish import Stream
from anonymizer.supervisor import Supervisor

Act = Callable[[socket.socket], None]


class Service:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.states: list[CameraState] = []

    def event(self, camera: str, event: dict[str, Any]) -> None: ...

    def changed(self, camera: str, state: CameraState) -> None:
        self.states.append(state)

    def notice(self, camera: str, level: str, text: str) -> None:
        self.notices.append(text)

    def sealed(self, camera: str, told: dict[str, Any]) -> None: ...

    def trouble(self, camera: str) -> str:
        return ""


class Workers:
    """Stands for the processes: each start takes the next act, which gets the worker's end of the link."""

    def __init__(self, *acts: Act | OSError) -> None:
        self._acts = iter(acts)
        self.pid = 1

    def Process(self, args: tuple[Any, socket.socket], **_: Any) -> Workers:
        self._end = args[1].dup()
        return self

    def start(self) -> None:
        act = next(self._acts)
        if isinstance(act, OSError):
            self._end.close()
            raise act
        self._thread = threading.Thread(target=self._act, args=(act, self._end), daemon=True)
        self._thread.start()

    @staticmethod
    def _act(act: Act, end: socket.socket) -> None:
        with end, contextlib.suppress(OSError):
            act(end)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended at this very moment
            self._end.shutdown(socket.SHUT_RDWR)

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)


def messages(end: socket.socket) -> Iterator[Message]:
    decoder = Decoder()
    while data := end.recv(1 << 16):
        yield from decoder.feed(data)


def run(monkeypatch: pytest.MonkeyPatch, workers: Workers, then: Callable[[Supervisor], Any]) -> Service:
    """Run a supervisor over the workers until ``then``, a coroutine function, is done."""
    monkeypatch.setattr(supervisor.multiprocessing, "get_context", lambda kind: workers)
    service = Service()

    async def scenario() -> None:
        sup = Supervisor("gate", {0: Stream("gate")}, lambda epoch: None, service)  # type: ignore[arg-type, return-value]
        running = asyncio.create_task(sup.run())
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await then(sup)
            await sup.stop()
            await running

    asyncio.run(scenario())
    return service


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def test_a_large_order_arrives_whole_and_so_does_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[Kind, int]] = []

    def act(end: socket.socket) -> None:
        for message in messages(end):
            heard.append((message.kind, len(message.payload)))
            if message.kind is Kind.STOP:
                return

    async def then(sup: Supervisor) -> None:
        sup._send(link.encode(Kind.ORDER, bytes(20 << 20)))
        sup._send(link.encode(Kind.ORDER, b"off"))
        sup.request_key(0)
        await until(lambda: len(heard) == 3)

    run(monkeypatch, Workers(act), then)
    assert heard == [(Kind.ORDER, 20 << 20), (Kind.ORDER, 3), (Kind.KEY, 0), (Kind.STOP, 0)]


def test_a_worker_that_takes_no_order_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_STARTING", 0.3)
    monkeypatch.setattr(supervisor, "_SILENT", 0.3)

    def deaf(end: socket.socket) -> None:
        while True:
            end.sendall(link.encode_json(Kind.EVENT, {}))
            stopped.wait(0.05)

    def good(end: socket.socket) -> None:
        next(messages(end))

    stopped = threading.Event()

    async def then(sup: Supervisor) -> None:
        sup._send(link.encode(Kind.ORDER, bytes(20 << 20)))
        await until(lambda: sup.restarts == 1 and sup._orders is not None)

    service = run(monkeypatch, Workers(deaf, good), then)
    stopped.set()
    assert service.notices == ["the camera's worker died and is started anew"]


def test_a_worker_that_cannot_be_started_is_tried_again_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def good(end: socket.socket) -> None:
        started.set()
        next(messages(end))

    async def then(sup: Supervisor) -> None:
        sup._change(online=True, reason="", fps=25.0)  # as it stood before the last one died
        await until(started.is_set)
        assert sup.restarts == 2 and not sup.state.online

    service = run(monkeypatch, Workers(BlockingIOError(11, "no"), OSError(24, "no"), good), then)
    assert len(service.notices) == 2 and not service.states[-1].online


def test_a_worker_may_take_its_time_to_start_and_then_tells_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_SILENT", 0.2)

    def slow(end: socket.socket) -> None:
        over.wait(0.6)
        for _ in range(8):
            end.sendall(link.encode_json(Kind.EVENT, {}))
            over.wait(0.05)
        told.set()
        over.wait()

    told, over = threading.Event(), threading.Event()

    async def then(sup: Supervisor) -> None:
        await until(told.is_set)
        assert sup.restarts == 0
        await until(lambda: sup.restarts == 1)
        over.set()

    run(monkeypatch, Workers(slow, slow), then)
