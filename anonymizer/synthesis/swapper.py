"""What every face swapper promises, whichever model draws the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from anonymizer.frame import F32, U8, Face, Planes
from anonymizer.synthesis.bank import Identity


@dataclass(frozen=True, slots=True)
class Order:
    """One face to be drawn.

    crop: views of the picture around the face, to be read only; its corner lies on even pixels of the picture.
    landmarks: float32 (200, 2) as in ``faces.topology``, pixels of the crop, whose first pixel's centre is at (0.5,
    0.5). pose: yaw, pitch, roll in degrees, or None. track: whoever has the same number is the same face in time.
    refine: the drawing is to be corrected by the refiner.
    """

    crop: Planes
    landmarks: F32
    pose: tuple[float, float, float] | None
    identity: Identity
    track: int
    refine: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn face: planes of the crop's size and range, and how much of them replaces the picture.

    weight: uint8 (height, width), 255 where nothing of the picture may stay.
    """

    planes: Planes
    weight: U8


class Swapper(Protocol):
    """Draws other people's faces over those of a frame. One swapper serves one camera: it may remember its tracks."""

    def refusal(self, face: Face) -> str:
        """Why this face cannot be drawn well and must be covered instead; empty where it can."""
        ...

    def reach(self, face: Face) -> tuple[float, float, float, float]:
        """The rectangle (x0, y0, x1, y1) of the picture that a drawing of the face needs."""
        ...

    def draw(self, orders: Sequence[Order], time: float) -> list[Drawing]:
        """Draw all faces of a frame. time: seconds on the camera's clock. After an exception nothing was drawn."""
        ...
