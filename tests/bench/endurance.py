"""Does the memory of a camera's worker, or of the service, grow? One camera, one player, for an hour.

    python -m tests.bench.endurance [CLIP] [--minutes 60] [--settle 10] [--rate 25]

The camera is gst-rtsp-server with the clip at 720 lines. Memory is read every 10 seconds: PSS, and of it what is the
process's own, since PSS also grows when others that share its libraries end. The slopes are those of the own memory,
straight lines by least squares from when the processes have settled: of all readings, and of each minute's least, since
between two trims, 20 seconds apart, a worker swings by 15 MB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.latency import SHARED, memory
from tests.bench.player import player
from tests.live.rig import Camera, Proxy, loop


def measure(clip: Path, minutes: float, rate: int, folder: Path) -> tuple[np.ndarray, str]:
    """((N, 5) seconds, PSS and own memory in MB of the worker, of the service; the end of the log)."""
    long = loop(clip, folder / "long.mp4", 1 + int(60 * (minutes + 3) / 11), size="-2:720", rate=rate)
    camera = Camera(gate=long)
    proxy = Proxy(folder, cameras={"gate": {"source": {"url": camera.url("gate")}}})
    seen = []
    try:
        proxy.wait_until("gate", 60, online=True, fps=lambda fps: fps and fps > rate / 3)
        watching = player(proxy.url("gate"))
        start = time.monotonic()
        while (now := time.monotonic() - start) < 60 * minutes:
            both = proxy.worker(), proxy.process.pid
            seen.append((now, *(memory(pid, what) for pid in both for what in ("Pss", "Pss_Anon"))))
            if len(seen) % 30 == 0:
                print(f"{now / 60:.0f} min: worker {seen[-1][2]:.1f} MB, service {seen[-1][4]:.1f} MB", flush=True)
            time.sleep(10)
        if watching.poll() is not None:
            raise SystemExit(f"the player ended with {watching.returncode}")
        watching.kill()
        watching.wait()
    finally:
        proxy.stop()
        camera.kill()
    return np.array(seen), proxy.log.read_text()[-1000:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", type=Path, default=SHARED / "footage" / "video" / "people-walking.mp4")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--settle", type=float, default=10, help="minutes that do not count")
    parser.add_argument("--rate", type=int, default=25, help="pictures a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen, log = measure(given.clip, given.minutes, given.rate, Path(folder))
    settled = seen[seen[:, 0] >= 60 * given.settle]
    hours = settled[:, 0] / 3600
    table = Table("process", "PSS MB at the end", "own MB, settled", "at the end", "slope MB an hour", "of the least")
    minutes = settled[:, 0] // 60
    for name, column in (("worker", 1), ("service", 3)):
        shared, own = settled[:, column], settled[:, column + 1]
        least = [(minute / 60, own[minutes == minute].min()) for minute in np.unique(minutes)]
        slopes = np.polyfit(hours, own, 1)[0], np.polyfit(*np.transpose(least), 1)[0]
        words = f"{shared[-1]:.1f}", f"{own[0]:.1f}", f"{own[-1]:.1f}", *(f"{slope:+.2f}" for slope in slopes)
        table.add_row(name, *words)
    Console(width=100).print(table)
    print(log)


if __name__ == "__main__":
    main()
