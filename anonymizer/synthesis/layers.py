"""Eyes and the mouth's inside, from the landmarks and the identity's own small pictures.

No pixel of the original's eyes or mouth is read. An eyeball is painted into the identity's texture, between lids that
the warp opens and closes: the white of the eye once, the iris in every frame, round in the picture and where the
landmarks put it. The inside of a mouth is laid over the warped face when the lips part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.frame import F32
from anonymizer.synthesis.sampling import look_up, shrink

Indices = NDArray[np.int64]

# Outlines run corner, lower edge, corner, upper edge; here each edge from the picture's left to its right.
_EYES: tuple[tuple[Indices, Indices], ...] = (
    (topology.EYE_RIGHT[:9], np.concatenate([topology.EYE_RIGHT[:1], topology.EYE_RIGHT[:7:-1]])),
    (topology.EYE_LEFT[8::-1], np.concatenate([topology.EYE_LEFT[8:], topology.EYE_LEFT[:1]])),
)
_LIDS = (topology.EYELIDS_RIGHT, topology.EYELIDS_LEFT)
_IRISES = (topology.IRIS_RIGHT, topology.IRIS_LEFT)
IRIS_RADIUS = 0.092
"""Of an iris in eye distances: 11.7 mm across at 63 mm."""

LASHES = 0.45
"""By how much the line of the upper lid darkens what is under it."""

SHUT = 0.4
"""By how much the line is darker where both lids meet."""

TEETH = 0.8
"""Light in the mouth over that on the skin around it."""

SHADE = 0.45
"""How much of it the upper lip takes away at its edge."""

MOUTH_OPEN = 0.045
"""Openings below this share of the mouth's width count as shut: the texture has the line between the lips."""


@dataclass(frozen=True, slots=True)
class Parts:
    """An identity's small pictures as float32 Y less black, Cb and Cr less 128; ``iris`` at falling sizes."""

    iris: tuple[F32, ...]
    mouth: F32


class Opening:
    """What lies between two edges, in a frame along its corners.

    points: float32 (200, 2) in pixels; lower, upper: which of them are the edges, both from left to right; margin:
    pixels around them; size: (width, height) of the picture. x0, y0: even corner of the rectangle that the arrays
    describe, whose sides are even too.
    """

    def __init__(self, points: F32, lower: Indices, upper: Indices, margin: float, size: tuple[int, int]) -> None:
        rim = points[np.concatenate([lower, upper])]
        low, high = rim.min(0) - margin, rim.max(0) + margin
        self.x0, self.y0 = max(0, int(low[0])) & ~1, max(0, int(low[1])) & ~1
        x1, y1 = min(size[0], (int(high[0]) + 2) & ~1), min(size[1], (int(high[1]) + 2) & ~1)
        self.empty = x1 - self.x0 < 2 or y1 - self.y0 < 2
        if self.empty:
            return
        start, end = points[lower[0]], points[lower[-1]]
        self.length = max(1e-3, float(np.hypot(*(end - start))))
        ux, uy = (end - start) / np.float32(self.length)
        self.x = np.arange(self.x0, x1, dtype=np.float32) + np.float32(0.5)
        self.y = (np.arange(self.y0, y1, dtype=np.float32) + np.float32(0.5))[:, None]
        px, py = self.x - start[0], self.y - start[1]
        self.along = ux * px + uy * py
        down = ux * py - uy * px
        turn = np.array([[ux, -uy], [uy, ux]], np.float32)
        self.below, self.gap = down, down
        edges = [(points[e] - start) @ turn for e in (upper, lower)]
        top, bottom = (self._curve(e) for e in edges)
        self.below = down - top
        """Distance under the upper edge."""
        self.gap = bottom - top

    def _curve(self, edge: F32) -> F32:
        x = np.maximum.accumulate(edge[:, 0] + np.arange(len(edge), dtype=np.float32) * np.float32(1e-4))
        return np.asarray(np.interp(self.along, x, edge[:, 1]), np.float32)

    def coverage(self) -> F32:
        """float32 0–1: how much of each pixel lies between the edges."""
        inside = np.minimum(self.below, self.gap - self.below)
        ends = np.minimum(self.along, self.length - self.along)
        # Half a pixel on either side of the edge; an opening thinner than a pixel covers no more than it is wide.
        return np.asarray(np.clip(np.minimum(inside, ends) + 0.5, 0, 1) * np.clip(self.gap, 0, 1), np.float32)

    def stretched(self, picture: F32, depth: float = 1.0, mirrored: bool = False) -> F32:
        """The picture stretched between corners and edges; depth: how much of its height the gap shows."""
        h, w = picture.shape[:2]
        a = self.along * np.float32(w / self.length)
        u = (w - a if mirrored else a) - np.float32(0.5)
        v = self.below * np.float32(h * depth) / np.maximum(self.gap, np.float32(0.5)) - np.float32(0.5)
        return look_up(picture, np.dstack(np.broadcast_arrays(u, v)).astype(np.float32))


class Eyeball:
    """Where one eye opens in a texture of side × side texels, and how its lids shade it."""

    def __init__(self, uv: F32, left: bool, side: int) -> None:
        self.side = side
        points = uv * np.float32(side)
        lower, upper = _EYES[left]
        eyes = topology.eye_centres(points[None])[0]
        distance = float(np.hypot(*(eyes[1] - eyes[0])))
        self.opening = Opening(points, lower, upper, 1.5 + 0.06 * distance, (side, side))
        self.mirrored = left
        rows, columns = self.opening.below.shape
        self.window = (
            slice(self.opening.y0, self.opening.y0 + rows),
            slice(self.opening.x0, self.opening.x0 + columns),
        )
        self.coverage = self.opening.coverage()
        under = np.maximum(self.opening.below, 0)
        # The upper lid throws a shadow on the ball, and its lashes are a dark line that stays when the eye is shut.
        self.shadow = (1 - 0.4 * np.exp(-under / (0.03 * distance))).astype(np.float32)
        line = np.exp(-np.square(self.opening.below / (0.014 * distance + 0.3)))
        ends = np.clip(np.minimum(self.opening.along, self.opening.length - self.opening.along) / 2 + 0.7, 0, 1)
        self.lashes = (1 - LASHES * line * ends).astype(np.float32)
        self.seen = np.repeat(self.coverage[..., None], 4, 2).astype(np.float32)
        """What is left of an iris, its luma and the rest, in the opening and under the upper lid."""
        self.seen[..., 0] *= self.shadow

    def darken(self, texture: F32) -> None:
        """Paint the lashes into a texture, float32 (side, side, 3), in place.

        Of a shut eye they are all that is seen: the opening, by then a line, is dark too.
        """
        part = texture[self.window]
        part[..., 0] *= self.lashes * (1 - SHUT * self.coverage)

    def whiten(self, texture: F32, sclera: F32) -> None:
        """Paint the white of the eye into a texture, float32 (side, side, 3), in place."""
        part = texture[self.window]
        white = self.opening.stretched(sclera, mirrored=self.mirrored)
        white[..., 0] *= self.shadow
        part += self.coverage[..., None] * (white - part)

    def part(self, texture: F32) -> F32:
        """A copy of what the eye covers in a texture of this side, or in one of half of it."""
        return texture[self._window_in(texture)].copy()

    def _window_in(self, texture: F32) -> tuple[slice, slice]:
        if texture.shape[0] == self.side:
            return self.window
        rows, columns = self.window
        return slice(rows.start // 2, rows.stop // 2), slice(columns.start // 2, columns.stop // 2)

    def look(
        self, luma: F32, chroma: F32, white: tuple[F32, F32], irises: Sequence[F32], place: Sequence[float]
    ) -> None:
        """Open the eye in a texture's luma (side, side) and chroma (side / 2, side / 2, 2), in place.

        white: ``part`` of both with the white of the eye. irises: ``iris`` at falling sizes. place: centre and half
        axes as fractions of the texture and how far the eye is open, see ``gaze``.
        """
        opened = place[4]
        if opened <= 0:
            return
        part, coarse = luma[self.window], chroma[self._window_in(chroma)]
        part += opened * (white[0] - part)
        coarse += opened * (white[1] - coarse)
        x, y, wide, high = (self.side * value for value in place[:4])
        # About a texel of the iris' picture for one of the texture, so that its rim is as soft.
        iris = next((i for i in reversed(irises) if i.shape[0] >= 2 * min(wide, high)), irises[0])
        half, middle = (iris.shape[0] - 2) / 2, (iris.shape[0] - 1) / 2
        across, down = half / wide, half / high
        turn = np.array(
            [
                [across, 0, middle + across * (self.opening.x0 + 0.5 - x)],
                [0, down, middle + down * (self.opening.y0 + 0.5 - y)],
            ]
        )
        ball = _warped(iris, turn, (part.shape[1], part.shape[0]), cv2.BORDER_CONSTANT)
        ball *= self.seen if opened == 1 else np.float32(opened) * self.seen
        ball_luma, _, _, opacity = cv2.split(ball)
        part *= 1 - opacity
        part += ball_luma
        small = shrink(ball, (coarse.shape[1], coarse.shape[0]))
        coarse *= 1 - small[..., 3:]
        coarse += small[..., 1:3]


def iris(picture: F32) -> F32:
    """float32 (n, n, 3) of an iris that fills its disc → float32 (n + 2, n + 2, 4): the disc alone, premultiplied, and
    its opacity."""
    n = picture.shape[0]
    place = np.arange(n + 2, dtype=np.float32) - (n + 1) / 2
    opacity = np.clip(n / 2 + 0.5 - np.hypot(place, place[:, None]), 0, 1)[..., None]
    wide = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return np.concatenate([opacity * wide, opacity], 2).astype(np.float32)


def _warped(picture: F32, turn: NDArray[np.float64], size: tuple[int, int], border: int) -> F32:
    """The picture at the places that the map (2, 3) gives for each pixel of size = (width, height)."""
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, turn, size, flags=how, borderMode=border), np.float32)


_HALF = np.float32(0.5)
_BOTH_CORNERS = np.array([[lower[0], lower[-1]] for lower, _ in _EYES])
_BOTH_LIDS = np.array([lids[:2] for lids in _LIDS])  # (eye, upper or lower, 3)
_BOTH_IRISES = np.array(_IRISES)
_TIP = topology.points(5)[0]


def gaze(points: F32, uv: F32) -> F32:
    """Where irises go in a texture: float32 (n, 2, 5), for the right and the left eye x, y and half axes as fractions,
    and how far the eye is open, 0–1.

    points: float32 (n, 200, 2) in pixels. The half axes differ, so that the warp makes a circle of them again.
    """
    corners, lids = points[:, _BOTH_CORNERS], points[:, _BOTH_LIDS].mean(3)
    middle = corners.mean((1, 2))
    across = corners[:, 1].mean(1) - corners[:, 0].mean(1)
    # Seen from the side eyes draw together, but an iris stays as large.
    nose = points[:, _TIP] - middle
    radius = IRIS_RADIUS * np.maximum(np.hypot(across[:, 0], across[:, 1]), 0.8 * np.hypot(nose[:, 0], nose[:, 1]))
    radius = radius[:, None]
    start = corners[:, :, 0]
    along = corners[:, :, 1] - start
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-3)
    along /= length[..., None]

    def down(place: F32) -> F32:
        at = place - start
        return np.asarray(along[..., 0] * at[..., 1] - along[..., 1] * at[..., 0], np.float32)

    top = down(lids[:, :, 0])
    gap = down(lids[:, :, 1]) - top
    # Of a ball seen through less than a fifth of the iris' radius nothing is drawn but the lids that meet there.
    opened = np.clip((gap / np.maximum(radius, 1e-3) - 0.2) / 0.25, 0, 1)
    gap = np.maximum(gap, 0.25 * radius)
    iris = points[:, _BOTH_IRISES]
    right = np.clip(((iris - start) * along).sum(2) / length, 0.15, 0.85)
    low = np.clip((down(iris) - top) / gap, 0.2, 0.8)
    x0, x1 = uv[_BOTH_CORNERS, 0].T
    y0, y1 = uv[_BOTH_LIDS, 1].mean(2).T
    wide, high = x1 - x0, y1 - y0
    return np.stack([x0 + right * wide, y0 + low * high, radius / length * wide, radius / gap * high, opened], 2)


@dataclass(frozen=True, slots=True)
class Mouth:
    """The inside of an open mouth. x, y: its even corner; colour: float32 (h, w, 3), evenly lit, Y less black, Cb and
    Cr less 128; opacity: float32 (h, w), both even."""

    x: int
    y: int
    colour: F32
    opacity: F32

    def lay(self, luma: F32, chroma: F32, light: tuple[float, float], tint: tuple[float, float]) -> None:
        """Lay it over luma (h, w) and chroma (h / 2, w / 2, 2), in place.

        light, tint: gain and offset from its luma and chroma to those.
        """
        h, w = self.opacity.shape
        below = luma[self.y : self.y + h, self.x : self.x + w]
        below += self.opacity * (self.colour[..., 0] * np.float32(light[0]) + np.float32(light[1]) - below)
        size = w // 2, h // 2
        under = chroma[self.y // 2 : self.y // 2 + size[1], self.x // 2 : self.x // 2 + size[0]]
        colour = shrink(self.colour, size)[..., 1:] * np.float32(tint[0]) + np.float32(tint[1])
        under += shrink(self.opacity, size)[..., None] * (colour - under)


_MOUTH = np.concatenate(topology.MOUTH)
"""Three points of the upper lip's edge, three of the lower one's, both corners."""


def mouth(points: F32, parts: Parts, size: tuple[int, int]) -> Mouth | None:
    """What is seen between the lips; None where they are shut.

    points: float32 (200, 2) in pixels; size: (width, height) of the picture.
    """
    # Plain numbers: of most faces no more is asked than whether the lips are shut.
    xs, ys = points.take(_MOUTH, axis=0).T.tolist()
    (ax, bx), (ay, by) = xs[6:], ys[6:]
    middle_x, middle_y = sum(xs[:3]) / 3, sum(ys[:3]) / 3
    across, down = bx - ax, by - ay
    length = max(1e-3, math.hypot(across, down))
    gap_x, gap_y = sum(xs[3:6]) / 3 - middle_x, sum(ys[3:6]) / 3 - middle_y
    openness = (across * gap_y - down * gap_x) / (length * length)
    if openness < MOUTH_OPEN:
        return None
    outline = points[topology.LIPS_INNER]
    x0, y0, x1, y1 = (round(v) for v in (*(outline.min(0) - 2).tolist(), *(outline.max(0) + 2).tolist()))
    x0, y0 = max(0, x0 & ~1), max(0, y0 & ~1)
    x1, y1 = min(size[0], (x1 + 1) & ~1), min(size[1], (y1 + 1) & ~1)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    fixed = np.rint((outline - (x0 + 0.5, y0 + 0.5)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
    # The picture is as wide as the mouth, its upper edge in the middle of the upper lip: teeth do not bend with lips.
    scale = parts.mouth.shape[1] / length
    cos, sin = scale * across / length, scale * down / length
    px, py = x0 + 0.5 - (ax + bx) / 2, y0 + 0.5 - (ay + by) / 2
    top = cos * (middle_y - (ay + by) / 2) - sin * (middle_x - (ax + bx) / 2)
    turn = np.array(
        [[cos, sin, cos * px + sin * py + parts.mouth.shape[1] / 2 - 0.5], [-sin, cos, cos * py - sin * px - top - 0.5]]
    )
    colour = _warped(parts.mouth, turn, (x1 - x0, y1 - y0), cv2.BORDER_REPLICATE)
    # Under the upper lip it is darker: what share of the pixels above lies in the mouth too.
    reach = max(2, round(0.13 * length))
    above = cv2.blur(mask, (1, reach), anchor=(0, reach - 1), borderType=cv2.BORDER_CONSTANT).astype(np.float32)
    colour[..., 0] *= above * np.float32(TEETH * SHADE / 255) + np.float32(TEETH * (1 - SHADE))
    opacity = mask * np.float32(min(1.0, (openness - MOUTH_OPEN) / 0.05) / 255)
    return Mouth(x0, y0, colour, opacity)
