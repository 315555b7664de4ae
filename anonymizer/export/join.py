"""Recorded segments into videos that can be handed on: cut at fragments, joined, without encoding again."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import av

from anonymizer.errors import PublishError
from anonymizer.export.contents import Gap, Source, Video
from anonymizer.record import mp4
from anonymizer.record.catalogue import File
from anonymizer.record.mp4 import CLOCK, VIDEO, Audio, Part, Run, Sample

_KEY = 0x0200_0000  # a sample that depends on no other
TOGETHER = 0.5
"""Seconds without a picture from which on a new video begins, so that its times stay true."""


@dataclass(slots=True)
class Joined:
    """What came of joining. heard: whether the segments have sound."""

    videos: list[Video] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    heard: bool = False


def join(files: Sequence[File], start: float, stop: float, folder: Path, *, sound: bool) -> Joined:
    """The part from start to stop (UTC seconds) of one camera's segments, oldest first, as videos in a folder.

    It begins with the last key frame before start. A new video begins where the format changed or pictures are
    missing. A segment that is not as the catalogue has it is left out, and counts as a gap. PublishError where writing
    fails.
    """
    joined = Joined()
    camera = files[0].camera if files else ""
    writer: Writer | None = None
    covered = start
    try:
        for file in files:
            data = _read(file)
            if isinstance(data, str):
                joined.gaps.append(Gap(camera, max(start, file.start), min(stop, file.stop), data))
                covered = max(covered, file.stop)
                continue
            front, found = mp4.parts(data)
            chosen = _chosen(found, start, stop)
            if not chosen:
                continue
            described = describe(data, front, found[0])
            joined.heard |= described.audio is not None
            if not sound:
                described = Format(described.video, None)
            began = max(start, chosen[0].wall)
            if began - covered > TOGETHER:
                joined.gaps.append(Gap(camera, covered, began, "nothing is recorded"))
            if writer is None or not writer.fits(described, chosen[0].wall):
                if writer is not None:
                    joined.videos.append(writer.finish())
                writer = Writer(folder, camera, described, chosen[0].wall)
            writer.add(file, data, chosen)
            covered = max(covered, writer.stop)
        if writer is not None:
            joined.videos.append(writer.finish())
            writer = None
    except OSError as error:
        raise PublishError(f"{folder}: the videos cannot be written: {error.strerror}") from error
    finally:
        if writer is not None:
            writer.abort()
    if stop - covered > TOGETHER:
        joined.gaps.append(Gap(camera, covered, stop, "nothing is recorded"))
    return joined


def _read(file: File) -> bytes | str:
    """The segment, or why it cannot be used."""
    try:
        data = Path(file.path).read_bytes()
    except OSError as error:
        return f"the recorded file cannot be read: {error.strerror}"
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return "the recorded file was cut off or changed, and is left out"
    return data


def _chosen(found: Sequence[Part], start: float, stop: float) -> list[Part]:
    """The fragments that overlap a time, and those back to a key frame."""
    first = next((i for i, part in enumerate(found) if part.wall + sum(part.durations) / CLOCK > start), len(found))
    last = next((i for i, part in enumerate(found) if part.wall >= stop), len(found))
    if first >= last:
        return []
    while first > 0 and not found[first].keys[0]:
        first -= 1
    return list(found[first:last])


@dataclass(frozen=True, slots=True)
class Format:
    video: mp4.Video
    audio: Audio | None


def describe(data: bytes, front: int, first: Part) -> Format:
    """What the header says of the tracks, as ``mp4.header`` takes it."""
    with av.open(io.BytesIO(data[: first.at + first.size]), format="mp4") as probe:
        context = probe.streams.video[0].codec_context
        codec = "h264" if context.name == "h264" else "h265"
        fmt = context.pix_fmt or ""
        chroma = 3 if "444" in fmt else 2 if "422" in fmt else 1
        sets = tuple(_parameter_sets(codec, bytes(context.extradata or b"")))
        video = mp4.Video(codec, context.width, context.height, sets, chroma, 10 if "10" in fmt else 8)
        audio = None
        if probe.streams.audio:
            heard = probe.streams.audio[0].codec_context
            name = {"pcm_mulaw": "pcmu", "pcm_alaw": "pcma"}.get(heard.name, "aac")
            audio = Audio(name, heard.sample_rate, heard.channels, bytes(heard.extradata or b""))
    return Format(video, audio)


def _parameter_sets(codec: str, record: bytes) -> Iterator[bytes]:
    """The NAL units in a decoder configuration record (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1)."""
    at = 5 if codec == "h264" else 23
    for _ in range(2 if codec == "h264" else record[22]):
        if codec == "h264":  # a byte of count, of which SPS use five bits; PPS are never more than 31 here
            count, at = record[at] & 31, at + 1
        else:
            count, at = _number(record, at + 1, 2), at + 3
        for _ in range(count):
            size = _number(record, at, 2)
            yield record[at + 2 : at + 2 + size]
            at += 2 + size


def runs(data: bytes, part: Part) -> list[Run]:
    """The samples of a fragment that ``mp4.fragment`` wrote."""
    found = []
    for kind, start, end in mp4.boxes(data, part.at, part.at + part.size):
        if kind != b"moof":
            continue
        for name, a, b in mp4.boxes(data, start, end):
            if name == b"traf":
                found.append(_run(data, start - 8, {inner: at for inner, at, _ in mp4.boxes(data, a, b)}))
    return found


def _run(data: bytes, moof: int, at: dict[bytes, int]) -> Run:
    track = _number(data, at[b"tfhd"] + 4)
    begins = _number(data, at[b"tfdt"] + 4, 8)
    count, place = _number(data, at[b"trun"] + 4), moof + _number(data, at[b"trun"] + 8)
    samples = []
    for row in range(at[b"trun"] + 12, at[b"trun"] + 12 + 16 * count, 16):
        lasts, size, flags = (_number(data, row + 4 * i) for i in range(3))
        offset = int.from_bytes(data[row + 12 : row + 16], "big", signed=True)
        samples.append(Sample(data[place : place + size], lasts, flags == _KEY, offset))
        place += size
    return Run(track, begins, samples)


def _number(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "big")


class Writer:
    """One video. Its name appears when it is finished."""

    def __init__(self, folder: Path, camera: str, described: Format, wall: float) -> None:
        stamp = datetime.fromtimestamp(wall, UTC)
        self._path = folder / f"{camera}-{stamp:%Y%m%dT%H%M%S}.{stamp.microsecond // 1000:03d}Z.mp4"
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._camera, self._format = camera, described
        self.start = self.stop = wall
        self._sources: list[Source] = []
        self._frames = self._fragments = 0
        self._file: BinaryIO = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._file.write(mp4.header(camera, wall, described.video, described.audio, synthetic=True))

    def fits(self, described: Format, wall: float) -> bool:
        return described == self._format and abs(wall - self.stop) <= TOGETHER

    def add(self, file: File, data: bytes, chosen: Sequence[Part]) -> None:
        first = chosen[0]
        at = max(self.stop, first.wall) - self.start  # where the clock was set back a little, pictures follow closely
        shift = at - first.start / CLOCK
        for part in chosen:
            moved = []
            for run in runs(data, part):
                rate = CLOCK if run.track == VIDEO else self._format.audio.rate if self._format.audio else 0
                if rate:
                    moved.append(Run(run.track, max(0, run.start + round(shift * rate)), run.samples))
            self._fragments += 1
            self._frames += len(part.keys)
            self._file.write(mp4.fragment(self._fragments, part.wall, moved))
        last = chosen[-1]
        self.stop = self.start + (last.start + sum(last.durations)) / CLOCK + shift
        self._sources.append(Source(Path(file.path).name, "segment", file.start, file.stop, file.sha256))

    def finish(self) -> Video:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)
        return Video(
            self._path.name, self._path, self._camera, self.start, self.stop, self._frames, tuple(self._sources)
        )

    def abort(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)
