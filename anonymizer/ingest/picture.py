"""A decoded picture and the planes in it."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from anonymizer.frame import U8, Planes

FAST_FORMATS = ("yuv420p", "yuvj420p")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


def planes_of(frame: av.VideoFrame) -> Planes:
    """Views of an 8-bit 4:2:0 frame. They are dead once the frame is made writeable or freed: never keep them."""

    def view(index: int, width: int, height: int) -> U8:
        plane = frame.planes[index]
        return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]

    half = (frame.width + 1) // 2, (frame.height + 1) // 2
    full_range = frame.format.name == "yuvj420p" or frame.color_range == _FULL_RANGE
    return Planes(view(0, frame.width, frame.height), view(1, *half), view(2, *half), full_range)


class Converter:
    """Brings decoded frames to 8-bit 4:2:0 with even sides, with keep_size all of the first one's. One a thread."""

    def __init__(self, keep_size: bool = True) -> None:
        self._keep_size = keep_size
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self.rescaled = 0

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame itself where nothing has to change."""
        if self._size is None or not self._keep_size:
            self._size = frame.width + frame.width % 2, frame.height + frame.height % 2
        width, height = self._size
        same_size = (frame.width, frame.height) == self._size
        if same_size and frame.format.name in FAST_FORMATS:
            return frame
        if not same_size:
            self.rescaled += 1
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith(("yuvj", "rgb", "bgr", "gbr", "gray"))
        target = "yuvj420p" if full else "yuv420p"
        converted = self._reformatter.reformat(frame, width, height, target)
        converted.pts, converted.time_base = frame.pts, frame.time_base
        return converted


class Picture:
    """A frame whose planes can be looked at upright, and changed without harm to the decoder's references.

    rotation: degrees counter-clockwise, a multiple of 90, by which a player turns the coded picture.
    """

    def __init__(self, frame: av.VideoFrame, rotation: int = 0) -> None:
        self._frame = frame
        self._quarter_turns = rotation // 90 % 4
        self._edited: Planes | None = None

    def planes(self) -> Planes:
        """The upright planes, to read: views, or copies where the picture is turned."""
        return self._turned(planes_of(self._frame), self._quarter_turns)

    def edit(self) -> Planes:
        """The upright planes, to write. Views handed out before are dead from now on; call ``finish`` afterwards."""
        self._frame.make_writable()
        self._edited = self.planes()
        return self._edited

    @property
    def edited(self) -> bool:
        """Whether something may have been written to it since it was decoded, or since ``finish``."""
        return self._edited is not None

    def finish(self) -> av.VideoFrame:
        """The frame with what was written to the edited planes."""
        if self._edited is not None and self._quarter_turns:
            coded, edited = planes_of(self._frame), self._edited
            for target, source in zip((coded.y, coded.u, coded.v), (edited.y, edited.u, edited.v), strict=True):
                target[:] = np.rot90(source, -self._quarter_turns)
        self._edited = None
        return self._frame

    @staticmethod
    def _turned(planes: Planes, quarter_turns: int) -> Planes:
        if not quarter_turns:
            return planes
        y, u, v = (np.ascontiguousarray(np.rot90(p, quarter_turns)) for p in (planes.y, planes.u, planes.v))
        return Planes(y, u, v, planes.full_range)
