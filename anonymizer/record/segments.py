"""A camera's anonymised stream on disk: access units in, fragmented MP4 files out, without encoding again.

A segment is written under a hidden name, a whole fragment of at most a second at a time, and gets its name when it is
finished. Whatever ends the process leaves a file that is whole up to its last fragment or some bytes more; ``heal``
cuts those off and finishes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import av

from anonymizer.access_unit import AccessUnit, AudioParameters, Codec, parameter_sets, split
from anonymizer.record import mp4
from anonymizer.record.catalogue import File
from anonymizer.record.mp4 import CLOCK, Run, Sample, Video
from anonymizer.record.sound import Sound

log = logging.getLogger(__name__)

FRAGMENT = 1.0
"""Seconds of the longest fragment, and so of what a crash can take away."""
_GAP = 2.0  # seconds without a picture after which a segment ends: the catalogue shows the gap
_SYNC = 5.0  # seconds between two orders to the disk to write what it holds back
_TURNED = 0.5  # seconds by which UTC may move against the stream before a new segment begins


class SegmentFile:
    """One file being written. OSError where the disk takes no more; what is whole stays."""

    def __init__(self, path: Path, header: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._part = part_of(path)
        self._file = self._part.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0
        self._unsynced = 0.0
        try:
            self.append(header, 0.0)
        except OSError:
            self._file.close()
            self._part.unlink()
            raise

    def append(self, data: bytes, seconds: float) -> None:
        """Add a fragment of so many seconds; whole, or not at all."""
        try:
            with memoryview(data) as rest:
                written = 0
                while written < len(rest):
                    written += self._file.write(rest[written:]) or 0
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
                self._file.seek(self.size)
            raise
        self._hash.update(data)
        self.size += len(data)
        self._unsynced += seconds
        if self._unsynced >= _SYNC:
            os.fdatasync(self._file.fileno())
            self._unsynced = 0.0

    def finish(self) -> str:
        """Give the file its name; its SHA-256."""
        with contextlib.suppress(OSError):  # a full or dying disk: what is there gets its name all the same
            self._file.truncate(self.size)
            os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self.path)
        return self._hash.hexdigest()


class Segmenter:
    """Cuts one camera's stream into segments. ``finished`` is called with each. OSError where the disk takes no more:
    then call ``close``, and begin anew with a key frame when it may take some again.

    Pictures come in the order of their times, and sound up to a picture's time at most one picture later. Pure but for
    the files: time comes with the units.
    """

    def __init__(self, camera: str, folder: Path, length: float, finished: Callable[[File], None]) -> None:
        self.camera = camera
        self.audio: AudioParameters | None = None
        """The sound that comes; a change holds from the next segment on."""
        self.clock = ""
        """Who says what time it is; holds from the next segment on."""
        self._folder = folder
        self._length = length
        self._finished = finished
        self._video: Video | None = None
        self._known: tuple[bytes, ...] = ()
        self._held: AccessUnit | None = None  # the newest picture: only the next one tells how long it lasts
        self._sounds: list[AccessUnit] = []
        self._segment: _Segment | None = None

    def take(self, unit: AccessUnit) -> None:
        if not unit.codec.is_video:
            if self.audio is not None and len(self._sounds) < 1000:
                self._sounds.append(unit)
            return
        held, self._held = self._held, unit
        if held is None:
            return
        if not 0 < unit.time - held.time <= _GAP:
            self._put(held, 0.04)
            self._end()
        else:
            self._put(held, unit.time - held.time)

    def silent(self, seconds: float) -> None:
        """No unit has come for so long: what waits is written; the segment ends where it is long."""
        if seconds >= FRAGMENT / 2 and self._segment is not None:
            self._segment.write()
        if seconds > _GAP:
            self.close()

    def close(self) -> None:
        """Write what waits and finish the segment."""
        held, self._held = self._held, None
        try:
            if held is not None and self._segment is not None:
                self._put(held, 0.04)
        finally:
            self._end()

    def _put(self, unit: AccessUnit, duration: float) -> None:
        nals = split(unit.data)
        sets = (parameter_sets(unit.codec, nals) or self._known) if unit.key else self._known
        segment = self._segment
        if segment is not None and unit.key and (
            segment.video.sets != sets or self.audio != segment.audio or unit.time - segment.start >= self._length
            or abs(unit.wall - unit.time - segment.turn) > _TURNED
        ):  # fmt: skip
            self._add_sounds(unit.time)
            self._end()
        if self._segment is None:
            if not unit.key or not sets:
                return
            if self._video is None or sets != self._known:
                self._video, self._known = _describe(unit, sets), sets
            self._sounds = [sound for sound in self._sounds if sound.time >= unit.time]
            self._segment = _Segment(self, self._folder, self._video, unit, self.audio)
        self._add_sounds(unit.time + duration)
        self._segment.add(unit, mp4.sized(mp4.in_sample(unit.codec, nals)), duration)

    def _add_sounds(self, before: float) -> None:
        assert self._segment is not None
        while self._sounds and self._sounds[0].time < before:
            self._segment.hear(self._sounds.pop(0))

    def _end(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            self._finished(segment.finish())


class _Segment:
    def __init__(
        self, of: Segmenter, folder: Path, video: Video, first: AccessUnit, audio: AudioParameters | None
    ) -> None:
        self.video, self.audio = video, audio
        self.start, self.turn = first.time, first.wall - first.time
        self._sound = None if audio is None else Sound(audio)
        self._wall = self._last_wall = first.wall
        self._units: list[tuple[AccessUnit, bytes]] = []
        self._stop = first.time
        self._keys: list[float] = []
        self._frames = self._fragments = 0
        track = None if self._sound is None else self._sound.track
        head = mp4.header(of.camera, first.wall, video, track, synthetic=True)
        path = _free(folder, first.wall)
        self._file = SegmentFile(path, head)
        self._told = File("segment", of.camera, str(path), first.wall, first.wall, of.clock, 0, "")

    def hear(self, unit: AccessUnit) -> None:
        if self._sound is not None:
            self._sound.take(unit, unit.time - self.start)

    def add(self, unit: AccessUnit, data: bytes, duration: float) -> None:
        """A picture; before it the fragment is written where this one begins a new one."""
        if self._units:
            first = self._units[0][0].time
            if unit.key or unit.time + duration - first > FRAGMENT:
                self.write()
        self._units.append((unit, data))
        self._stop = unit.time + duration
        self._last_wall = unit.wall + duration

    def write(self) -> None:
        """Put what waits on disk as a fragment."""
        if not self._units:
            return
        units, self._units = self._units, []
        times = [unit.time - self.start for unit, _ in units]
        lasts = mp4.durations(times, self._stop - self.start, CLOCK)
        samples = [Sample(data, last, unit.key) for (unit, data), last in zip(units, lasts, strict=True)]
        runs = [Run(mp4.VIDEO, round(times[0] * CLOCK), samples)]
        if self._sound is not None:
            runs += self._sound.run()
        self._file.append(mp4.fragment(self._fragments + 1, units[0][0].wall, runs), self._stop - self.start - times[0])
        self._fragments += 1
        self._frames += len(units)
        self._keys += [time for time, (unit, _) in zip(times, units, strict=True) if unit.key]
        self._wall = self._last_wall

    def finish(self) -> File:
        try:
            if self._sound is not None:
                self._sound.flush()
            self.write()
        except OSError as error:
            log.warning("%s: its last fragment is lost: %s", self._file.path, error.strerror)
        digest = self._file.finish()
        return replace(
            self._told, stop=self._wall, bytes=self._file.size, sha256=digest, frames=self._frames,
            keys=tuple(self._keys),
        )  # fmt: skip


def heal(camera: str, folder: Path, known: set[str]) -> Iterator[File]:
    """Finish what a crash left in a camera's folder: files that nobody knows, cut to their last whole fragment. A file
    without one is removed."""
    for path in sorted(folder.glob("*/*.mp4")) + sorted(folder.glob("*/.*.mp4.part")):
        if str(path) in known:
            continue
        final = path if path.suffix == ".mp4" else path.with_name(path.name[1 : -len(".part")])
        told = _measured(camera, path)
        if told is None:
            path.unlink()
            continue
        with path.open("r+b") as file:
            file.truncate(told.bytes)
            os.fsync(file.fileno())
        os.replace(path, final)
        yield replace(told, path=str(final))


def _measured(camera: str, path: Path) -> File | None:
    """What a file holds up to its last whole fragment."""
    if path.stat().st_size == 0:
        return None
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        front, parts = mp4.parts(data)
        if not front or not parts:
            return None
        end = parts[-1].at + parts[-1].size
        keys = []
        for part in parts:
            at = part.start
            for last, key in zip(part.durations, part.keys, strict=True):
                keys += [at / CLOCK] if key else []
                at += last
        with data[:end] as whole:
            digest = hashlib.sha256(whole).hexdigest()
    return File(
        "segment", camera, str(path), parts[0].wall, parts[-1].wall + sum(parts[-1].durations) / CLOCK,
        "unknown, healed after a crash", end, digest, sum(len(part.keys) for part in parts), tuple(keys), True,
    )  # fmt: skip


def part_of(path: Path) -> Path:
    """The hidden name under which a file is written."""
    return path.with_name(f".{path.name}.part")


def _free(folder: Path, wall: float) -> Path:
    """A path named after its start that no file has yet: a clock that is set back must not overwrite anything."""
    start = datetime.fromtimestamp(wall, UTC)
    name = f"{start:%H%M%S}.{start.microsecond // 1000:03d}Z"
    day = folder / f"{start:%Y-%m-%d}"
    path, number = day / f"{name}.mp4", 1
    while path.exists() or part_of(path).exists():
        number += 1
        path = day / f"{name}-{number}.mp4"
    return path


def _describe(unit: AccessUnit, sets: tuple[bytes, ...]) -> Video:
    """Size and sample format, as libavformat reads them off a key frame."""
    name = "h264" if unit.codec is Codec.H264 else "hevc"
    with av.open(io.BytesIO(unit.data), format=name) as probe:
        stream = probe.streams.video[0]
        context = stream.codec_context
        chroma = {"422": 2, "444": 3}.get(next((c for c in ("422", "444") if c in (context.pix_fmt or "")), ""), 1)
        depth = 10 if "10" in (context.pix_fmt or "") else 8
        return Video(str(unit.codec), context.width, context.height, sets, chroma, depth)
