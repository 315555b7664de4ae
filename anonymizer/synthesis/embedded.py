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

from anonymizer.faces import agreement, topology
from anonymizer.frame import F32, U8, Face, Planes, bounds, extent
from anonymizer.synthesis import detail, layers, openings, warp
from anonymizer.synthesis.bank import FaceModel
from anonymizer.synthesis.cosines import basis
from anonymizer.synthesis.light import DARK, measure, median, samples
from anonymizer.synthesis.memory import Key, Memory, Sharpness, Trace
from anonymizer.synthesis.refiner import Refiner, Rendered
from anonymizer.synthesis.rig import Rig
from anonymizer.synthesis.sampling import look_up, shrink, stretch, to_bytes
from anonymizer.synthesis.shape import Proportions
from anonymizer.synthesis.skin import Skin, Wardrobe
from anonymizer.synthesis.swapper import Drawing, Order


@dataclass(frozen=True, slots=True)
class Settings:
    """side: faces are drawn at most this many pixels high.

    taken: share of the face's own proportions that is removed; given: how much of the identity's is put in. tone: by
    how many grey levels skin is lighter or darker than the original's all over; shades: by how much, besides, in some
    places, a standard deviation as a logarithm of luminance. Which and where, the identity says (``complexion``).

    A face is covered instead if it is less than ``smallest`` pixels high, turned by more than ``yaw`` degrees (the
    second ones where it was drawn just before), or if the landmark net is less sure than ``presence``. memory: seconds
    after which a track's light is forgotten; tracks: how many are remembered.
    """

    side: int = 176
    taken: float = 0.6
    given: float = 0.3
    tone: float = 22.0
    shades: float = 0.08
    smallest: float = 18.0
    yaw: tuple[float, float] = (50.0, 55.0)
    presence: float = 0.5
    memory: float = 1.0
    tracks: int = 256


FEATHER = 0.07
"""Width of the blend's edge over the face's width."""

CORE = np.float32(0.75)
"""Sharpness is measured in this share of the face, about its middle."""

TONE = 0.22
"""Skin is never made lighter or darker than by this, as a logarithm of luminance."""

SATURATION = 1.2
"""Chroma of the texture is never made stronger than this."""

_GRID = 12
_HALF = np.float32(0.5)


@dataclass(slots=True)
class _Job:
    """One face on its way. scale: from the crop's pixels to those it is drawn in; size: (width, height) of these.

    weight: uint8 at chroma's size. sharpness: as remembered, or None where it must be measured.
    """

    order: Order
    skin: Skin
    black: float
    span: F32
    scale: tuple[float, float]
    size: tuple[int, int]
    weight: U8
    sharpness: Sharpness | None

    @property
    def key(self) -> Key:
        return self.order.track, self.order.identity.key

    @property
    def half(self) -> tuple[int, int]:
        return self.size[0] // 2, self.size[1] // 2


@dataclass(slots=True)
class _Look:
    """How one face is to be drawn.

    points: float32 (200, 2); gaze: (2, 5), see ``layers.gaze``; places: (h / 2, w / 2, 2), where in the texture each
    pixel of chroma lies; lit: (g, g, 3), gain of luma and shift of chroma (to
    the picture's, from the texture's less 128) over the texture; mouth: gain there;
    saturation of chroma.
    """

    points: F32
    gaze: F32
    places: F32
    lit: F32
    mouth: float
    saturation: float


class EmbeddedSwapper:
    """See ``swapper.Swapper``. One for each camera."""

    def __init__(self, model: FaceModel, settings: Settings | None = None, refiner: Refiner | None = None) -> None:
        self.settings = settings or Settings()
        self._refiner = refiner
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
        lately = self._memory.lately(face.track)
        if face.pose is not None and not abs(face.pose[0]) <= self.settings.yaw[lately]:
            return f"yaw {face.pose[0]:.0f}°"
        left, top, wide, tall = extent(face.landmarks)
        if tall < self.settings.smallest:
            return f"face {tall:.0f} px high"
        x, y, w, h = face.seen or face.box
        shared = max(0.0, min(x + w, left + wide) - max(x, left)) * max(0.0, min(y + h, top + tall) - max(y, top))
        if shared < 0.5 * min(w * h, wide * tall) or max(wide, tall) > 2 * max(w, h):
            return "landmarks beside the box"
        return "" if face.points is None else agreement.doubt(face.landmarks, face.points, lately)

    def reach(self, face: Face) -> tuple[float, float, float, float]:
        assert face.landmarks is not None
        x, y, w, h = extent(np.asarray(self._rig.limits @ face.landmarks, np.float32))
        _, _, wide, tall = extent(face.landmarks)
        scale = min(1.0, self.settings.side / max(wide, tall, 1.0))
        # The blend's two blurs, in pixels of chroma, and what rounding takes.
        fade = (2 * _feather(scale * min(wide, tall)) + 4) / scale
        return x - fade, y - fade, x + w + fade, y + h + fade

    def draw(self, orders: Sequence[Order], time: float) -> list[Drawing]:
        if not orders:
            return []
        truth = np.stack([order.landmarks for order in orders]).astype(np.float32)
        low, high = bounds(truth)
        spans = high - low
        jobs = self._prepare(orders, truth, spans, time)
        looks = self._measure(jobs, truth, spans, time)
        drawings = [self._draw(job, look, time) for job, look in zip(jobs, looks, strict=True)]
        refined = [i for i, order in enumerate(orders) if order.refine] if self._refiner else []
        if self._refiner and refined:
            points = [np.asarray(looks[i].points / jobs[i].scale, np.float32) for i in refined]
            faces = [Rendered(orders[i].crop, drawings[i], places) for i, places in zip(refined, points, strict=True)]
            for i, drawing in zip(refined, self._refiner(faces), strict=True):
                drawings[i] = drawing
        return drawings

    def _prepare(self, orders: Sequence[Order], truth: F32, spans: F32, time: float) -> list[_Job]:
        """Sizes and weights. spans: float32 (n, 2), width and height of the landmarks' rectangles."""
        rims, hulls = np.matmul(self._rig.edge, truth), np.matmul(self._rig.shield, truth)
        jobs = []
        for order, span, rim, hull in zip(orders, spans, rims, hulls, strict=True):
            crop, scale = order.crop, min(1.0, self.settings.side / max(float(span.max()), 1.0))
            size = _even(crop.width * scale), _even(crop.height * scale)
            factor = (1.0, 1.0) if scale == 1 else (size[0] / crop.width, size[1] / crop.height)
            to_drawn = np.array(factor, np.float32)
            drawn = span * to_drawn
            weight = _weight(rim * to_drawn, hull * to_drawn, float(drawn.min()), (size[0] // 2, size[1] // 2))
            skin = self._wardrobe(order.identity, crop.full_range)
            black = 0.0 if crop.full_range else 16.0
            known = self._memory.known((order.track, order.identity.key), time)
            jobs.append(_Job(order, skin, black, drawn, factor, size, weight, known))
        return jobs

    def _measure(self, jobs: Sequence[_Job], truth: F32, spans: F32, time: float) -> list[_Look]:
        """Light, proportions and gaze of all faces at once."""
        rig, settings = self._rig, self.settings
        nodes = np.matmul(rig.nodes, truth)
        sides = spans.max(1).tolist()
        seen = np.stack([samples(j.order.crop, n, side) for j, n, side in zip(jobs, nodes, sides, strict=True)])
        light = measure(rig, seen, np.stack([job.skin.nodes for job in jobs]), [job.black for job in jobs])
        turn, own = self._proportions.fit(truth)
        traces = [
            self._memory.blend(job.key, time, Trace(gain, chroma, mine))
            for job, gain, chroma, mine in zip(jobs, light.gain, light.chroma, own, strict=True)
        ]
        gain, chroma, own = (np.stack([getattr(t, name) for t in traces]) for name in ("gain", "chroma", "own"))
        gain *= rig.kept

        identities = [job.order.identity for job in jobs]
        change = settings.given * np.stack([i.coefficients for i in identities]) - settings.taken * own
        points = openings.drawn(truth + self._proportions.move(turn, change))
        points *= np.array([[job.scale] for job in jobs], np.float32)
        luma = median(seen[..., 0], 1)[:, 0] - [job.black for job in jobs]
        shades = np.full_like(gain, settings.shades)
        shades[:, 0] = np.minimum(settings.tone / np.maximum(luma, 1), TONE)
        complexion = shades * np.stack([identity.complexion for identity in identities])
        gains = np.exp(np.matmul(gain, self._grid.T) + np.matmul(complexion, self._grid.T) * self._tones)
        tints = np.array([job.skin.tone for job in jobs])
        saturation = np.hypot(*chroma[:, 0].T) / (np.hypot(*tints.T) + 1)
        saturation = np.minimum(saturation, SATURATION)
        shift = np.matmul(self._grid[:, :3], chroma) - (saturation[:, None] * tints)[:, None] + 128
        lit = np.concatenate([gains[..., None], shift], 2).reshape(-1, _GRID, _GRID, 3).astype(np.float32)
        mouths = np.exp((gain + complexion) @ self._mouth)
        gazes = layers.gaze(points, self._uv)
        places = self._places(np.matmul(rig.points, points), [job.half for job in jobs])
        return [
            _Look(points[i], gazes[i], places[i], lit[i], float(mouths[i]), float(saturation[i]))
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
        luma, chroma = skin.luma[level].astype(np.float32), skin.chroma[level].astype(np.float32)
        side = luma.shape[0]
        for eyeball, white, place in zip(self._wardrobe.eyeballs(side), skin.whites[level], look.gaze, strict=True):
            eyeball.look(luma, chroma, white, skin.parts.iris, place.tolist())

        luma = look_up(luma, stretch(look.places * np.float32(side) - _HALF, size))
        chroma = look_up(chroma, look.places * np.float32(side // 2) - _HALF)
        lit = look_up(look.lit, look.places * np.float32(_GRID) - _HALF)
        luma += np.float32(DARK)
        luma *= stretch(np.ascontiguousarray(lit[..., 0]), size)
        luma += np.float32(job.black - DARK)
        chroma *= np.float32(look.saturation)
        chroma += lit[..., 1:]
        mouth = layers.mouth(look.points, skin.parts, size)
        if mouth is not None:
            mouth.lay(luma, chroma, (look.mouth, job.black), (look.saturation, 128))

        luma, grain = self._sharpened(job, luma, time)
        full = crop.width, crop.height
        luma = stretch(luma, full)
        if grain > 0.3:
            luma += np.float32(grain) * self._grain(full, int(time * 1000) + job.order.track)
        blue, red = cv2.split(to_bytes(stretch(chroma, (crop.u.shape[1], crop.u.shape[0]))))
        planes = Planes(to_bytes(luma), np.asarray(blue, np.uint8), np.asarray(red, np.uint8), crop.full_range)
        return Drawing(planes, stretch(job.weight, full))

    def _sharpened(self, job: _Job, luma: F32, time: float) -> tuple[F32, float]:
        """The luma as sharp as the original, and how much grain it still lacks."""
        width = float(job.span.min())
        bands, sharpness = detail.split(luma, width), job.sharpness
        if sharpness is None:
            original = detail.split(shrink(job.order.crop.y, job.size).astype(np.float32), width)
            core = _core(job)
            found = Sharpness(detail.strength(original, core), detail.strength(bands, core))
            sharpness = self._memory.measured(job.key, time, found)
        return detail.match(bands, sharpness.drawn, sharpness.wanted)


def _core(job: _Job) -> U8:
    """uint8, not zero well inside of the outline, where skin covers skin: the blend also covers hair, which is sharper,
    and the original has edges along its outline where the drawing has none."""
    skin = np.zeros_like(job.weight)
    outline = job.order.landmarks[topology.OVAL] * np.array(job.scale, np.float32)
    middle = outline.mean(0)
    cv2.fillPoly(skin, [_fixed(middle + CORE * (outline - middle))], 1, shift=4)
    cv2.bitwise_and(skin, (job.weight > 250).view(np.uint8), dst=skin)
    return np.asarray(cv2.resize(skin, job.size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _weight(rim: F32, hull: F32, width: float, half: tuple[int, int]) -> U8:
    """uint8 at chroma's size: one half on the rim, 255 over the inner features whatever the rim says."""
    weight = np.zeros(half[::-1], np.uint8)
    cv2.fillPoly(weight, [_fixed(rim)], 255, shift=4)
    side = _feather(width)
    weight = cv2.blur(weight, (side, side), dst=weight)
    inner = cv2.convexHull(_fixed(hull))
    cv2.fillConvexPoly(weight, inner, 255, shift=4)
    # Wider by what the second blur takes away.
    cv2.polylines(weight, [inner], True, 255, thickness=side, shift=4)
    return np.asarray(cv2.blur(weight, (side, side)), np.uint8)


def _feather(width: float) -> int:
    """Side of the blurs that make the blend's edge, in pixels of chroma, for a face of that width as it is drawn."""
    return max(3, round(FEATHER / 2 * width)) | 1


def _fixed(outline: F32) -> NDArray[np.int32]:
    """An outline in pixels of luma, for OpenCV's drawing on chroma's with four fractional bits."""
    return np.rint(outline * 8 - 8).astype(np.int32)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2 + 0.01))
