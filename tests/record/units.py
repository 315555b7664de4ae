"""A small stream of access units, and a process that records it until it is killed."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from anonymizer import link
from anonymizer.access_unit import AccessUnit
from anonymizer.publish.live import LiveEncoder, LiveSettings
from tests.videos import pictures

WALL = 1_790_000_000.0
RATE = 25


def video(count: int, *, start: float = 0.0, interval: float = 2.0, wall: float = WALL) -> Iterator[AccessUnit]:
    """Pictures at 25 a second, a key frame every ``interval`` seconds."""
    encoder = LiveEncoder(192, 144, False, RATE, LiveSettings(keyframe_interval=interval, preset="ultrafast"))
    for index, picture in enumerate(pictures(count)):
        yield from encoder.encode(picture, start + index / RATE, wall + start + index / RATE)


def order(folder: Path, **more: object) -> bytes:
    """What the service tells the recorder of a camera on channel 0."""
    told = {
        "camera": "gate", "enabled": True, "clock": "camera", "folder": str(folder), "vault": None, "segment": 3.0,
        "reserve": 0, "audio": None,
    }  # fmt: skip
    return link.encode_json(link.Kind.ORDER, {**told, **more})


def feed(state: Path, folder: Path, pace: float) -> None:
    """Run a recorder and print each picture's number once it took it in; ``pace`` seconds between pictures."""
    import itertools
    import threading

    from anonymizer.record.segments import Segmenter
    from anonymizer.record.writer import Writer

    taken, take = itertools.count(), Segmenter.take

    def counted(self: Segmenter, unit: AccessUnit) -> None:
        take(self, unit)
        print(next(taken), flush=True)

    Segmenter.take = counted  # type: ignore[method-assign]

    ours, theirs = socket.socketpair()
    threading.Thread(target=Writer(state, theirs).run, daemon=True).start()
    ours.sendall(order(folder))
    for unit in video(2000):
        ours.sendall(link.encode_unit(unit, 0))
        time.sleep(pace)


if __name__ == "__main__":
    feed(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
