"""Added latency of the proxy: when a picture arrives through it, against when it arrives from the camera directly.

    python -m tests.bench.latency [CLIP…] [--seconds 20] [--lookahead 0] [--threads 1]

The camera is gst-rtsp-server; every picture carries its number. Two players of the same kind run side by side, one at
the camera, one at the proxy; both note when they have decoded which picture. The first five seconds do not count: the
players' own start takes the machine's time. The worker's memory (PSS) is read at the end, and what the proxy gave up
because the machine was too slow, which makes it faster.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
from rich.console import Console
from rich.table import Table

from anonymizer.ingest.picture import planes_of
from tests.live import stamp
from tests.live.rig import Camera, Proxy

_SETTLE = 5.0  # seconds

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("ANONYMIZER_SHARED", ROOT.parent / "shared"))
LATEST = 3.0
"""Seconds after which a picture is taken for another loop's of the clip."""


def watch(url: str, seconds: float) -> None:
    """Print [number, time] of every picture as JSON."""
    seen, start = [], time.monotonic()
    options = {"rtsp_transport": "tcp", "fpsprobesize": "0"}
    with av.open(url, options=options, timeout=(15, 10)) as player:
        video = player.streams.video[0]
        video.thread_type = "SLICE"
        for frame in player.decode(video):
            now = time.monotonic()
            number = stamp.number(planes_of(frame).y)
            if number is not None and now > start + _SETTLE:
                seen.append((number, now))
            if now > start + _SETTLE + seconds:
                break
    print(json.dumps(seen))


def memory(pid: int, what: str = "Pss") -> float:
    """MB of a process by a line of its smaps_rollup."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def measure(
    clip: str, seconds: float, lookahead: float, threads: int, folder: Path
) -> tuple[list[float], int, float, float, str]:
    """(added seconds of each picture, how many came later than LATEST or without the camera's, PSS in MB of the worker,
    share of pictures that came through, what the proxy gave up)."""
    once = stamp.stamped(SHARED / "footage" / "video" / clip, folder / f"once-{clip}")
    long = folder / f"long-{clip}"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-stream_loop", "60", "-i", str(once), "-c", "copy", str(long)], check=True
    )
    camera = Camera(gate=long)
    gate = {"source": {"url": camera.url("gate")}, "encoder": {"threads": threads}}
    proxy = Proxy(folder, cameras={"gate": gate}, faces={"lookahead": lookahead, "threads": threads})
    try:
        proxy.wait_until("gate", 60, online=True, fps=lambda fps: fps and fps > 5)
        time.sleep(3)
        command = [sys.executable, "-m", "tests.bench.latency", "--watch"]
        players = [
            subprocess.Popen([*command, url, "--seconds", str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for url in (camera.url("gate"), proxy.url("gate"))
        ]
        direct, through = (json.loads(player.communicate(timeout=seconds + 60)[0]) for player in players)
        megabytes = memory(proxy.worker())
        given_up = re.findall(r"overloaded: (.*)", proxy.log.read_text())
    finally:
        proxy.stop()
        camera.kill()
    seen: dict[int, list[float]] = {}  # a number comes once a loop of the clip
    for number, arrived in direct:
        seen.setdefault(number, []).append(arrived)
    before = ([arrived - at for at in seen.get(number, []) if at <= arrived] for number, arrived in through)
    added = [min(each) for each in before if each and min(each) < LATEST]
    return (
        added,
        len(through) - len(added),
        megabytes,
        len(through) / max(1, len(direct)),
        ", ".join(dict.fromkeys(given_up)) or "nothing",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=["people-walking.mp4", "street_operahouse_1080p.mp4"])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--lookahead", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1, help="of the detector and of the encoder")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch:
        watch(given.watch, given.seconds)
        return
    table = Table(
        "clip",
        "pictures",
        "added ms median",
        "p95",
        "worst",
        f"> {LATEST:g} s, not among these",
        "came through",
        "worker PSS MB",
        "given up",
    )
    for clip in given.clips:
        with tempfile.TemporaryDirectory() as folder:
            added, late, megabytes, share, given_up = measure(
                clip, given.seconds, given.lookahead, given.threads, Path(folder)
            )
        ms = sorted(1000 * v for v in added)
        p95 = ms[int(0.95 * len(ms))] if ms else float("nan")
        table.add_row(clip, str(len(ms)), f"{statistics.median(ms):.0f}" if ms else "", f"{p95:.0f}",
                      f"{ms[-1]:.0f}" if ms else "", str(late), f"{share:.0%}", f"{megabytes:.0f}",
                      given_up)  # fmt: skip
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
