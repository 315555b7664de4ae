"""Clips that carry their picture number in the picture, and what a recording of them still shows of the faces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

_BLOCK, _BITS = 16, 10
_HIGH, _LOW = 220, 30


def stamped(source: Path, target: Path, step: int = 1) -> Path:
    """The clip as a camera sends it (no B-frames, a key frame a second), its picture numbers written into the corner.

    Ten bits as blocks in the upper left, and the same inverted below. step: of so many pictures one is taken, for a
    camera that sends fewer a second.
    """
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        rate = Fraction(video.average_rate or 25) / step
        stream = writer.add_stream(
            "libx264", rate=rate, options={"preset": "veryfast", "crf": "20", "bf": "0", "g": "25"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for index, frame in enumerate(islice(reader.decode(video), 0, None, step)):
            frame.make_writable()
            plane = frame.planes[0]
            luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            for bit in range(_BITS):
                on = index >> bit & 1
                luma[:_BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = _HIGH if on else _LOW
                luma[_BLOCK : 2 * _BLOCK, bit * _BLOCK : (bit + 1) * _BLOCK] = _LOW if on else _HIGH
            frame.pict_type = av.video.frame.PictureType.NONE
            frame.pts, frame.time_base = index, 1 / rate
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


def number(luma: np.ndarray) -> int | None:
    """The picture number in uint8 luma (height, width); None where none can be read."""
    rows = luma[4 : 2 * _BLOCK - 4, : _BITS * _BLOCK].astype(np.float32)
    upper = rows[:8].mean(0).reshape(_BITS, _BLOCK)[:, 4:-4].mean(1)
    lower = rows[-8:].mean(0).reshape(_BITS, _BLOCK)[:, 4:-4].mean(1)
    if (np.abs(upper - lower) < 100).any():
        return None
    return int(sum(1 << bit for bit in range(_BITS) if upper[bit] > lower[bit]))


def lumas(path: Path) -> Iterator[np.ndarray]:
    """Luma of every picture of a file, uint8 (height, width)."""
    with av.open(str(path)) as reader:
        for frame in reader.decode(video=0):
            plane = frame.planes[0]
            yield np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def one_loop(recording: Path, count: int, target: Path) -> list[int]:
    """Cut the first whole loop of ``count`` pictures out of a recording; what is missing in it becomes grey pictures.

    Returns the numbers of those. ValueError where the recording holds no whole loop.
    """
    numbers = [number(luma) for luma in lumas(recording)]
    starts = [at for at, (one, next_) in enumerate(pairwise(numbers), 1) if one is not None and (next_ or 0) < one]
    if len(starts) < 2:
        raise ValueError(f"no whole loop in {len(numbers)} pictures")
    taken = dict(zip(range(starts[0], starts[1]), numbers[starts[0] : starts[1]], strict=True))
    with av.open(str(recording)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "8", "bf": "0"})
        assert isinstance(stream, av.VideoStream)
        video = reader.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        blank = av.VideoFrame.from_ndarray(np.full((video.height * 3 // 2, video.width), 128, np.uint8), "yuv420p")
        written, missing = 0, []

        def write(frame: av.VideoFrame) -> None:
            nonlocal written
            frame.pict_type, frame.pts, frame.time_base = av.video.frame.PictureType.NONE, written, Fraction(1, 25)
            writer.mux(stream.encode(frame))
            written += 1

        for at, frame in enumerate(reader.decode(video)):
            index = taken.get(at)
            while index is not None and written < index:
                missing.append(written)
                write(blank)
            if index is not None and written == index:
                write(frame)
        while written < count:
            missing.append(written)
            write(blank)
        writer.mux(stream.encode(None))
    return missing


def painted(original: np.ndarray, shown: np.ndarray) -> list[list[float]]:
    """What a flat cover hides of a picture, by the pixels alone: boxes (x, y, width, height) that together fill it.

    original, shown: luma uint8 (height, width). Flat is what differs by at most 5 grey levels from its neighbours.
    """
    near = np.ones((3, 3), np.uint8)
    flat = cv2.subtract(cv2.dilate(shown, near), cv2.erode(shown, near)) <= 5
    changed = cv2.blur(cv2.absdiff(original, shown), (3, 3)) >= 4
    mask = cv2.morphologyEx((flat & changed).astype(np.uint8), cv2.MORPH_OPEN, near)  # without noise
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))  # with what had the cover's grey before
    rows = cv2.dilate(mask, near)[1::2, 1::2].astype(np.int8)
    edges = np.diff(np.pad(rows, ((0, 0), (1, 1))), axis=1)
    (tops, lefts), (_, rights) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    return [[2.0 * x, 2.0 * y, 2.0 * (end - x), 2.0] for y, x, end in zip(tops, lefts, rights, strict=True)]


def labels(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Labelled faces of at least 20 px by picture number."""
    frames = json.loads(path.read_text())["frames"]
    return {
        frame["index"]: [f for f in frame["faces"] if f["state"] == "face" and f["box"][3] >= 20] for frame in frames
    }


def _highpass(region: np.ndarray) -> np.ndarray:
    region = region.astype(np.float32)
    return region - cv2.GaussianBlur(region, (0, 0), max(1.0, region.shape[0] / 12))


def left(original: np.ndarray, shown: np.ndarray, box: list[float]) -> bool:
    """Whether a labelled face was left as it was, by the two criteria of the shared leak.py: high-pass luma correlates
    by more than 0.8 with the original's, also after the best shift within a tenth of the face; or by more than 0.6, and
    less than half of the pixels changed by more than 12 grey levels."""
    x, y, w, h = box
    height, width = original.shape
    x0, y0 = int(max(0, x + 0.1 * w)), int(max(0, y + 0.15 * h))
    x1, y1 = int(min(width, x + 0.9 * w)), int(min(height, y + 0.95 * h))
    if x1 - x0 < 6 or y1 - y0 < 6:
        return False
    r = max(2, int(0.1 * h))
    top, bottom, left, right = max(0, y0 - r), min(height, y1 + r), max(0, x0 - r), min(width, x1 + r)
    pattern = _highpass(original[top:bottom, left:right])[y0 - top : y1 - top, x0 - left : x1 - left]
    field = _highpass(shown[top:bottom, left:right])
    if field.std() <= 0.5:
        return False
    alike = float(cv2.matchTemplate(field, np.ascontiguousarray(pattern), cv2.TM_CCOEFF_NORMED).max())
    levels = 12 * 219 / 255  # leak.py compares full-range grey
    changed = float((cv2.absdiff(original[y0:y1, x0:x1], shown[y0:y1, x0:x1]) > levels).mean())
    return alike > 0.8 or (alike > 0.6 and changed < 0.5)


class Verdict:
    """What a recording shows of a clip; pictures of another size than the clip's are passed over.

    pictures: with a readable number; blank: uniform; other: notices and the like, without a number; faces: labelled
    ones looked at; leaks: (picture number, box) of faces left as they were.
    """

    def __init__(self, recording: Path, clip: Path, known: dict[int, list[dict[str, Any]]]) -> None:
        originals = {index: luma for index, luma in enumerate(lumas(clip)) if index in known}
        self.pictures = self.blank = self.other = self.faces = 0
        self.leaks: list[tuple[int, list[float]]] = []
        size = next(iter(originals.values())).shape
        for shown in lumas(recording):
            if shown.shape != size:
                continue
            if int(shown.max()) - int(shown.min()) <= 8:
                self.blank += 1
                continue
            index = number(shown)
            if index is None:
                self.other += 1
                continue
            self.pictures += 1
            for face in known.get(index, []):
                self.faces += 1
                if left(originals[index], shown, face["box"]):
                    self.leaks.append((index, face["box"]))

    def __repr__(self) -> str:
        return (
            f"{self.pictures} pictures, {self.blank} blank, {self.other} other, {self.faces} faces, "
            f"{len(self.leaks)} left as they were: {self.leaks[:5]}"
        )
