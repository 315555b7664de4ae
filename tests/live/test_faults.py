"""Faults of every part while the whole runs: no face leaves, and the video comes back.

Each fault is recorded over RTSP across its whole length. The recording is compared with the originals by the picture
numbers in it; the control is the camera's own stream, in which the same comparison finds every face.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anonymizer import archive
from anonymizer.record.audit import entries, verify
from tests.conftest import need
from tests.live import rig, stamp
from tests.live.rig import Broker, Camera, Proxy

BACK = 5.0  # seconds within which the video has to be back after a fault


@dataclass
class Bench:
    """A camera with one person, the proxy before it, and what is known of the clip."""

    folder: Path
    source: Path
    clip: Path
    long: Path
    known: dict[int, list[dict[str, Any]]]

    def record(self, url: str, seconds: float, target: Path) -> subprocess.Popen[bytes]:
        command = ["ffmpeg", "-v", "error", "-y", "-rtsp_transport", "tcp", "-i", url, "-t", str(seconds), "-c", "copy"]
        return subprocess.Popen([*command, "-f", "matroska", str(target)], stderr=subprocess.DEVNULL)

    def record_now(self, url: str, seconds: float) -> Path:
        recording = self.folder / f"{time.monotonic_ns()}.mkv"
        self.record(url, seconds, recording).wait(seconds + 30)
        return recording

    def verdict(self, recording: Path) -> stamp.Verdict:
        return stamp.Verdict(recording, self.clip, self.known)


def looped(clip: Path, target: Path) -> Path:
    command = ["ffmpeg", "-v", "error", "-stream_loop", "39", "-i", str(clip), "-c", "copy", str(target)]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="module")
def bench(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    need("ffmpeg")
    rig.need_gst_server()
    folder = tmp_path_factory.mktemp("faults")
    source = shared / "footage" / "video" / "asl" / "walk.mkv"
    clip = stamp.stamped(source, folder / "clip.mp4")
    return Bench(
        folder,
        source,
        clip,
        looped(clip, folder / "long.mp4"),
        stamp.labels(shared / "labels" / "dev" / "asl_walk.json"),
    )


@pytest.fixture
def camera(bench: Bench) -> Iterator[Camera]:
    running = Camera(gate=bench.long)
    yield running
    running.kill()


@pytest.fixture
def start(camera: Camera, tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """Starts the proxy with one camera, ``gate``; settings override the usual ones."""
    running: list[Proxy] = []

    def begin(environment: dict[str, str] | None = None, **settings: Any) -> Proxy:
        gate = {"source": {"url": camera.url("gate"), "silence": 2}, "record": settings.pop("record", {})}
        settings.setdefault("faces", {"lookahead": 0.2})
        proxy = Proxy(tmp_path, environment, cameras={"gate": gate}, **settings)
        running.append(proxy)
        return proxy

    yield begin
    for proxy in running:
        proxy.stop()


def through(
    bench: Bench, proxy: Proxy, fault: Callable[[], object], seconds: float = 14, before: float = 4
) -> stamp.Verdict:
    """Record while a fault happens after ``before`` seconds."""
    recording = bench.folder / f"{time.monotonic_ns()}.mkv"
    recorder = bench.record(proxy.url("gate"), seconds, recording)
    try:
        time.sleep(before)
        fault()
    finally:
        recorder.wait(seconds + 30)
    return bench.verdict(recording)


def test_the_control_finds_every_face(bench: Bench) -> None:
    verdict = bench.verdict(bench.clip)
    assert verdict.faces >= 15 and len(verdict.leaks) == verdict.faces, verdict


def test_without_a_fault(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    verdict = through(bench, proxy, lambda: None, seconds=8)
    assert verdict.pictures > 60 and verdict.faces > 10 and not verdict.leaks, verdict


def test_a_missing_detector_covers_whole_and_is_told(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start(faces={"detector": "/nonexistent/detector.onnx"})
    state = proxy.wait_until("gate", online=True, degraded=True, fps=lambda fps: fps and fps > 10)
    assert "detector.onnx" in state["reason"]
    verdict = through(bench, proxy, lambda: None, seconds=5)
    assert verdict.blank > 40 and not verdict.pictures, verdict


def test_missing_rules_cover_whole_and_are_told(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start(rules="/nonexistent/rules.yaml")
    state = proxy.wait_until("gate", online=True, degraded=True)
    assert "rules" in state["reason"]
    verdict = through(bench, proxy, lambda: None, seconds=5)
    assert verdict.blank > 40 and not verdict.pictures, verdict


def test_rules_that_break_while_running_change_nothing(
    bench: Bench, start: Callable[..., Proxy], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("default: solid\n")
    proxy = start(rules=str(rules))
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)

    def break_them() -> None:
        rules.write_text("default: keep\n")
        proxy.process.send_signal(signal.SIGHUP)

    verdict = through(bench, proxy, break_them, seconds=8)
    assert verdict.faces > 10 and not verdict.leaks, verdict
    assert "nothing is changed" in proxy.log.read_text()


def broken(switch: Path) -> dict[str, str]:
    """The environment of a proxy whose stages fail while the file ``switch`` says so: see sabotage/sitecustomize.py."""
    return {"PYTHONPATH": str(Path(__file__).with_name("sabotage")), "SABOTAGE": str(switch)}


def test_the_control_of_a_proxy_that_paints_nothing(bench: Bench, start: Callable[..., Proxy], tmp_path: Path) -> None:
    """All the tests here record and judge in this way: it must find what a proxy lets through."""
    switch = tmp_path / "switch"
    switch.write_text("painting off")
    proxy = start(broken(switch))
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    verdict = through(bench, proxy, lambda: None, seconds=6)
    assert verdict.faces > 10 and len(verdict.leaks) > 0.95 * verdict.faces, verdict


@pytest.mark.parametrize("fault", ["detector raises", "detector late", "landmarks raise", "swapper raises"])
def test_a_stage_that_fails(bench: Bench, start: Callable[..., Proxy], tmp_path: Path, fault: str) -> None:
    """A swapper that raises costs its face the replacement only, a late detector pictures, since each is painted from
    its own detections; with what else fails the picture is covered whole."""
    switch = tmp_path / "switch"
    proxy = start(broken(switch))
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)

    def fail() -> None:
        switch.write_text(fault)
        if fault != "swapper raises":
            proxy.wait_until("gate", 15, degraded=True)
        time.sleep(3)
        switch.unlink()

    verdict = through(bench, proxy, fail, seconds=18)
    assert verdict.faces > 15 and not verdict.leaks, verdict
    if fault != "detector late":
        assert (verdict.blank > 5) == (fault != "swapper raises"), verdict
    last = stamp.Verdict(bench.record_now(proxy.url("gate"), 3), bench.clip, bench.known)
    assert last.pictures > 0 and not last.leaks, last


def test_a_killed_worker_is_back_and_the_player_stays(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    first = proxy.worker()
    verdict = through(bench, proxy, lambda: os.kill(first, signal.SIGKILL))
    assert proxy.worker() != first
    assert verdict.pictures > 80 and verdict.faces > 15 and not verdict.leaks, verdict


def test_a_frozen_camera_is_told_and_comes_back(bench: Bench, camera: Camera, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)

    def freeze() -> None:
        camera.freeze()
        state = proxy.wait_until("gate", 15, online=False)
        assert state["reason"]
        time.sleep(1)
        camera.freeze(False)
        began = time.monotonic()
        proxy.wait_until("gate", 15, online=True)
        assert time.monotonic() - began < BACK

    verdict = through(bench, proxy, freeze, seconds=20)
    assert verdict.other > 5  # the drawn notice
    assert verdict.faces > 15 and not verdict.leaks, verdict


def test_a_killed_camera_is_told_and_comes_back(bench: Bench, camera: Camera, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)

    def kill() -> None:
        camera.kill()
        proxy.wait_until("gate", 10, online=False)
        time.sleep(3)
        camera.start()
        began = time.monotonic()
        proxy.wait_until("gate", 15, online=True)
        assert time.monotonic() - began < BACK

    verdict = through(bench, proxy, kill, seconds=18)
    assert verdict.other > 5
    assert verdict.faces > 15 and not verdict.leaks, verdict


def test_a_camera_that_changes_its_size(
    bench: Bench, camera: Camera, start: Callable[..., Proxy], tmp_path: Path
) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    small = stamp.stamped(rig.loop(bench.source, tmp_path / "source.mp4", 1, size="320:240"), tmp_path / "small.mp4")
    long = looped(small, tmp_path / "long.mp4")
    halved = {
        index: [{**face, "box": [v / 2 for v in face["box"]]} for face in faces] for index, faces in bench.known.items()
    }

    def change() -> None:
        camera.kill()
        other = Camera(camera.port, gate=long)
        camera._process, other._process = other._process, None

    recording = tmp_path / "sizes.mkv"
    recorder = bench.record(proxy.url("gate"), 12, recording)
    time.sleep(4)
    change()
    recorder.wait(60)
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    assert proxy.still("gate")
    control = stamp.Verdict(small, small, halved)
    assert control.faces > 10 and len(control.leaks) > 0.95 * control.faces, control
    before, after = bench.verdict(recording), stamp.Verdict(recording, small, halved)
    assert before.faces > 5 and not before.leaks, before
    assert after.faces > 5 and not after.leaks, after


def test_a_refused_password_is_tried_once_a_minute(bench: Bench, tmp_path: Path) -> None:
    camera = Camera(login="viewer:right", gate=bench.long)
    source = {"url": camera.url("gate"), "user": "viewer", "password": "wrong"}
    proxy = Proxy(tmp_path, cameras={"gate": {"source": source}})
    try:
        state = proxy.wait_until("gate", 20, reason="refuses the password")
        assert state["online"] is False
        time.sleep(6)
        text = proxy.log.read_text()
        assert text.count("refuses the password") == 1
        assert "wrong" not in text.replace("a wrong", "")
        proxy.settings["cameras"]["gate"]["source"]["password"] = "right"
        proxy.write()
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_until("gate", 15, online=True)
    finally:
        proxy.stop()
        camera.kill()


def test_a_stopped_broker_costs_no_picture(bench: Bench, start: Callable[..., Proxy], tmp_path: Path) -> None:
    need("mosquitto")
    broker = Broker(tmp_path)
    proxy = start(mqtt={"host": "127.0.0.1", "port": broker.port})
    try:
        proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)

        def stop() -> None:
            broker.stop()
            time.sleep(3)
            broker.start()

        verdict = through(bench, proxy, stop, seconds=10)
        assert verdict.pictures > 90 and not verdict.leaks, verdict
    finally:
        broker.stop()


def test_a_player_that_does_not_read_costs_nobody_else_a_picture(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    with socket.create_connection(("127.0.0.1", proxy.rtsp_port)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = proxy.url("gate")
        for number, (method, target, extra) in enumerate(
            (("SETUP", f"{url}/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"), ("PLAY", url, "")), 1
        ):
            session = "" if number == 1 else f"Session: {reply.split('Session: ')[1].split(';')[0].split()[0]}\r\n"  # noqa: F821
            lazy.sendall(f"{method} {target} RTSP/1.0\r\nCSeq: {number}\r\n{session}{extra}\r\n".encode())
            reply = lazy.recv(4096).decode(errors="replace")
            assert "200 OK" in reply
        verdict = through(bench, proxy, lambda: None, seconds=8)
    assert verdict.pictures > 60 and not verdict.leaks, verdict


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    need("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Write until nothing fits; returns the file to remove."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_does_not_end_the_video(
    bench: Bench, start: Callable[..., Proxy], tmp_path: Path, small_disk: Path
) -> None:
    """Nothing of the live path writes; what does, the store of commands, tells so, and obeys what tightens."""
    need("mosquitto_pub", "mosquitto")
    broker = Broker(tmp_path)
    try:
        proxy = start(state_dir=str(small_disk), mqtt={"host": "127.0.0.1", "port": broker.port})
        proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
        filler = fill(small_disk)
        command = ["mosquitto_pub", "-p", str(broker.port), "-t", "anonymizer/gate/method/set", "-m"]
        verdict = through(bench, proxy, lambda: subprocess.run([*command, "solid"], check=True), seconds=8)
        assert verdict.pictures > 60 and not verdict.leaks, verdict
        state = proxy.state("gate")
        assert state["method"] == "solid" and state["degraded"] and "No space left" in state["reason"]
        subprocess.run([*command, "rules"], check=True)
        rig.wait_for("the refusal", lambda: "No space left" in proxy.log.read_text())
        assert proxy.state("gate")["method"] == "solid"
        filler.unlink()
        proxy.wait_until("gate", 20, degraded=False)
        assert '"solid"' in (small_disk / "overlays.json").read_text()
    finally:
        broker.stop()


def test_a_disk_that_is_full_at_the_start(bench: Bench, start: Callable[..., Proxy], small_disk: Path) -> None:
    """The video comes all the same and the camera says what is missing; once there is room, both are made up for."""
    filler = fill(small_disk)
    proxy = start(state_dir=str(small_disk), record={"enabled": True, "segment": 2, "reserve_mb": 1})
    proxy.wait_until("gate", online=True, degraded=True, reason=lambda reason: str(small_disk) in reason)
    verdict = through(bench, proxy, lambda: None, seconds=6)
    assert verdict.pictures > 60 and verdict.faces > 8 and not verdict.leaks, verdict
    filler.unlink()
    proxy.wait_until("gate", 20, online=True, reason=lambda reason: str(small_disk) not in reason)
    rig.wait_for("a segment", lambda: list((small_disk / "recordings").rglob("*.mp4")), 20)
    proxy.stop()
    kinds = [entry.kind for entry in entries(small_disk)]
    assert verify(small_disk).good and "service started" in kinds and "recording resumed" in kinds


def test_sigterm_drains_within_five_seconds(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True, fps=lambda fps: fps and fps > 10)
    assert proxy.stop() < 5
    assert proxy.process.returncode == 0


def test_a_worker_whose_service_is_gone_exits(bench: Bench, start: Callable[..., Proxy]) -> None:
    proxy = start()
    proxy.wait_until("gate", online=True)
    worker = proxy.worker()
    proxy.process.kill()
    proxy.process.wait()
    rig.wait_for("the worker's end", lambda: not archive._alive(worker), 5)
