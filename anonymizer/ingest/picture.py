"""A decoded picture and the planes in it."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import VideoReformatter

from anonymizer.frame import U8, Planes

FAST_FORMATS = ("yuv420p", "yuvj420p")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


class Orientation(NamedTuple):
    """How a player shows a coded picture: turned by rotation, degrees counter-clockwise and a multiple of 90, and then,
    where mirrored says so, its left and right exchanged."""

    rotation: int = 0
    mirrored: bool = False

    def aspect(self, coded: Fraction | None) -> float:
        """Shown width of a pixel over its shown height, from that of a coded one; unknown ones are square."""
        if not coded or coded <= 0:
            return 1.0
        return float(1 / coded if self.rotation % 180 else coded)


AS_CODED = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """What the frame's display matrix says; as coded where there is none, or one that does more than this."""
    given = frame.side_data.get("DISPLAYMATRIX")
    if frame.rotation % 90 or not isinstance(given, SideData):
        return AS_CODED
    matrix = np.frombuffer(bytes(given)[:36], np.int32).reshape(3, 3)
    mirrored = float(matrix[0, 0]) * float(matrix[1, 1]) < float(matrix[0, 1]) * float(matrix[1, 0])
    # FFmpeg reads the angle off the first row, which a mirror has turned over.
    return Orientation((180 - frame.rotation if mirrored else frame.rotation) % 360, mirrored)


def planes_of(frame: av.VideoFrame) -> Planes:
    """Views of an 8-bit 4:2:0 frame. They are dead once the frame is made writeable or freed: never keep them."""

    def view(index: int, width: int, height: int) -> U8:
        plane = frame.planes[index]
        return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]

    half = (frame.width + 1) // 2, (frame.height + 1) // 2
    full_range = frame.format.name == "yuvj420p" or frame.color_range == _FULL_RANGE
    return Planes(view(0, frame.width, frame.height), view(1, *half), view(2, *half), full_range)


class Converter:
    """Brings decoded frames to 8-bit 4:2:0 with even sides, with keep_size all of the first one's. One a thread.

    Where a side is odd, the last row or column is there twice. rescaled: how many had another size than the first.
    """

    def __init__(self, keep_size: bool = True) -> None:
        self._keep_size = keep_size
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self.rescaled = 0

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame itself where nothing has to change."""
        size, fast = (frame.width, frame.height), frame.format.name in FAST_FORMATS
        if self._size is None or not self._keep_size:
            self._size = size
        even = self._size[0] + self._size[0] % 2, self._size[1] + self._size[1] % 2
        if size == even and fast:
            return frame
        own = size == self._size
        self.rescaled += not own
        converted = frame
        if not own or not fast:
            full_range = frame.format.name.startswith(("yuvj", "rgb", "bgr", "gbr", "gray"))
            target = "yuvj420p" if full_range or frame.color_range == _FULL_RANGE else "yuv420p"
            converted = self._reformatter.reformat(frame, *(size if own else even), target)
        if own and size != even:
            converted = _padded(converted, *even)
        converted.pts, converted.time_base = frame.pts, frame.time_base
        return converted


def _padded(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A copy of an 8-bit 4:2:0 frame with its last row and column repeated up to width and height."""
    padded = av.VideoFrame(width, height, frame.format.name)
    padded.color_range = frame.color_range
    old, new = planes_of(frame), planes_of(padded)
    for target, source in ((new.y, old.y), (new.u, old.u), (new.v, old.v)):
        rows, columns = target.shape[0] - source.shape[0], target.shape[1] - source.shape[1]
        target[:] = np.pad(source, ((0, rows), (0, columns)), "edge")
    return padded


class Picture:
    """A frame whose planes can be looked at as a player shows them, and changed without harm to the decoder's
    references."""

    def __init__(self, frame: av.VideoFrame, orientation: Orientation = AS_CODED) -> None:
        self._frame = frame
        self._orientation = orientation
        self._edited: Planes | None = None

    def planes(self) -> Planes:
        """The upright planes, to read: views, or copies where the picture is turned or mirrored."""
        coded = planes_of(self._frame)
        if self._orientation == AS_CODED:
            return coded
        y, u, v = (np.ascontiguousarray(self._upright(plane)) for plane in (coded.y, coded.u, coded.v))
        return Planes(y, u, v, coded.full_range)

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
        if self._edited is not None and self._orientation != AS_CODED:
            coded, edited = planes_of(self._frame), self._edited
            for target, source in zip((coded.y, coded.u, coded.v), (edited.y, edited.u, edited.v), strict=True):
                self._upright(target)[:] = source
        self._edited = None
        return self._frame

    def _upright(self, plane: U8) -> U8:
        """A view of a coded plane as it is shown."""
        turned = np.rot90(plane, self._orientation.rotation // 90)
        return turned[:, ::-1] if self._orientation.mirrored else turned


def upright(frame: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    """The 8-bit 4:2:0 frame as a player shows it, for a stream that cannot say how it is to be shown: a copy, or the
    frame itself where that is as it is coded."""
    if orientation == AS_CODED:
        return frame
    shown = Picture(frame, orientation).planes()
    turned = av.VideoFrame(shown.width, shown.height, frame.format.name)
    turned.color_range = frame.color_range
    target = planes_of(turned)
    target.y[:], target.u[:], target.v[:] = shown.y, shown.u, shown.v
    return turned
