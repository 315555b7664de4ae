"""A worker's main thread, without a camera: what of the pictures and the sound leaves it, and what does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.config import CameraSettings, Config
from anonymizer.ingest.camera import CameraLost, Loss, SourceSettings
from anonymizer.link import AUDIO, MAIN, Decoder, Kind, Message, Order
from anonymizer.policy import Action
from anonymizer.settings import Secret
from anonymizer.worker import Spec, Worker
from tests import stages


class Bench:
    """A worker whose pipeline is there already, with a look-ahead of a second, and what it sends."""

    def __init__(self, folder: Path, action: Action = Action.SOLID) -> None:
        camera = CameraSettings(source=SourceSettings(url=Secret("rtsp://127.0.0.1/x")))
        config = Config(cameras={"gate": camera}, state_dir=str(folder))
        self.order = Order(stages.rules(action), True)
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(0.1)
        self.worker = Worker(Spec("gate", config, 1, self.order), theirs)
        self.worker._pipeline = stages.pipeline(stages.SquareDetector(), action, lookahead=1.0)
        self.worker._last_notice = float("inf")  # no notices: their times are today's
        self.frames = stages.frames(1000, start=1000.0)

    def show(self, count: int) -> None:
        """Pictures come from the camera, and with each the sound of its time."""
        for _ in range(count):
            frame = next(self.frames)
            self.worker._intake.audio(AccessUnit(Codec.PCMU, bytes(320), True, frame.time, frame.time))
            self.worker._step()
            self.worker._intake.frame(frame)
            self.worker._step()

    def lose(self) -> None:
        self.worker._intake.lost(CameraLost("gate", Loss.ENDED))
        self.worker._step()

    def switch(self, enabled: bool) -> None:
        self.worker._take_order(replace(self.order, enabled=enabled))

    def end(self) -> list[Message]:
        """What was served, after the worker's orderly end."""
        self.worker._end()
        decoder, messages = Decoder(), list[Message]()
        while True:
            try:
                messages += decoder.feed(self.ours.recv(1 << 16))
            except TimeoutError:
                return [m for m in messages if m.kind is Kind.UNIT]


def times(messages: list[Message], channel: int) -> list[float]:
    return [round(m.unit().time - 1000.0, 2) for m in messages if m.channel == channel]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    running = Bench(tmp_path)
    yield running
    running.ours.close()
    running.worker._service.close()


def test_what_waits_is_served_when_the_camera_is_lost(bench: Bench) -> None:
    bench.show(40)
    bench.lose()
    sent = bench.end()
    assert len(times(sent, MAIN)) == 40 and len(times(sent, AUDIO)) == 40


def test_what_waits_when_a_camera_is_switched_off_is_never_served(bench: Bench) -> None:
    bench.show(40)
    bench.switch(False)
    bench.show(10)
    bench.lose()
    bench.switch(True)
    bench.show(40)
    sent = bench.end()
    for channel in (MAIN, AUDIO):
        shown = times(sent, channel)
        assert shown and not [time for time in shown if 0.6 < time < 2.0], shown
    assert bench.worker._painter.shown is None  # nor in a still


def test_a_picture_that_is_covered_whole_takes_no_sound_along(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Action.PRIVACY)
    bench.show(40)
    sent = bench.end()
    assert len(times(sent, MAIN)) == 40 and not times(sent, AUDIO)
    bench.ours.close()
    bench.worker._service.close()


def test_a_worker_that_cannot_understand_the_service_exits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on with what it was told before."""
    codes: list[int] = []
    monkeypatch.setattr("anonymizer.worker.os._exit", codes.append)
    bench.ours.sendall(bytes([255] * 16))
    bench.worker._listen()
    assert codes == [1]
