"""Two real cameras through the proxy to every kind of player."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.gstreamer import without_interrupted_pause
from tests.live import rig
from tests.live.rig import Broker, Camera, Proxy

pytestmark = pytest.mark.usefixtures("shared")


SECONDS = 20
"""How long each player watches."""

STREAMS = ("street", "walking")
COMPLAINT = re.compile("error|corrupt|concealing|missed", re.IGNORECASE)


@pytest.fixture(scope="module", params=["small", pytest.param("large", marks=pytest.mark.soak)])
def proxy(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Two cameras before the proxy, and a broker. small: small pictures, ten a second, so that every machine can keep
    up with them and with the players; large: as the cameras made them."""
    need("ffmpeg", "mosquitto")
    rig.need_gst_server()
    folder = tmp_path_factory.mktemp("live")
    video = shared / "footage" / "video"
    size = {"street": "960:540", "walking": "640:360"} if request.param == "small" else {"street": "", "walking": ""}
    rate, times = (10, 1) if request.param == "small" else (0, 6)
    street = rig.loop(video / "street_operahouse_1080p.mp4", folder / "street.mp4", 40 * times, size["street"], rate)
    walking = rig.loop(video / "people-walking.mp4", folder / "walking.mp4", 20 * times, size["walking"], rate)
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
        for name in STREAMS:
            proxy.wait_until(name, online=True, fps=lambda fps: fps and fps > 5)
        yield proxy
    finally:
        proxy.stop()
        broker.stop()
        camera.kill()


def ffmpeg(url: str, transport: str) -> list[str]:
    watch = ["-rtsp_transport", transport, "-i", url, "-t", str(SECONDS), "-f", "null", "-"]
    return ["ffmpeg", "-v", "warning", *watch]


def gstreamer(url: str) -> list[str]:
    source = f"rtspsrc location={url} protocols=tcp latency=100 ! rtph264depay ! h264parse"
    return ["gst-launch-1.0", "-q", *f"{source} ! avdec_h264 ! identity eos-after={SECONDS * 8} ! fakesink".split()]


def pyav(url: str) -> list[str]:
    """Fails on a corrupt picture, and where fewer than two pictures a second come."""
    code = f"""
import av, math, time
frames, end = 0, math.inf
with av.open({url!r}, options={{"rtsp_transport": "tcp"}}, timeout=(15, 10)) as player:
    for frame in player.decode(video=0):
        assert not frame.is_corrupt
        frames, end = frames + 1, min(end, time.monotonic() + {SECONDS})
        if time.monotonic() > end:
            break
assert frames > 2 * {SECONDS}, frames
"""
    return [sys.executable, "-c", code]


def opencv(url: str) -> list[str]:
    """In a process of its own: two FFmpegs in one do not go well together."""
    count = SECONDS * 8
    code = f"import cv2; c = cv2.VideoCapture({url!r}); assert sum(c.read()[0] for _ in range({count})) == {count}"
    return [sys.executable, "-c", code]


def test_players_of_all_kinds_watch_without_an_error(proxy: Proxy, request: pytest.FixtureRequest) -> None:
    """All at once, but one after another where pictures are large: a machine that anonymises them has no time left to
    decode them ten times."""
    need("gst-launch-1.0")
    commands = {}
    for name in STREAMS:
        url = proxy.url(name)
        commands |= {f"ffmpeg {transport} {name}": ffmpeg(url, transport) for transport in ("tcp", "udp")}
        commands |= {f"{play.__name__} {name}": play(url) for play in (gstreamer, pyav, opencv)}
    commands["pyav street/sub"] = pyav(proxy.url("street/sub"))
    together = len(commands) if "small" in request.node.name else 1
    waiting, bad = list(commands), {}
    while waiting:
        now, waiting = waiting[:together], waiting[together:]
        players = {
            what: subprocess.Popen(commands[what], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for what in now
        }
        for what, player in players.items():
            said = player.communicate(timeout=100)[0]
            status, said = without_interrupted_pause(player.returncode, said)
            if status or COMPLAINT.search(said):
                bad[what] = (status, said)
    assert not bad


def test_events_say_what_was_done_and_nothing_of_the_person(proxy: Proxy) -> None:
    need("mosquitto_sub")
    port = proxy.settings["mqtt"]["port"]
    done = subprocess.run(
        ["mosquitto_sub", "-p", str(port), "-t", "anonymizer/events", "-C", "5", "-W", "20"],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    events = done.stdout.splitlines()
    assert len(events) == 5
    assert all('"method":' in event for event in events)
    assert not any(word in event for event in events for word in ("embedding", "jpeg", "picture"))
