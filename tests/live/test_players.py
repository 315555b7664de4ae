"""Two real cameras through the proxy to every kind of player."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from tests.live import rig
from tests.live.rig import Broker, Camera, Proxy

pytestmark = pytest.mark.usefixtures("shared")


@dataclass
class Whole:
    """Two cameras before the proxy. seconds: how long each player watches."""

    proxy: Proxy
    folder: Path
    seconds: int


@pytest.fixture(scope="module", params=["short", pytest.param("long", marks=pytest.mark.soak)])
def whole(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """short: small pictures, ten a second, so that every machine can keep up; long: as the cameras made them."""
    rig.need("ffmpeg", "mosquitto")
    rig.need_gst_server()
    folder = tmp_path_factory.mktemp("live")
    video = shared / "footage" / "video"
    long = request.param == "long"
    large, small, rate = ("", "", 0) if long else ("960:540", "640:360", 10)
    times = 6 if long else 1
    street = rig.loop(video / "street_operahouse_1080p.mp4", folder / "street.mp4", 40 * times, size=large, rate=rate)
    walking = rig.loop(video / "people-walking.mp4", folder / "walking.mp4", 20 * times, size=small, rate=rate)
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
        yield Whole(proxy, folder, 20 if long else 4)
    finally:
        proxy.stop()
        broker.stop()
        camera.kill()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("name", ["street", "walking"])
def test_ffmpeg(whole: Whole, name: str, transport: str) -> None:
    command = ["ffmpeg", "-v", "warning", "-rtsp_transport", transport, "-i", whole.proxy.url(name)]
    command += ["-t", str(whole.seconds), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    complaints = [line for line in done.stderr.splitlines() if re.search("error|corrupt|concealing|missed", line)]
    assert not complaints


@pytest.mark.parametrize("name", ["street", "walking"])
def test_gstreamer(whole: Whole, name: str) -> None:
    rig.need("gst-launch-1.0")
    source = f"rtspsrc location={whole.proxy.url(name)} protocols=tcp latency=100 ! rtph264depay ! h264parse"
    pipeline = f"{source} ! avdec_h264 ! identity eos-after={whole.seconds * 8} ! fakesink"
    done = subprocess.run(
        ["gst-launch-1.0", "-q", *pipeline.split()], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr


@pytest.mark.parametrize("name", ["street", "walking", "street/sub"])
def test_pyav(whole: Whole, name: str) -> None:
    frames, end = 0, math.inf
    with av.open(whole.proxy.url(name), options={"rtsp_transport": "tcp"}, timeout=(15, 10)) as player:
        for frame in player.decode(video=0):
            assert not frame.is_corrupt
            frames += 1
            end = min(end, time.monotonic() + whole.seconds)
            if time.monotonic() > end:
                break
    assert frames > 2 * whole.seconds


@pytest.mark.parametrize("name", ["street", "walking"])
def test_opencv(whole: Whole, name: str) -> None:
    """In a process of its own: two FFmpegs in one do not go well together."""
    count = whole.seconds * 8
    code = (
        f"import cv2; c = cv2.VideoCapture({whole.proxy.url(name)!r}); print(sum(c.read()[0] for _ in range({count})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == str(count)
    assert not re.search("error|corrupt|concealing", done.stderr), done.stderr


def test_events_say_what_was_done_and_nothing_of_the_person(whole: Whole) -> None:
    rig.need("mosquitto_sub")
    port = whole.proxy.settings["mqtt"]["port"]
    done = subprocess.run(
        ["mosquitto_sub", "-p", str(port), "-t", "anonymizer/events", "-C", "5", "-W", "20"],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    events = done.stdout.splitlines()
    assert len(events) == 5
    assert all('"method":' in event for event in events)
    assert not any(word in event for event in events for word in ("embedding", "jpeg", "picture"))
