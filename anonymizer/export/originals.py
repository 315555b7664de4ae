"""Opened originals, in memory alone: joined into stretches that a decoder can read, gone with the process."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from anonymizer.errors import ConfigError
from anonymizer.export import join
from anonymizer.record import mp4
from anonymizer.record.catalogue import File
from anonymizer.record.mp4 import CLOCK

TOGETHER = 0.5
"""Seconds without a picture after which a new stretch begins."""
LONGEST = 300.0
"""Seconds of a stretch, up to the next key frame."""
_MOST_BYTES = 256 << 20


@dataclass(slots=True)
class Stretch:
    """Originals without a break. path: of an unnamed file in memory that only this process can read, valid until
    ``close``. files: what it was made from. times: of each fragment (its place in the stretch, UTC), seconds."""

    camera: str
    files: list[File]
    times: list[tuple[float, float]]
    _header: bytes
    _handle: int
    _size: int = 0
    _rates: dict[int, int] = field(default_factory=dict)
    _shift: float = 0.0

    @property
    def path(self) -> Path:
        return Path(f"/proc/self/fd/{self._handle}")

    @property
    def start(self) -> float:
        return self.files[0].start

    @property
    def stop(self) -> float:
        return self.files[-1].stop

    def wall(self, time: float) -> float:
        """UTC of a place in the stretch, both in seconds."""
        place, wall = self.times[max(0, bisect_right(self.times, (time + 1e-4, 0.0)) - 1)]
        return wall + time - place

    def fits(self, file: File, data: bytes, front: int, key: bool) -> bool:
        full = self.stop - self.start >= LONGEST or self._size >= _MOST_BYTES
        return (
            file.camera == self.camera and abs(file.start - self.stop) <= TOGETHER and not (full and key)
            and _format(data[:front]) == _format(self._header)
        )  # fmt: skip

    def add(self, file: File, data: bytes, part: mp4.Part) -> None:
        if not self._size:
            self._rates, self._shift = mp4.rates(self._header), -part.start / CLOCK
            self._size = os.write(self._handle, self._header)
        moved = mp4.moved(
            data[part.at : part.at + part.size], len(self.times) + 1, self._shift, self._rates
        )  # fmt: skip
        with memoryview(moved) as rest:
            written = 0
            while written < len(rest):
                written += os.write(self._handle, rest[written:])
        self._size += len(moved)
        first = join.runs(data, part)[0].samples[0]
        self.times.append(((part.start + first.offset) / CLOCK + self._shift, file.start))
        if file not in self.files:
            self.files.append(file)

    def close(self) -> None:
        os.close(self._handle)


def stretches(opened: Iterable[tuple[File, bytes]], damaged: list[str]) -> Generator[Stretch, None, None]:
    """Opened fragments (``unseal.fragments``) as stretches, one in memory at a time. damaged: is added to.

    ConfigError where the system has no files in memory.
    """
    if not hasattr(os, "memfd_create"):
        raise ConfigError("originals are opened in memory only, which needs Linux (memfd_create)")
    stretch: Stretch | None = None
    try:
        for file, data in opened:
            front, parts = mp4.parts(data)
            if not parts or not parts[0].keys:
                damaged.append(f"{file.path} holds no video")
                continue
            part = parts[0]
            if stretch is None or not stretch.fits(file, data, front, part.keys[0]):
                if stretch is not None:
                    done, stretch = stretch, None
                    yield from _lent(done)
                stretch = Stretch(file.camera, [file], [], data[:front], os.memfd_create("originals", os.MFD_CLOEXEC))
            stretch.add(file, data, part)
        if stretch is not None:
            done, stretch = stretch, None
            yield from _lent(done)
    finally:
        if stretch is not None:
            stretch.close()


def _lent(stretch: Stretch) -> Generator[Stretch, None, None]:
    try:
        yield stretch
    finally:
        stretch.close()


def _format(header: bytes) -> list[bytes]:
    """The descriptions of the tracks' samples, without the times that differ from fragment to fragment."""
    return [header[start:end] for start, end in mp4.descriptions(header)]
