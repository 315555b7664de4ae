from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anonymizer.publish import Stream
from anonymizer.record import audit, recorder
from anonymizer.record.catalogue import Catalogue, CatalogueError, File
from anonymizer.record.recorder import Recorder
from anonymizer.record.settings import RecordSettings
from anonymizer.statedir import StateDir
from tests.record import units

EVENT = {
    "type": "end",
    "before": None,
    "after": {
        "id": "gate-1-7", "camera": "gate", "start_time": units.WALL + 1, "last_time": units.WALL + 3,
        "end_time": units.WALL + 3, "zones": ["door"], "action": "replace", "method": "swap", "rule": "default",
        "box": [10, 20, 30, 40],
    },
}  # fmt: skip


async def until(true: Callable[[], object], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_the_service_records_through_a_killed_recorder(tmp_path: Path) -> None:
    said: list[tuple[str, str, dict[str, Any]]] = []

    async def scenario() -> None:
        service = Recorder(StateDir(tmp_path), lambda camera, what, more: said.append((camera, what, more)))
        wanted: list[None] = []
        stream = Stream("gate", request_key=lambda: wanted.append(None))
        service.add("gate", stream, RecordSettings(enabled=True, segment=60, reserve_mb=0), lambda: "camera")
        running = asyncio.create_task(service.run())
        await until(lambda: service.pid)
        first, *rest = [list(units.video(100, start=start)) for start in (0, 4)]
        began = time.process_time()
        for unit in first:
            stream.publish(unit)
        assert (time.process_time() - began) / len(first) < 0.002
        service.event("gate", EVENT)
        await until(lambda: list(tmp_path.glob("recordings/gate/*/.*.part")))
        await asyncio.sleep(0.5)
        killed = service.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        await until(lambda: service.restarts == 1)
        for unit in rest[0][:10]:
            stream.publish(unit)  # nobody takes them, and nobody minds
        await until(lambda: service.pid and service.pid != killed)
        await until(lambda: wanted)
        for unit in rest[0]:
            stream.publish(unit)
        await asyncio.sleep(0.3)
        await service.stop(10)
        await running

    asyncio.run(scenario())
    with Catalogue(tmp_path) as catalogue:
        files = catalogue.files("segment", "gate")
        (track,) = catalogue.tracks("gate", units.WALL, units.WALL + 2)
        assert catalogue.sightings("gate-1-7") == [(units.WALL + 3, (10, 20, 30, 40))]
        assert catalogue.tracks("gate", units.WALL + 4, units.WALL + 9) == []
    assert track.ended and track.zones == ("door",)
    assert [file.healed for file in files] == [True, False] and files[1].clock == "camera"
    assert files[0].frames >= 75 and files[1].frames == 100
    for file in files:
        assert hashlib.sha256(Path(file.path).read_bytes()).hexdigest() == file.sha256
    whats = [what for _, what, _ in said]
    assert whats == ["recording stopped", "recordings healed"]


def test_a_recorder_that_hangs_costs_the_stream_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Recorder(StateDir(tmp_path), lambda *_: None)
        stream = Stream("gate")
        service.add("gate", stream, RecordSettings(enabled=True, reserve_mb=0), lambda: "camera")
        running = asyncio.create_task(service.run())
        await until(lambda: service.pid)
        assert service.pid
        os.kill(service.pid, signal.SIGSTOP)
        unit = next(units.video(1))
        heavy = type(unit)(unit.codec, unit.data + bytes(200_000), False, unit.time, unit.wall)
        worst = 0.0
        for _ in range(200):  # 40 MB
            began = time.thread_time()
            stream.publish(heavy)
            worst = max(worst, time.thread_time() - began)
        assert service.dropped > 50 and worst < 0.1
        await service.stop(0.2)
        await running

    asyncio.run(scenario())


def test_retention_runs_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateDir(tmp_path)
    old = tmp_path / "old.mp4"
    old.write_bytes(b"x")
    with Catalogue(tmp_path) as catalogue:
        catalogue.add(File("segment", "gate", str(old), 1000, 1060, "camera", 1, "0" * 64))
    monkeypatch.setattr(recorder, "_RETENTION_EVERY", 0.0)

    async def scenario() -> None:
        service = Recorder(state, lambda *_: None)
        service._cleaned = 0.0
        service.add("gate", Stream("gate"), RecordSettings(), lambda: "camera")
        running = asyncio.create_task(service.run())
        await until(lambda: not old.exists(), 40)
        await until(lambda: service._cleaner is None or not service._cleaner.is_alive())
        await service.stop()
        await running

    asyncio.run(scenario())
    assert [entry.said["count"] for entry in audit.entries(tmp_path) if entry.kind == "deleted"] == [1]


def test_a_broken_catalogue_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").write_bytes(b"this is no database" * 300)
    with Catalogue(tmp_path) as catalogue:
        assert catalogue.files("segment") == []
    assert list(tmp_path.glob("*.broken"))


@pytest.mark.parametrize(
    "event", [{}, {"type": "end", "after": None}, {**EVENT, "after": {**EVENT["after"], "box": [1]}}]
)  # type: ignore[dict-item]
def test_nonsense_is_no_event(tmp_path: Path, event: dict[str, Any]) -> None:
    with Catalogue(tmp_path) as catalogue, pytest.raises(CatalogueError):
        catalogue.take_event(event)
