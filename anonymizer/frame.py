"""The frame record: what travels through the stages, and where its pixels are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from anonymizer.ingest.picture import Picture

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the full picture; x and y are the upper left corner."""

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


def extent(points: F32) -> Box:
    """The rectangle around points (n, 2)."""
    rows = np.ascontiguousarray(points.T)  # least and greatest are found much faster along rows
    (left, top), (right, bottom) = rows.min(1).tolist(), rows.max(1).tolist()
    return left, top, right - left, bottom - top


def bounds(points: F32) -> tuple[F32, F32]:
    """The upper left and the lower right corners, float32 (n, 2) each, of the rectangles around n sets of points
    (n, m, 2): ``extent`` of many at once."""
    rows = np.ascontiguousarray(points.transpose(0, 2, 1))
    return rows.min(2), rows.max(2)


@dataclass(slots=True)
class Planes:
    """A 4:2:0 picture, or a region of one, as writeable views.

    y is uint8 (height, width); u and v are uint8 (ceil(height / 2), ceil(width / 2)). full_range says that luma runs
    over 0–255 instead of 16–235.
    """

    y: U8
    u: U8
    v: U8
    full_range: bool = False

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    def clip(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
        """The smallest rectangle (x0, y0, x1, y1) on even pixels that holds the given one, cut by the picture."""
        left, top = max(0, math.floor(x0) & ~1), max(0, math.floor(y0) & ~1)
        right, bottom = min(self.width, (math.ceil(x1) + 1) & ~1), min(self.height, (math.ceil(y1) + 1) & ~1)
        return left, top, max(left, right), max(top, bottom)

    def region(self, x0: int, y0: int, x1: int, y1: int) -> Planes:
        """Views of the rectangle, whose corners ``clip`` has put on even pixels. Writing to them writes the picture."""
        half = slice(y0 // 2, (y1 + 1) // 2), slice(x0 // 2, (x1 + 1) // 2)
        return Planes(self.y[y0:y1, x0:x1], self.u[half], self.v[half], self.full_range)

    def copy(self) -> Planes:
        return Planes(self.y.copy(), self.u.copy(), self.v.copy(), self.full_range)

    def scaled(self, width: int, height: int) -> Planes:
        """A copy of another size, whose sides are even."""
        y, u, v = (
            np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            for plane, size in (
                (self.y, (width, height)),
                (self.u, (width // 2, height // 2)),
                (self.v, (width // 2, height // 2)),
            )
        )
        return Planes(y, u, v, self.full_range)

    def bgr(self, size: tuple[int, int] | None = None) -> U8:
        """A BGR copy, uint8 (height, width, 3), scaled to size = (width, height) before conversion where given.

        BT.601 coefficients whatever the stream says: detectors and landmark nets do not notice, and nothing converted
        here is ever written back. Down-scaling averages areas.
        """
        width, height = size or (self.width, self.height)
        how = cv2.INTER_AREA if width < self.width else cv2.INTER_LINEAR
        y = (
            self.y
            if (width, height) == (self.width, self.height)
            else cv2.resize(self.y, (width, height), interpolation=how)
        )
        chroma = [
            plane
            if plane.shape == (height, width)
            else cv2.resize(
                plane, (width, height), interpolation=cv2.INTER_AREA if width < plane.shape[1] else cv2.INTER_LINEAR
            )
            for plane in (self.v, self.u)
        ]
        ycc = cv2.merge([y, *chroma])
        if not self.full_range:
            ycc = cv2.LUT(ycc, _TO_FULL)
        return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2BGR), np.uint8)


def _limited_to_full() -> U8:
    """uint8 (1, 256, 3) table from studio range (16–235, 16–240) to 0–255 for Y, Cr, Cb (ITU-R BT.601)."""
    v = np.arange(256, dtype=np.float32)
    luma = (v - 16) * 255 / 219
    chroma = (v - 128) * 255 / 224 + 128
    return np.clip(np.rint(np.stack([luma, chroma, chroma], 1)), 0, 255).astype(np.uint8)[None]


_TO_FULL = _limited_to_full()


@dataclass(slots=True)
class Face:
    """One face in one frame.

    box: what has to be covered: the face (hairline to chin, ear to ear), grown by what the tracker does not know of its
    place. seen: the face itself, as the detector saw it or the tracker puts it between two sightings; None where it is
    the box. score: the detector's, 0–1; that of the last detection where
    the tracker bridged a gap. points: float32 (5, 2) right eye, left eye, nose, mouth corners, or None. landmarks:
    float32 (200, 2) as in ``faces.topology``, or None. presence: 0–1, how sure the landmark net is that a face is
    there. yaw, pitch, roll: degrees, or None where the landmarks are missing. seen_at: time of the newest detection
    that the box rests on, seconds on the camera's clock. action, rule, margin: what the policy says, margin as share of
    the box on each side; enhance: what it says of refining a replaced face, off or light; method, painted: what
    ``synthesis`` did, and the rectangle it did it to; identity: the key of who was drawn, empty where nobody was.
    """

    track: int
    box: Box
    score: float
    seen: Box | None = None
    points: F32 | None = None
    landmarks: F32 | None = None
    presence: float = 0.0
    pose: tuple[float, float, float] | None = None
    seen_at: float = 0.0
    action: str = ""
    method: str = ""
    rule: str = ""
    margin: float = 0.1
    painted: Box | None = None
    enhance: str = "off"
    identity: bytes = b""


@dataclass(slots=True)
class Frame:
    """One picture on its way.

    time: seconds on the camera's clock, which never jumps. wall: UTC seconds, and clock: who says so. pts: in the
    stream's time base, as it came. planes: to look at; picture: whose planes can be edited. aspect: shown width of one
    of their pixels over its shown height. uncertain: why the faces cannot be relied on (the picture must then be
    covered whole), or "". whole: it is covered whole, for that or because the policy says so.
    """

    index: int
    pts: int | None
    time: float
    planes: Planes
    faces: list[Face] = field(default_factory=list)
    picture: Picture | None = None
    aspect: float = 1.0
    uncertain: str = ""
    whole: bool = False
    wall: float = 0.0
    clock: str = ""
