"""The embedded swapper: an identity's skin warped onto the face, lit, softened and blended, on one CPU core.

It works on the decoder's planes: the identity's texture is converted once, luma is drawn at full resolution and chroma
at half of it. Faces larger than ``Settings.side`` are drawn smaller and scaled up. Taken over from the original are:
where its points lie, ten numbers for the light and two for the skin's tone, two for its sharpness and one for noise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.faces import topology
from anonymizer.frame import F32, U8, Face, Planes
from anonymizer.synthesis import detail, layers, warp
from anonymizer.synthesis.bank import FaceModel, Identity
from anonymizer.synthesis.detail import Detail, Grain
from anonymizer.synthesis.light import DARK, Light, measure, samples
from anonymizer.synthesis.rig import Rig, basis
from anonymizer.synthesis.shape import Proportions
from anonymizer.synthesis.swapper import Drawing, Order


@dataclass(frozen=True, slots=True)
class Settings:
    """side: faces are drawn at most this many pixels high. taken: share of the face's own proportions that is removed;
    given: how much of the identity's is put in. stretch:
    by how much eyes and mouth are drawn apart or together. tone: by how much skin is
    lighter or darker than the original's, as a logarithm of luminance; the identity says which. smallest: height in pixels below which a face is covered instead; yaw: degrees beyond which it
    is; presence: the least that the landmark net must be sure of. memory: seconds after which a track's light is
    forgotten; tracks: how many are remembered.
    """

    side: int = 176
    taken: float = 0.85
    given: float = 0.9
    stretch: float = 0.12
    tone: float = 0.17
    smallest: float = 18.0
    yaw: float = 52.0
    presence: float = 0.5
    memory: float = 1.0
    tracks: int = 256


SMOOTH_LIGHT, SMOOTH_DETAIL = 0.12, 0.4
"""Time constants in seconds of what is remembered of a track: light follows quickly, sharpness slowly."""


@dataclass(frozen=True, slots=True)
class Skin:
    """An identity's texture as planes of one range, at falling sizes, eyes white but without their irises.

    luma: float32 (s, s) each, less black; chroma: float32 (s / 2, s / 2, 2) each, Cb and Cr less 128. nodes: float32 (m,),
    low frequencies of luma at ``rig.node_uv``; tone: float32 (2,), mean chroma there.
    """

    luma: tuple[F32, ...]
    chroma: tuple[F32, ...]
    nodes: F32
    tone: F32
    parts: layers.Parts


@dataclass(slots=True)
class _Memory:
    """What is remembered of a track: the light's numbers and the detail's, in one row each."""

    time: float
    gain: F32
    chroma: F32
    own: F32
    detail: Detail
    passed: float = 0.0


class EmbeddedSwapper:
    """See ``swapper.Swapper``. One for each camera."""

    def __init__(self, model: FaceModel, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.rig = Rig(model)
        self._proportions = Proportions(model)
        self._skins: OrderedDict[tuple[bytes, bool], Skin] = OrderedDict()
        self._memory: OrderedDict[int, _Memory] = OrderedDict()
        self._grain = Grain()
        self._uv = model.uv
        self._eyeballs: dict[int, tuple[layers.Eyeball, ...]] = {}
        self._mouth = basis(model.uv[topology.LIPS_INNER].mean(0)[None])[0]
        self._grid = basis(_places(_GRID))
        self._tones = self.rig.inwardness(_places(_GRID))

    def refusal(self, face: Face) -> str:
        if face.landmarks is None:
            return "no landmarks"
        if not np.isfinite(face.landmarks).all():
            return "landmarks are not numbers"
        if face.presence < self.settings.presence:
            return f"presence {face.presence:.2f}"
        if face.pose is not None and abs(face.pose[0]) > self.settings.yaw:
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
        rig, settings = self.rig, self.settings
        truth = np.stack([order.landmarks for order in orders]).astype(np.float32)
        spans = np.ptp(truth, axis=1)
        sizes, factors = [], []
        for order, span in zip(orders, spans, strict=True):
            crop, scale = order.crop, min(1.0, settings.side / max(float(span.max()), 1.0))
            sizes.append((_even(crop.width * scale), _even(crop.height * scale)))
            factors.append((1.0, 1.0) if scale == 1 else (sizes[-1][0] / crop.width, sizes[-1][1] / crop.height))
        factor = np.array(factors, np.float32)[:, None]

        skins = [self._skin(order.identity, order.crop.full_range) for order in orders]
        floors = [_black(order.crop) for order in orders]
        nodes = np.matmul(rig.nodes, truth)
        seen = np.stack([samples(o.crop, n, float(s.max())) for o, n, s in zip(orders, nodes, spans, strict=True)])
        light = measure(rig, seen, np.stack([skin.nodes for skin in skins]), floors)
        turn, own = self._proportions.fit(truth)
        wanted = np.stack([order.identity.coefficients for order in orders])

        jobs = []
        for i, order in enumerate(orders):
            memory = self._recall(order.track, time, light.gain[i], light.chroma[i], own[i])
            light.gain[i], light.chroma[i], own[i] = memory.gain, memory.chroma, memory.own
            jobs.append(_Job(order, skins[i], memory, sizes[i], floors[i]))
        signs = np.array([[1 if order.identity.key[0] & bit else -1 for bit in (1, 2)] for order in orders], np.float32)
        change = np.concatenate([settings.given * wanted - settings.taken * own, settings.stretch * signs[:, 1:]], 1)
        points = factor * (truth + self._proportions.move(turn, change))
        tones = settings.tone * signs[:, 0]
        gains = np.exp(np.matmul(light.gain, self._grid.T) + tones[:, None] * self._tones)
        mouths = np.exp(light.gain @ self._mouth + tones)
        slopes = np.matmul(self._grid[:, :3], light.chroma)
        grids = self._maps(np.matmul(rig.points, points), sizes)
        rims = np.matmul(rig.edge, truth * factor)
        hulls = np.matmul(rig.shield, points)
        gazes = layers.gaze(points, self._uv)
        return [
            self._draw_one(
                job, time, points[i], gazes[i], rims[i], hulls[i], grids[i], gains[i], slopes[i], float(mouths[i])
            )
            for i, job in enumerate(jobs)
        ]

    def _maps(self, vertices: F32, sizes: Sequence[tuple[int, int]]) -> list[F32]:
        """Places in the texture, as fractions, for every pixel of chroma."""
        rig = self.rig
        corners = vertices[:, rig.triangles] * np.float32(0.5)
        which, triangle = np.nonzero(warp.signed_areas(corners) > 1e-4)
        # Where no triangle lies, the plane that fits all of them best.
        flat = np.concatenate([vertices / 2, np.ones((*vertices.shape[:2], 1), np.float32)], 2)
        turned = flat.transpose(0, 2, 1)
        small = 1e-3 * np.eye(3, dtype=np.float32)
        behind = np.linalg.solve(np.matmul(turned, flat) + small, np.matmul(turned, rig.uv)).transpose(0, 2, 1)
        halves = [(w // 2, h // 2) for w, h in sizes]
        return warp.maps(corners[which, triangle], rig.corners_uv[triangle], which, halves, behind)

    def _draw_one(
        self,
        job: _Job,
        time: float,
        points: F32,
        gaze: F32,
        rim: F32,
        hull: F32,
        grid: F32,
        gains: F32,
        slope: F32,
        mouth: float,
    ) -> Drawing:
        crop, skin, size = job.order.crop, job.skin, job.size
        half = size[0] // 2, size[1] // 2
        span = np.ptp(points, axis=0)
        width = float(span.min())
        weight = self._weight(rim, hull, width, half)
        core = cv2.resize(cv2.compare(weight, 250, cv2.CMP_GT), size, interpolation=cv2.INTER_NEAREST)
        seen = crop.y if size == (crop.width, crop.height) else cv2.resize(crop.y, size, interpolation=cv2.INTER_AREA)
        bands = detail.split(seen.astype(np.float32), width)
        wanted = self._steady(job, time, detail.strength(bands[0], bands[1], core))

        shrink = skin.luma[0].shape[0] / max(float(span.max()) * 1.1, 1)
        level = min(max(int(np.log2(max(shrink, 1))), 0), len(skin.luma) - 1)
        luma, chroma = skin.luma[level].copy(), skin.chroma[level].copy()
        side = luma.shape[0]
        for eyeball, place in zip(self._balls(side), gaze * np.float32(side), strict=True):
            texels = 2 * min(place[2], place[3])
            iris = next((i for i in reversed(skin.parts.iris) if i.shape[0] >= texels), skin.parts.iris[0])
            eyeball.look(luma, chroma, iris, place)
        saturation = min(float(np.hypot(*job.memory.chroma[0]) / (np.hypot(*skin.tone) + 1)), 1.3)

        how = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
        fine = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in grid * side - _CENTRE]
        luma = cv2.remap(luma, *fine, **how)
        chroma = cv2.remap(chroma, *(grid * (side // 2) - _CENTRE), **how)
        chroma *= saturation
        lit = np.concatenate([gains[:, None], slope - saturation * skin.tone], 1).reshape(_GRID, _GRID, 3)
        lit = cv2.remap(lit, *(grid * _GRID - _CENTRE), **how)
        chroma += lit[..., 1:]
        luma += DARK
        luma *= cv2.resize(lit[..., 0], size, interpolation=cv2.INTER_LINEAR)
        luma += job.floor - DARK

        open_mouth = layers.mouth(points, skin.parts, mouth, size)
        if open_mouth is not None:
            opening, colour, opacity = open_mouth
            colour *= (1, saturation, saturation)
            colour[..., 0] += job.floor
            _lay(luma, chroma, opening, colour, opacity)

        bands = detail.split(luma, width)
        luma, grain = detail.match(bands, detail.strength(bands[0], bands[1], core), wanted)
        chroma += 128
        full = crop.width, crop.height
        if size != full:
            luma = cv2.resize(luma, full, interpolation=cv2.INTER_LINEAR)
            chroma = cv2.resize(chroma, crop.u.shape[::-1], interpolation=cv2.INTER_LINEAR)
        weight = cv2.resize(weight, full, interpolation=cv2.INTER_LINEAR)
        if grain > 0.3:
            luma += np.float32(grain) * self._grain(*luma.shape, int(time * 1000) + job.order.track)
        blue, red = cv2.split(_bytes(chroma))
        return Drawing(Planes(_bytes(luma), blue, red, crop.full_range), weight)

    def _weight(self, rim: F32, hull: F32, width: float, half: tuple[int, int]) -> U8:
        """uint8 at chroma's size: one half on the rim, 255 over the inner features whatever the rim says."""
        weight = np.zeros(half[::-1], np.uint8)
        cv2.fillPoly(weight, [_fixed(rim / 2)], 255, shift=4)
        side = max(3, round(FEATHER / 2 * width)) | 1
        weight = cv2.blur(cv2.blur(weight, (side, side)), (side, side))
        inner = np.zeros_like(weight)
        cv2.fillConvexPoly(inner, _fixed(cv2.convexHull(hull / 2)[:, 0]), 255, shift=4)
        side = max(3, round(0.03 * width)) | 1
        return np.asarray(cv2.max(weight, cv2.blur(inner, (side, side))), np.uint8)

    def _balls(self, side: int) -> tuple[layers.Eyeball, ...]:
        if side not in self._eyeballs:
            self._eyeballs[side] = tuple(layers.Eyeball(self._uv, left, side) for left in (False, True))
        return self._eyeballs[side]

    def _recall(self, track: int, time: float, gain: F32, chroma: F32, own: F32) -> _Memory:
        """Blend what was measured with what the track had a moment ago."""
        before = self._memory.get(track)
        if before is None or not 0 <= time - before.time < self.settings.memory:
            memory = _Memory(time, gain.copy(), chroma.copy(), own.copy(), _UNKNOWN)
        else:
            passed = time - before.time
            quick, slow = (np.float32(1 - np.exp(-passed / constant)) for constant in (LIGHT_TIME, SHAPE_TIME))
            memory = _Memory(
                time,
                before.gain + quick * (gain - before.gain),
                before.chroma + quick * (chroma - before.chroma),
                before.own + slow * (own - before.own),
                before.detail,
            )
        memory.passed = 0.0 if before is None else time - before.time
        self._memory[track] = memory
        self._memory.move_to_end(track)
        if len(self._memory) > self.settings.tracks:
            self._memory.popitem(last=False)
        return memory

    def _steady(self, job: _Job, time: float, found: Detail) -> Detail:
        """The detail found, blended with what the track had."""
        old = job.memory.detail
        if old is not _UNKNOWN:
            new = float(1 - np.exp(-job.memory.passed / DETAIL_TIME))
            found = Detail(
                old.high + new * (found.high - old.high),
                old.middle + new * (found.middle - old.middle),
                old.noise + new * (found.noise - old.noise),
            )
        job.memory.detail = found
        return found

    def _skin(self, identity: Identity, full_range: bool) -> Skin:
        key = identity.key, full_range
        skin = self._skins.get(key)
        if skin is None:
            skin = self._skins[key] = self._convert(identity, full_range)
            if len(self._skins) > _SKINS:
                self._skins.popitem(last=False)
        else:
            self._skins.move_to_end(key)
        return skin

    def _convert(self, identity: Identity, full_range: bool) -> Skin:
        texture = _components(identity.texture, full_range)
        soft = cv2.blur(texture, (texture.shape[0] // 14,) * 2)
        at = (self.rig.node_uv * texture.shape[0] - 0.5).astype(np.float32)[None]
        nodes = cv2.remap(soft, at, None, cv2.INTER_LINEAR)[0]
        for eyeball in self._balls(texture.shape[0]):
            eyeball.whiten(texture, _components(identity.sclera, full_range))
        levels = _pyramid(texture, 16)
        return Skin(
            tuple(np.ascontiguousarray(level[..., 0]) for level in levels[:-1]),
            tuple(np.ascontiguousarray(level[..., 1:]) for level in levels[1:]),
            np.maximum(nodes[:, 0], 0),
            nodes[:, 1:].mean(0),
            layers.Parts(
                tuple(_pyramid(_components(identity.iris, full_range), 4)), _components(identity.mouth, full_range)
            ),
        )


@dataclass(frozen=True, slots=True)
class _Job:
    order: Order
    skin: Skin
    memory: _Memory
    size: tuple[int, int]
    floor: float


LIGHT_TIME, DETAIL_TIME, SHAPE_TIME = 0.12, 0.4, 1.0
"""Time constants in seconds of what is remembered of a track: light follows quickly, proportions hardly change."""

REACH = 0.14
"""Context around the landmarks, as a share of their extent: room for forehead, ears and feather."""

FEATHER = 0.07
"""Width of the blend's edge over the face's width."""

_UNKNOWN = Detail(0, 0, 0)
_GRID = 12
_SKINS = 48
_CENTRE = np.float32(0.5)


def _lay(luma: F32, chroma: F32, opening: layers.Opening, colour: F32, opacity: F32) -> None:
    """Lay a patch over luma (h, w) and chroma (h / 2, w / 2, 2) in place; its corner and sides are even."""
    x, y = opening.x0, opening.y0
    h, w = opacity.shape
    below = luma[y : y + h, x : x + w]
    below += opacity * (colour[..., 0] - below)
    size = w // 2, h // 2
    share = cv2.resize(opacity, size, interpolation=cv2.INTER_AREA)[..., None]
    under = chroma[y // 2 : y // 2 + size[1], x // 2 : x // 2 + size[0]]
    under += share * (cv2.resize(colour, size, interpolation=cv2.INTER_AREA)[..., 1:] - under)


def _places(count: int) -> F32:
    """float32 (count², 2): the centres of a grid's cells, as fractions."""
    steps = (np.arange(count, dtype=np.float32) + 0.5) / count
    return np.stack(np.meshgrid(steps, steps), 2).reshape(-1, 2)


def _pyramid(picture: F32, smallest: int) -> list[F32]:
    levels = [picture]
    while levels[-1].shape[0] >= 2 * smallest:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return levels


def _components(bgr: U8, full_range: bool) -> F32:
    """uint8 BGR → float32 Y less black, Cb less 128, Cr less 128 (BT.601), in the steps of the picture's range."""
    ycc = cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2YCrCb)[..., [0, 2, 1]]
    ycc[..., 1:] -= 0.5
    return np.asarray(ycc * (255 if full_range else np.array([219, 224, 224], np.float32)), np.float32)


def _black(planes: Planes) -> float:
    return 0.0 if planes.full_range else 16.0


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2 + 0.01))


def _fixed(outline: F32) -> NDArray[np.int32]:
    """An outline, in pixels whose first one's centre is at (0.5, 0.5), for OpenCV's drawing with four fractional bits."""
    return np.rint((outline - 0.5) * 16).astype(np.int32)


def _bytes(values: F32) -> U8:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
