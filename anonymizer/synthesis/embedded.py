"""The embedded swapper: an identity's skin warped onto the face, lit, softened and blended, on one CPU core.

It works on the decoder's planes: the identity's texture is converted once, luma is drawn at full resolution and chroma
at half of it. Faces larger than ``Settings.side`` are drawn smaller and scaled up. Taken over from the original are:
where its points lie, less its own proportions; ten numbers for the light and six for the skin's tone; two for its
sharpness and one for noise. All of them are a leak, and each has its setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.frame import F32, U8, Face, Planes
from anonymizer.synthesis import detail, layers, warp
from anonymizer.synthesis.bank import FaceModel
from anonymizer.synthesis.light import DARK, measure, samples
from anonymizer.synthesis.memory import Memory, Trace
from anonymizer.synthesis.rig import Rig, basis
from anonymizer.synthesis.sampling import look_up, shrink, stretch, to_bytes
from anonymizer.synthesis.shape import Proportions
from anonymizer.synthesis.skin import Skin, Wardrobe
from anonymizer.synthesis.swapper import Drawing, Order


@dataclass(frozen=True, slots=True)
class Settings:
    """side: faces are drawn at most this many pixels high.

    taken: share of the face's own proportions that is removed; given: how much of the identity's is put in; apart: by
    how much eyes and mouth are moved apart or together; tone: by how many grey levels skin is lighter or darker than
    the original's. Which of both, the identity says.

    A face is covered instead if it is less than ``smallest`` pixels high, turned by more than ``yaw`` degrees, or if
    the landmark net is less sure than ``presence``. memory: seconds after which a track's light is forgotten; tracks:
    how many are remembered.
    """

    side: int = 176
    taken: float = 0.85
    given: float = 0.9
    apart: float = 0.13
    tone: float = 22.0
    smallest: float = 18.0
    yaw: float = 52.0
    presence: float = 0.5
    memory: float = 1.0
    tracks: int = 256


REACH = 0.14
"""Context around the landmarks, as a share of their extent: room for forehead, ears and feather."""

FEATHER = 0.07
"""Width of the blend's edge over the face's width."""

TONE = 0.22
"""Skin is never made lighter or darker than by this, as a logarithm of luminance."""

SATURATION = 1.2
"""Chroma of the texture is never made stronger than this."""

_GRID = 12
_HALF = np.float32(0.5)


@dataclass(slots=True)
class _Job:
    """One face on its way. scale: from the crop's pixels to those it is drawn in; size: (width, height) of these.

    weight: uint8 at chroma's size; core: uint8 at luma's, not zero where the face covers the picture whole.
    """

    order: Order
    skin: Skin
    black: float
    span: F32
    scale: tuple[float, float]
    size: tuple[int, int]
    weight: U8
    core: U8
    detail: F32

    @property
    def half(self) -> tuple[int, int]:
        return self.size[0] // 2, self.size[1] // 2


@dataclass(slots=True)
class _Look:
    """How one face is to be drawn.

    points: float32 (200, 2); gaze: (2, 5), see ``layers.gaze``; places: (2, h / 2, w / 2), where in the texture each
    pixel of chroma lies; lit: (g, g, 3), gain of luma and shift of chroma over the texture; mouth: gain there;
    saturation of chroma; detail: what the bands should have.
    """

    points: F32
    gaze: F32
    places: F32
    lit: F32
    mouth: float
    saturation: float
    detail: F32


class EmbeddedSwapper:
    """See ``swapper.Swapper``. One for each camera."""

    def __init__(self, model: FaceModel, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._rig = Rig(model)
        self._proportions = Proportions(model)
        self._wardrobe = Wardrobe(model, self._rig)
        self._memory = Memory(self.settings.memory, self.settings.tracks)
        self._grain = detail.Grain()
        self._uv = model.uv
        steps = (np.arange(_GRID, dtype=np.float32) + _HALF) / _GRID
        grid = np.stack(np.meshgrid(steps, steps), 2).reshape(-1, 2).astype(np.float32)
        self._grid = basis(grid)
        self._tones = self._rig.inwardness(grid)
        self._mouth = basis(model.uv[topology.LIPS_INNER].mean(0)[None])[0]

    def refusal(self, face: Face) -> str:
        if face.landmarks is None:
            return "no landmarks"
        if not np.isfinite(face.landmarks).all():
            return "landmarks are not numbers"
        if not face.presence >= self.settings.presence:
            return f"presence {face.presence:.2f}"
        if face.pose is not None and not abs(face.pose[0]) <= self.settings.yaw:
            return f"yaw {face.pose[0]:.0f}°"
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        height = float(high[1] - low[1])
        if height < self.settings.smallest:
            return f"face {height:.0f} px high"
        x, y, w, h = face.seen or face.box
        shared = max(0.0, min(x + w, high[0]) - max(x, low[0])) * max(0.0, min(y + h, high[1]) - max(y, low[1]))
        if shared < 0.5 * min(w * h, float((high - low).prod())) or float((high - low).max()) > 2 * max(w, h):
            return "landmarks beside the box"
        return ""

    def reach(self, face: Face) -> tuple[float, float, float, float]:
        assert face.landmarks is not None
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        margin = REACH * (high - low) + 2
        (x0, y0), (x1, y1) = low - margin, high + margin
        return float(x0), float(y0), float(x1), float(y1)

    def draw(self, orders: Sequence[Order], time: float) -> list[Drawing]:
        if not orders:
            return []
        truth = np.stack([order.landmarks for order in orders]).astype(np.float32)
        jobs = self._prepare(orders, truth)
        looks = self._measure(jobs, truth, time)
        return [self._draw(job, look, time) for job, look in zip(jobs, looks, strict=True)]

    def _prepare(self, orders: Sequence[Order], truth: F32) -> list[_Job]:
        """Sizes, weights, and the originals' sharpness."""
        spans = np.ptp(truth, axis=1)
        rims, hulls = np.matmul(self._rig.edge, truth), np.matmul(self._rig.shield, truth)
        jobs = []
        for order, span, rim, hull in zip(orders, spans, rims, hulls, strict=True):
            crop, scale = order.crop, min(1.0, self.settings.side / max(float(span.max()), 1.0))
            size = _even(crop.width * scale), _even(crop.height * scale)
            factor = (1.0, 1.0) if scale == 1 else (size[0] / crop.width, size[1] / crop.height)
            to_drawn = np.array(factor, np.float32)
            drawn = span * to_drawn
            width = float(drawn.min())
            weight = _weight(rim * to_drawn, hull * to_drawn, width, (size[0] // 2, size[1] // 2))
            covered = (weight > 250).view(np.uint8)
            core = np.asarray(cv2.resize(covered, size, interpolation=cv2.INTER_NEAREST), np.uint8)
            bands = detail.split(shrink(crop.y, size).astype(np.float32), width)
            skin = self._wardrobe(order.identity, crop.full_range)
            black = 0.0 if crop.full_range else 16.0
            jobs.append(_Job(order, skin, black, drawn, factor, size, weight, core, detail.strength(bands, core)))
        return jobs

    def _measure(self, jobs: Sequence[_Job], truth: F32, time: float) -> list[_Look]:
        """Light, proportions and gaze of all faces at once."""
        rig, settings = self._rig, self.settings
        nodes = np.matmul(rig.nodes, truth)
        heights = np.ptp(truth, axis=1).max(1)
        seen = np.stack([samples(j.order.crop, n, float(h)) for j, n, h in zip(jobs, nodes, heights, strict=True)])
        light = measure(rig, seen, np.stack([job.skin.nodes for job in jobs]), [job.black for job in jobs])
        turn, own = self._proportions.fit(truth)
        traces = [
            self._memory.blend(job.order.track, time, Trace(gain, chroma, mine, job.detail))
            for job, gain, chroma, mine in zip(jobs, light.gain, light.chroma, own, strict=True)
        ]
        gain, chroma, own = (np.stack([getattr(t, name) for t in traces]) for name in ("gain", "chroma", "own"))

        identities = [job.order.identity for job in jobs]
        signs = np.array([[1 if i.key[0] & bit else -1 for bit in (1, 2)] for i in identities], np.float32)
        change = settings.given * np.stack([i.coefficients for i in identities]) - settings.taken * own
        change = np.concatenate([change, settings.apart * signs[:, 1:]], 1)
        points = (truth + self._proportions.move(turn, change)) * np.array([[j.scale] for j in jobs], np.float32)
        luma = np.median(seen[..., 0], axis=1) - [job.black for job in jobs]
        tone = np.minimum(settings.tone / np.maximum(luma, 1), TONE)[:, None] * signs[:, :1]
        gains = np.exp(np.matmul(gain, self._grid.T) + tone * self._tones)
        tints = np.array([job.skin.tone for job in jobs])
        saturation = np.hypot(*chroma[:, 0].T) / (np.hypot(*tints.T) + 1)
        saturation = np.minimum(saturation, SATURATION)
        shift = np.matmul(self._grid[:, :3], chroma) - (saturation[:, None] * tints)[:, None]
        lit = np.concatenate([gains[..., None], shift], 2).reshape(-1, _GRID, _GRID, 3).astype(np.float32)
        mouths = np.exp(gain @ self._mouth + tone[:, 0])
        gazes = layers.gaze(points, self._uv)
        places = self._places(np.matmul(rig.points, points), [job.half for job in jobs])
        return [
            _Look(points[i], gazes[i], places[i], lit[i], float(mouths[i]), float(saturation[i]), traces[i].detail)
            for i in range(len(jobs))
        ]

    def _places(self, vertices: F32, sizes: Sequence[tuple[int, int]]) -> list[F32]:
        """Places in the texture, as fractions, for every pixel of chroma."""
        rig = self._rig
        corners = vertices[:, rig.triangles] * _HALF
        which, triangle = np.nonzero(warp.signed_areas(corners) > 1e-4)
        # Where no triangle lies, the plane that fits all of them best.
        flat = np.concatenate([vertices * _HALF, np.ones((*vertices.shape[:2], 1), np.float32)], 2)
        turned = flat.transpose(0, 2, 1)
        ridge = 1e-3 * np.eye(3, dtype=np.float32)
        behind = np.linalg.solve(np.matmul(turned, flat) + ridge, np.matmul(turned, rig.uv)).transpose(0, 2, 1)
        return warp.maps(corners[which, triangle], rig.corners_uv[triangle], which, sizes, behind)

    def _draw(self, job: _Job, look: _Look, time: float) -> Drawing:
        crop, skin, size = job.order.crop, job.skin, job.size
        level = skin.level(float(job.span.max()))
        luma, chroma = skin.luma[level].copy(), skin.chroma[level].copy()
        side = luma.shape[0]
        texels = np.array([side, side, side, side, 1], np.float32)
        for eyeball, white, place in zip(self._wardrobe.eyeballs(side), skin.whites[level], look.gaze, strict=True):
            eyeball.look(luma, chroma, white, skin.parts.iris, place * texels)

        x, y = look.places * np.float32(side) - _HALF
        luma = look_up(luma, stretch(x, size), stretch(y, size))
        chroma = look_up(chroma, *(look.places * np.float32(side // 2) - _HALF))
        lit = look_up(look.lit, *(look.places * np.float32(_GRID) - _HALF))
        chroma *= np.float32(look.saturation)
        chroma += lit[..., 1:]
        luma += np.float32(DARK)
        luma *= stretch(np.ascontiguousarray(lit[..., 0]), size)
        luma += np.float32(job.black - DARK)
        mouth = layers.mouth(look.points, skin.parts, look.mouth, size)
        if mouth is not None:
            mouth.colour[..., 0] += job.black
            mouth.colour[..., 1:] *= look.saturation
            mouth.lay(luma, chroma)

        bands = detail.split(luma, float(job.span.min()))
        luma, grain = detail.match(bands, detail.strength(bands, job.core), look.detail)
        full = crop.width, crop.height
        luma = stretch(luma, full)
        if grain > 0.3:
            luma += np.float32(grain) * self._grain(full, int(time * 1000) + job.order.track)
        blue, red = cv2.split(to_bytes(stretch(chroma, (crop.u.shape[1], crop.u.shape[0])) + np.float32(128)))
        planes = Planes(to_bytes(luma), np.asarray(blue, np.uint8), np.asarray(red, np.uint8), crop.full_range)
        return Drawing(planes, stretch(job.weight, full))


def _weight(rim: F32, hull: F32, width: float, half: tuple[int, int]) -> U8:
    """uint8 at chroma's size: one half on the rim, 255 over the inner features whatever the rim says."""
    weight = np.zeros(half[::-1], np.uint8)
    cv2.fillPoly(weight, [_fixed(rim)], 255, shift=4)
    side = max(3, round(FEATHER / 2 * width)) | 1
    soft = cv2.blur(cv2.blur(weight, (side, side)), (side, side))
    inner = np.zeros_like(weight)
    cv2.fillConvexPoly(inner, cv2.convexHull(_fixed(hull)), 255, shift=4)
    side = max(3, round(0.03 * width)) | 1
    wider = cv2.dilate(inner, np.ones((side, side), np.uint8))
    return np.asarray(cv2.max(soft, cv2.blur(wider, (side, side))), np.uint8)


def _fixed(outline: F32) -> NDArray[np.int32]:
    """An outline in pixels of luma, for OpenCV's drawing on chroma's with four fractional bits."""
    return np.rint(outline * 8 - 8).astype(np.int32)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2 + 0.01))
