"""Eyes and the mouth's inside, drawn over the warped skin from the landmarks and the identity's own small pictures.

No pixel of the original's eyes or mouth is read. Lids and lips are the outlines' points, so that blinking and speaking
follow; the iris stands where the landmarks put it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.faces import topology
from anonymizer.frame import F32

# Outlines run corner, lower edge, corner, upper edge; here each edge from the picture's left to its right.
_EYES = (
    (topology.EYE_RIGHT[:9], np.concatenate([topology.EYE_RIGHT[:1], topology.EYE_RIGHT[:7:-1]])),
    (topology.EYE_LEFT[8::-1], np.concatenate([topology.EYE_LEFT[8:], topology.EYE_LEFT[:1]])),
)
_MOUTH = (topology.LIPS_INNER[:11], np.concatenate([topology.LIPS_INNER[:1], topology.LIPS_INNER[:9:-1]]))

IRIS_RADIUS = 0.092
"""Of an iris in eye distances: 11.7 mm across at 63 mm."""


@dataclass(frozen=True, slots=True)
class Parts:
    """An identity's small pictures as float32 Y, Cb, Cr in the picture's range."""

    iris: tuple[F32, ...]
    sclera: F32
    mouth: F32


@dataclass(frozen=True, slots=True)
class Patch:
    """float32 (h, w, 3) Y, Cb, Cr and float32 (h, w) opacity, to be laid at (x, y), which are even, as are h and w.

    shade: float32 (h, w), by what luma under the patch is multiplied first.
    """

    x: int
    y: int
    colour: F32
    opacity: F32
    shade: F32


class _Opening:
    """An opening between two edges, in a frame along its corners."""

    def __init__(self, points: F32, lower: np.ndarray, upper: np.ndarray, margin: float, size: tuple[int, int]) -> None:
        rim = points[np.concatenate([lower, upper])]
        low, high = rim.min(0) - margin, rim.max(0) + margin
        self.x0, self.y0 = max(0, int(low[0])) & ~1, max(0, int(low[1])) & ~1
        x1, y1 = min(size[0], (int(high[0]) + 2) & ~1), min(size[1], (int(high[1]) + 2) & ~1)
        self.empty = x1 - self.x0 < 2 or y1 - self.y0 < 2
        if self.empty:
            return
        start, end = points[lower[0]], points[lower[-1]]
        self.length = max(1e-3, float(np.hypot(*(end - start))))
        ux, uy = (end - start) / self.length
        px = np.arange(self.x0, x1, dtype=np.float32) + 0.5 - start[0]
        py = (np.arange(self.y0, y1, dtype=np.float32) + 0.5 - start[1])[:, None]
        self.along = ux * px + uy * py
        self.down = ux * py - uy * px
        turn = np.array([[ux, -uy], [uy, ux]], np.float32)
        edges = [(points[e] - start) @ turn for e in (upper, lower)]
        self.top, self.bottom = (self._curve(e) for e in edges)
        self.gap = self.bottom - self.top
        self.open = float(np.max((edges[1] - edges[0])[:, 1]))

    def _curve(self, edge: F32) -> F32:
        x = np.maximum.accumulate(edge[:, 0] + np.arange(len(edge), dtype=np.float32) * 1e-4)
        return np.interp(self.along, x, edge[:, 1]).astype(np.float32)

    def coverage(self) -> F32:
        """float32 0–1: how much of each pixel lies between the edges."""
        inside = np.minimum(self.down - self.top, self.bottom - self.down)
        ends = np.minimum(self.along, self.length - self.along)
        # Half a pixel on either side of the edge; an opening thinner than a pixel covers no more than it is wide.
        thin = np.clip(self.gap, 0, 1)
        return np.asarray(np.clip(np.minimum(inside, ends) + 0.5, 0, 1) * thin, np.float32)

    def texture(self, picture: F32, depth: float = 1.0, mirrored: bool = False) -> F32:
        """The picture stretched between corners and edges; depth: how much of its height the gap shows."""
        h, w = picture.shape[:2]
        a = self.along / self.length
        u = ((1 - a) if mirrored else a) * w - 0.5
        v = (self.down - self.top) / np.maximum(self.gap, 0.5) * (h * depth) - 0.5
        return np.asarray(
            cv2.remap(picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
        )


def eye(points: F32, left: bool, parts: Parts, gain: float, floor: float, size: tuple[int, int]) -> Patch | None:
    """One eye. points: float32 (200, 2) in pixels; gain: of luminance over floor; size: (width, height) of the picture."""
    centres = topology.eye_centres(points[None])[0]
    distance = max(float(np.hypot(*(centres[1] - centres[0]))), float(np.hypot(*(points[_NOSE] - centres.mean(0)))))
    lower, upper = _EYES[left]
    opening = _Opening(points, lower, upper, 1.5 + 0.06 * distance, size)
    if opening.empty:
        return None
    colour = opening.texture(parts.sclera, mirrored=left)
    radius = IRIS_RADIUS * distance
    centre = points[topology.IRIS_LEFT if left else topology.IRIS_RIGHT]
    h, w = colour.shape[:2]
    dx = np.arange(opening.x0, opening.x0 + w, dtype=np.float32) + 0.5 - centre[0]
    dy = (np.arange(opening.y0, opening.y0 + h, dtype=np.float32) + 0.5 - centre[1])[:, None]
    iris = parts.iris[int(np.clip(np.log2(16 / max(radius, 0.5)), 0, len(parts.iris) - 1))]
    half = iris.shape[0] / 2
    u = np.broadcast_to(dx / radius * half + half - 0.5, (h, w)).astype(np.float32)
    v = np.broadcast_to(dy / radius * half + half - 0.5, (h, w)).astype(np.float32)
    ball = cv2.remap(iris, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = np.clip(radius - np.sqrt(dx * dx + dy * dy) + 0.5, 0, 1)[..., None]
    colour += alpha * (ball - colour)
    # The upper lid throws a shadow on the ball, and its lashes are a dark line that stays when the eye is shut.
    under = np.maximum(opening.down - opening.top, 0)
    shadow = 1 - 0.45 * np.exp(-under / (0.035 * distance + 0.3))
    colour[..., 0] = floor + (colour[..., 0] - floor) * gain * shadow
    lash = _line(opening.down - opening.top, 0.016 * distance + 0.35)
    ends = np.clip(np.minimum(opening.along, opening.length - opening.along) / (0.05 * distance) + 0.7, 0, 1)
    shade = 1 - LASHES * lash * ends
    return Patch(opening.x0, opening.y0, colour, opening.coverage(), shade.astype(np.float32))


LASHES = 0.5
"""By how much the line of the upper lid darkens what is under it."""

_NOSE = topology.points(5)[0]


def _line(distance: F32, width: float) -> F32:
    return np.asarray(np.exp(-np.square(distance / width)), np.float32)


MOUTH_OPEN = 0.035
"""Openings below this share of the mouth's width count as shut: the texture has the line between the lips."""


def mouth(points: F32, parts: Parts, gain: float, floor: float, size: tuple[int, int]) -> Patch | None:
    """The inside of an open mouth; None where it is shut. Arguments as for ``eye``."""
    lower, upper = _MOUTH
    opening = _Opening(points, lower, upper, 2, size)
    if opening.empty:
        return None
    openness = opening.open / opening.length
    if openness < MOUTH_OPEN:
        return None
    colour = opening.texture(parts.mouth, depth=float(np.clip(2 * openness, 0.1, 1)))
    under = np.maximum(opening.down - opening.top, 0)
    shadow = 1 - 0.4 * np.exp(-under / (0.06 * opening.length + 0.3))
    colour[..., 0] = floor + (colour[..., 0] - floor) * gain * shadow
    opacity = opening.coverage() * np.float32(np.clip((openness - MOUTH_OPEN) / 0.05, 0, 1))
    return Patch(opening.x0, opening.y0, colour, opacity, np.ones_like(opacity))


def lay(patch: Patch, luma: F32, chroma: F32) -> None:
    """Lay a patch over float32 luma (h, w) and chroma (h / 2, w / 2, 2) in place."""
    h, w = patch.opacity.shape
    under = luma[patch.y : patch.y + h, patch.x : patch.x + w]
    under *= patch.shade
    under += patch.opacity * (patch.colour[..., 0] - under)
    half = (w // 2, h // 2)
    opacity = cv2.resize(patch.opacity, half, interpolation=cv2.INTER_AREA)[..., None]
    colour = cv2.resize(patch.colour, half, interpolation=cv2.INTER_AREA)[..., 1:]
    below = chroma[patch.y // 2 : patch.y // 2 + h // 2, patch.x // 2 : patch.x // 2 + w // 2]
    below += opacity * (colour - below)
