"""The thread that reads a camera must never end by itself."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from anonymizer.access_unit import AccessUnit, AudioParameters
from anonymizer.frame import Frame
from anonymizer.ingest import camera
from anonymizer.ingest.camera import CameraLost, Loss, SourceSettings, keep_streaming
from anonymizer.settings import Secret
from tests import videos


class Receiver:
    """Keeps what is told, and stops the reading with the first picture."""

    def __init__(self) -> None:
        self.told: list[CameraLost] = []
        self.stop = Event()
        self.pictures = 0

    def connected(self, audio: AudioParameters | None) -> None: ...

    def audio(self, unit: AccessUnit) -> None: ...

    def frame(self, frame: Frame) -> None:
        self.pictures += 1
        self.stop.set()

    def lost(self, error: CameraLost) -> None:
        self.told.append(error)


def test_a_secret_that_is_missing_is_told_and_read_again(tmp_path: Path) -> None:
    class Mended(Receiver):
        def lost(self, error: CameraLost) -> None:
            super().lost(error)
            address.write_text(str(clip))

    address, clip = tmp_path / "address", videos.write(tmp_path / "clip.mp4", count=3)
    receiver = Mended()
    keep_streaming(SourceSettings(url=Secret(f"file:{address}")), receiver, receiver.stop)
    assert [error.loss for error in receiver.told] == [Loss.SECRET] and receiver.pictures == 1
    assert "cannot be read" in str(receiver.told[0])


def test_a_fault_of_ours_is_told_without_its_text_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(*_: object, **__: object) -> None:
        if len(receiver.told) < 2:
            raise ValueError("rtsp://user:secret@gate")

    monkeypatch.setattr(camera, "stream", stream)
    receiver = Receiver()
    keep_streaming(SourceSettings(url=Secret("rtsp://127.0.0.1/x")), receiver, receiver.stop)
    assert [error.loss for error in receiver.told] == [Loss.FAILED] * 2
    assert "secret" not in str(receiver.told[0]) and "ValueError" in str(receiver.told[0])
