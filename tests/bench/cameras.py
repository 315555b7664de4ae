"""How many cameras does this machine carry? 1, 2, 3 … of one clip at 720 lines, each with a player, until one drops.

    python -m tests.bench.cameras [CLIP] [--rate 25] [--seconds 30] [--most 4]

The cameras are gst-rtsp-server. A number of cameras is carried when none dropped a frame or gave anything up for
overload within the time, after ten seconds in which the processes settle.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.latency import SHARED
from tests.bench.player import player
from tests.live.rig import Camera, Proxy, loop

_SETTLE = 10.0  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """CPU seconds of a process and of those it has started and still has."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(cpu(int(child)) for child in children)


def measure(long: Path, count: int, seconds: float, folder: Path) -> tuple[int, int, float, list[str]]:
    """(frames out, frames dropped, CPU seconds a second, what the cameras gave up) of all cameras."""
    names = [f"gate{i}" for i in range(count)]
    camera = Camera(**dict.fromkeys(names, long))
    proxy = Proxy(folder, cameras={name: {"source": {"url": camera.url(name)}} for name in names})
    players = []
    try:
        for name in names:
            proxy.wait_until(name, 60, online=True, fps=lambda fps: fps and fps > 5)
            players.append(player(proxy.url(name)))
        time.sleep(_SETTLE)
        told = len(proxy.log.read_text())

        def counts() -> tuple[int, int, float]:
            out, dropped = (
                sum(int(proxy.metric(f"frames_{what}_total", name)) for name in names) for what in ("out", "dropped")
            )
            return out, dropped, cpu(proxy.process.pid)

        before, start = counts(), time.monotonic()
        reasons = {str(proxy.state(name).get("reason")) for name in names}
        time.sleep(seconds)
        after, spent = counts(), time.monotonic() - start
        lines = proxy.log.read_text()[told:].splitlines()
        reasons |= {line.rpartition(": ")[2] for line in lines if "overload" in line}
    finally:
        for one in players:
            one.kill()
            one.wait()
        proxy.stop()
        camera.kill()
    out, dropped, busy = (b - a for a, b in zip(before, after, strict=True))
    return int(out), int(dropped), busy / spent, sorted(reasons - {""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", type=Path, default=SHARED / "footage" / "video" / "people-walking.mp4")
    parser.add_argument("--rate", type=int, default=25, help="pictures a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--most", type=int, default=4)
    given = parser.parse_args()
    table = Table("cameras", "pictures a second, all", "dropped", "cores busy", "given up")
    with tempfile.TemporaryDirectory() as folder:
        long = loop(given.clip, Path(folder) / "long.mp4", 20, size="-2:720", rate=given.rate)
        for count in range(1, given.most + 1):
            own = Path(folder) / str(count)
            own.mkdir()
            out, dropped, busy, reasons = measure(long, count, given.seconds, own)
            given_up = ", ".join(reasons) or "nothing"
            table.add_row(str(count), f"{out / given.seconds:.1f}", str(dropped), f"{busy:.2f}", given_up)
            if dropped or reasons:
                break
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
