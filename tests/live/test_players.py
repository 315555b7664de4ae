"""Two real cameras through the proxy to every kind of player."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.live import rig, stamp
from tests.live.rig import Broker, Camera, Proxy

pytestmark = pytest.mark.usefixtures("shared")
SECONDS = 8


@pytest.fixture(scope="module")
def whole(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Path]]:
    rig.need("ffmpeg", "mosquitto")
    rig.need_gst_server()
    folder = tmp_path_factory.mktemp("live")
    video = shared / "footage" / "video"
    street = rig.loop(video / "street_operahouse_1080p.mp4", folder / "street.mp4", 40, size="960:540", rate=10)
    walking = rig.loop(video / "people-walking.mp4", folder / "walking.mp4", 20, size="640:360", rate=10)
    camera = Camera(street=street, walking=walking)
    broker = Broker(folder)
    proxy = Proxy(
        folder,
        mqtt={"host": "127.0.0.1", "port": broker.port},
        cameras={
            "street": {"source": {"url": camera.url("street")}, "sub": {"width": 320, "rate": 5}},
            "walking": {"source": {"url": camera.url("walking")}},
        },
    )
    try:
        for name in ("street", "walking"):
            proxy.wait_until(name, online=True, fps=lambda fps: fps and fps > 5)
        yield proxy, folder
    finally:
        proxy.stop()
        broker.stop()
        camera.kill()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", ["street", "walking"])
def test_ffmpeg(whole: tuple[Proxy, Path], name: str, transport: str) -> None:
    proxy, _ = whole
    command = ["ffmpeg", "-v", "warning", "-rtsp_transport", transport, "-i", proxy.url(name), "-t", str(SECONDS)]
    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=True)
    complaints = [line for line in done.stderr.splitlines() if re.search("error|corrupt|concealing|missed", line)]
    assert not complaints


@pytest.mark.parametrize("name", ["street", "walking"])
def test_gstreamer(whole: tuple[Proxy, Path], name: str) -> None:
    rig.need("gst-launch-1.0")
    proxy, _ = whole
    source = f"rtspsrc location={proxy.url(name)} protocols=tcp latency=100 ! rtph264depay ! h264parse"
    pipeline = f"{source} ! avdec_h264 ! identity eos-after={SECONDS * 8} ! fakesink"
    done = subprocess.run(
        ["gst-launch-1.0", "-q", *pipeline.split()], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


@pytest.mark.parametrize("name", ["street", "walking", "street/sub"])
def test_pyav(whole: tuple[Proxy, Path], name: str) -> None:
    proxy, _ = whole
    frames = 0
    with av.open(proxy.url(name), options={"rtsp_transport": "tcp"}, timeout=(15, 10)) as player:
        for frame in player.decode(video=0):
            assert not frame.is_corrupt
            frames += 1
            if frames == 20:
                break
    assert frames == 20


def test_opencv(whole: tuple[Proxy, Path]) -> None:
    """In a process of its own: two FFmpegs in one do not go well together."""
    proxy, _ = whole
    code = f"import cv2; c = cv2.VideoCapture({proxy.url('walking')!r}); print(sum(c.read()[0] for _ in range(40)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "40"


def test_events_say_what_was_done_and_nothing_of_the_person(whole: tuple[Proxy, Path]) -> None:
    rig.need("mosquitto_sub")
    proxy, _ = whole
    port = proxy.settings["mqtt"]["port"]
    done = subprocess.run(
        ["mosquitto_sub", "-p", str(port), "-t", "anonymizer/events", "-C", "5", "-W", "20"],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    events = done.stdout.splitlines()
    assert len(events) == 5
    assert all('"method":' in event for event in events)
    assert not any(word in event for event in events for word in ("embedding", "jpeg", "picture"))


def test_the_live_stream_leaks_no_face(shared: Path, tmp_path: Path) -> None:
    """Every recorded picture is compared with its original, known by a number written into it."""
    rig.need("ffmpeg")
    rig.need_gst_server()
    known = stamp.labels(shared / "labels" / "dev" / "people-walking.json")
    clip = stamp.stamped(shared / "footage" / "video" / "people-walking.mp4", tmp_path / "once.mp4")
    long = tmp_path / "long.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", "9", "-i", str(clip), "-c", "copy", str(long)], check=True)
    camera = Camera(walking=long)
    proxy = Proxy(tmp_path, rules="gdpr-default", cameras={"walking": {"source": {"url": camera.url("walking")}}})
    recording = tmp_path / "recording.mkv"
    try:
        proxy.wait_until("walking", online=True, fps=lambda fps: fps and fps > 5)
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-i",
            proxy.url("walking"),
            "-t",
            "14",
            "-c",
            "copy",
        ]
        subprocess.run([*command, str(recording)], check=True, timeout=60)
    finally:
        proxy.stop()
        camera.kill()
    verdict = stamp.Verdict(recording, clip, known)
    control = stamp.Verdict(clip, clip, known)
    assert len(control.leaks) > 0.99 * control.faces
    assert verdict.pictures > 100 and verdict.faces > 40, verdict
    assert not verdict.leaks, verdict
