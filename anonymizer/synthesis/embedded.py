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

from anonymizer.faces import topology
from anonymizer.frame import F32, U8, Face, Planes
from anonymizer.synthesis import detail, layers, warp
from anonymizer.synthesis.bank import FaceModel, Identity
from anonymizer.synthesis.detail import Detail, Grain
from anonymizer.synthesis.light import DARK, Light, measure
from anonymizer.synthesis.rig import Rig, basis
from anonymizer.synthesis.shape import Proportions
from anonymizer.synthesis.swapper import Drawing, Order


@dataclass(frozen=True, slots=True)
class Settings:
    """side: faces are drawn at most this many pixels high. taken: share of the face's own proportions that is removed;
    given: how much of the identity's is put in. tone: by how much skin is
    lighter or darker than the original's, as a logarithm of luminance; the identity says which. smallest: eye distance in pixels below which a face is covered instead; yaw: degrees beyond which it
    is; presence: the least that the landmark net must be sure of. memory: seconds after which a track's light is
    forgotten; tracks: how many are remembered.
    """

    side: int = 176
    taken: float = 0.85
    given: float = 1.2
    tone: float = 0.14
    smallest: float = 6.0
    yaw: float = 52.0
    presence: float = 0.5
    memory: float = 1.0
    tracks: int = 256


SMOOTH_LIGHT, SMOOTH_DETAIL = 0.12, 0.4
"""Time constants in seconds of what is remembered of a track: light follows quickly, sharpness slowly."""


@dataclass(frozen=True, slots=True)
class Skin:
    """An identity's texture as planes of one range, at falling sizes.

    luma: float32 (s, s) each; chroma: float32 (s, s, 2) each, Cb and Cr less 128. nodes: float32 (m,), low frequencies of
    luma at ``rig.node_uv``; tone: float32 (2,), mean chroma there.
    """

    luma: tuple[F32, ...]
    chroma: tuple[F32, ...]
    nodes: F32
    tone: F32
    parts: layers.Parts


@dataclass(slots=True)
class _Memory:
    time: float
    light: Light
    detail: Detail


class EmbeddedSwapper:
    """See ``swapper.Swapper``. One for each camera."""

    def __init__(self, model: FaceModel, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.rig = Rig(model)
        self._proportions = Proportions(model, self.settings.taken, self.settings.given)
        self._skins: OrderedDict[tuple[bytes, bool], Skin] = OrderedDict()
        self._memory: OrderedDict[int, _Memory] = OrderedDict()
        self._grain = Grain()
        self._coarse = basis(_places(_COARSE))[:, :3]
        steps = (np.arange(_GAIN_GRID) + 0.5) / _GAIN_GRID
        self._eyes = basis(np.stack([self.rig.uv[e].mean(0) for e in (topology.EYE_RIGHT, topology.EYE_LEFT)]))
        self._mouth = basis(self.rig.uv[topology.LIPS_INNER].mean(0)[None])[0]
        self._grid = basis(np.stack(np.meshgrid(steps, steps), 2).reshape(-1, 2).astype(np.float32))

    def refusal(self, face: Face) -> str:
        if face.landmarks is None:
            return "no landmarks"
        if not np.isfinite(face.landmarks).all():
            return "landmarks are not numbers"
        if face.presence < self.settings.presence:
            return f"presence {face.presence:.2f}"
        if face.pose is not None and abs(face.pose[0]) > self.settings.yaw:
            return f"yaw {face.pose[0]:.0f}°"
        eyes = topology.eye_centres(face.landmarks[None])[0]
        distance = float(np.hypot(*(eyes[1] - eyes[0])))
        if distance < self.settings.smallest:
            return f"eye distance {distance:.1f} px"
        x, y, w, h = face.seen or face.box
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        shared = max(0.0, min(x + w, high[0]) - max(x, low[0])) * max(0.0, min(y + h, high[1]) - max(y, low[1]))
        if shared < 0.5 * min(w * h, float((high - low).prod())) or float((high - low).max()) > 2 * max(w, h):
            return "landmarks beside the box"
        return ""

    def reach(self, face: Face) -> tuple[float, float, float, float]:
        assert face.landmarks is not None
        low, high = face.landmarks.min(0), face.landmarks.max(0)
        margin = REACH * (high - low)
        (x0, y0), (x1, y1) = low - margin, high + margin
        return float(x0), float(y0), float(x1), float(y1)

    def draw(self, orders: Sequence[Order], time: float) -> list[Drawing]:
        if not orders:
            return []
        rig = self.rig
        truth = np.stack([o.landmarks for o in orders]).astype(np.float32)
        points = self._proportions(truth, [order.identity for order in orders])
        scales, sizes = [], []
        for order, p in zip(orders, truth, strict=True):
            scale = min(1.0, self.settings.side / max(float(np.ptp(p[:, 1])), float(np.ptp(p[:, 0])), 1.0))
            crop = order.crop
            if scale == 1:
                size = crop.width + (crop.width & 1), crop.height + (crop.height & 1)
            else:
                size = max(2, round(crop.width * scale / 2) * 2), max(2, round(crop.height * scale / 2) * 2)
            sizes.append(size)
            scales.append(
                (1.0, 1.0) if scale == 1 else (size[0] / crop.width, size[1] / crop.height)
            )
        factor = np.array(scales, np.float32)[:, None]
        work = points * factor
        vertices = np.matmul(rig.points, work)
        rim = np.matmul(rig.edge, truth * factor)
        nodes = np.matmul(rig.nodes, truth)
        grids = self._maps(vertices, sizes)
        return [
            self._draw_one(order, work[i], rim[i], nodes[i], truth[i], grids[i], sizes[i], time)
            for i, order in enumerate(orders)
        ]

    def _maps(self, vertices: F32, sizes: Sequence[tuple[int, int]]) -> list[F32]:
        """Places in the texture, as fractions, for every pixel of chroma."""
        rig = self.rig
        corners = vertices[:, rig.triangles] / 2
        front = warp.signed_areas(corners) > 1e-4
        which, triangle = np.nonzero(front)
        one = np.ones((*vertices.shape[:2], 1), np.float32)
        flat = np.concatenate([vertices / 2, one], 2)
        behind = np.linalg.solve(
            np.matmul(flat.transpose(0, 2, 1), flat) + 1e-3 * np.eye(3, dtype=np.float32),
            np.matmul(flat.transpose(0, 2, 1), rig.uv[None]),
        ).transpose(0, 2, 1)
        halves = [(w // 2, h // 2) for w, h in sizes]
        return warp.maps(corners[front], rig.corners_uv[triangle], which, halves, behind.astype(np.float32))

    def _draw_one(
        self, order: Order, points: F32, rim: F32, nodes: F32, truth: F32, grid: F32, size: tuple[int, int], time: float
    ) -> Drawing:
        crop, rig = order.crop, self.rig
        floor = 0.0 if crop.full_range else 16.0
        skin = self._skin(order.identity, crop.full_range)
        span = np.ptp(points, axis=0)
        width = float(span.min())

        light = measure(rig, crop, nodes, float(np.ptp(truth, axis=0).max()), skin.nodes, floor)
        level = int(np.clip(np.log2(skin.luma[0].shape[0] / max(float(span.max()) * 1.1, 1)), 0, len(skin.luma) - 1))
        weight = self._weight(rim, points, width, size)
        seen = crop.y if size == (crop.width, crop.height) else cv2.resize(crop.y, size, interpolation=cv2.INTER_AREA)
        seen = seen.astype(np.float32)
        core = (weight > 250).astype(np.float32)
        bands = detail.split(seen, width)
        wanted = detail.strength(bands[0], bands[1], core)
        light, wanted = self._remember(order.track, time, light, wanted)

        texture = skin.luma[level]
        side = texture.shape[0]
        tone = self.settings.tone * (1 if order.identity.key[0] & 1 else -1)
        gain = np.exp(self._grid @ light.gain + tone).reshape(_GAIN_GRID, _GAIN_GRID)
        lit = (texture + DARK) * cv2.resize(gain, (side, side), interpolation=cv2.INTER_LINEAR)
        lit += floor - DARK
        full = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) * side - 0.5 for m in grid]
        luma = cv2.remap(lit, full[0], full[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        small = skin.chroma[level]
        at = grid * small.shape[0] - 0.5
        chroma = cv2.remap(small, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mean = light.chroma[0]
        saturation = float(np.clip(np.hypot(*mean) / (np.hypot(*skin.tone) + 1), 0, 1.3))
        chroma *= saturation
        slope = (self._coarse @ light.chroma - saturation * skin.tone).reshape(_COARSE, _COARSE, 2)
        chroma += cv2.remap(slope, *(grid * _COARSE - 0.5), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

        for left in (False, True):
            at_eye = float(np.exp(self._eyes[int(left)] @ light.gain + tone))
            patch = layers.eye(points, left, skin.parts, at_eye, floor, size)
            if patch is not None:
                patch.colour[..., 1:] *= saturation
                layers.lay(patch, luma, chroma)
        patch = layers.mouth(points, skin.parts, float(np.exp(self._mouth @ light.gain + tone)), floor, size)
        if patch is not None:
            patch.colour[..., 1:] *= saturation
            layers.lay(patch, luma, chroma)

        bands = detail.split(luma, width)
        luma, grain = detail.match(bands, detail.strength(bands[0], bands[1], core), wanted)
        if size != (crop.width, crop.height):
            full_size = crop.width, crop.height
            luma = cv2.resize(luma, full_size, interpolation=cv2.INTER_LINEAR)
            weight = cv2.resize(weight, full_size, interpolation=cv2.INTER_LINEAR)
            chroma = cv2.resize(chroma, crop.u.shape[::-1], interpolation=cv2.INTER_LINEAR)
        if grain > 0.3:
            luma += grain * self._grain(*luma.shape, int(time * 1000) + order.track)
        chroma += 128
        blue, red = cv2.split(_bytes(chroma))
        return Drawing(Planes(_bytes(luma), blue, red, crop.full_range), weight)

    def _weight(self, rim: F32, points: F32, width: float, size: tuple[int, int]) -> U8:
        """uint8 (h, w): one half on the rim, 255 over the inner features whatever the rim says."""
        weight = np.zeros(size[::-1], np.uint8)
        cv2.fillPoly(weight, [np.rint((rim - 0.5) * 16).astype(np.int32)], 255, shift=4)
        side = max(3, round(FEATHER * width)) | 1
        weight = cv2.blur(cv2.blur(weight, (side, side)), (side, side))
        inner = np.zeros_like(weight)
        hull = cv2.convexHull(points[self.rig.inner])
        cv2.fillConvexPoly(inner, np.rint((hull[:, 0] - 0.5) * 16).astype(np.int32), 255, shift=4)
        side = max(3, round(0.05 * width)) | 1
        inner = cv2.blur(cv2.dilate(inner, np.ones((side, side), np.uint8)), (side, side))
        return np.asarray(cv2.max(weight, inner), np.uint8)

    def _remember(self, track: int, time: float, light: Light, wanted: Detail) -> tuple[Light, Detail]:
        """Blend what was measured with what the track had a moment ago."""
        before = self._memory.get(track)
        if before is not None and 0 <= time - before.time < self.settings.memory:
            new = np.float32(1 - np.exp(-(time - before.time) / SMOOTH_LIGHT))
            light = Light(
                before.light.gain + new * (light.gain - before.light.gain),
                before.light.chroma + new * (light.chroma - before.light.chroma),
            )
            new = float(1 - np.exp(-(time - before.time) / SMOOTH_DETAIL))
            old = before.detail
            wanted = Detail(
                old.high + new * (wanted.high - old.high),
                old.middle + new * (wanted.middle - old.middle),
                old.noise + new * (wanted.noise - old.noise),
            )
        self._memory[track] = _Memory(time, light, wanted)
        self._memory.move_to_end(track)
        if len(self._memory) > self.settings.tracks:
            self._memory.popitem(last=False)
        return light, wanted

    def _skin(self, identity: Identity, full_range: bool) -> Skin:
        key = identity.key, full_range
        skin = self._skins.get(key)
        if skin is None:
            skin = self._skins[key] = _skin(self.rig, identity, full_range)
            if len(self._skins) > _SKINS:
                self._skins.popitem(last=False)
        else:
            self._skins.move_to_end(key)
        return skin


REACH = 0.22
"""Context around the landmarks, as a share of their extent: room for forehead, ears and feather."""

FEATHER = 0.07
"""Width of the blend's edge over the face's width."""

_GAIN_GRID = 12
_COARSE = 4
_SKINS = 64


def _places(count: int) -> F32:
    """float32 (count², 2): the centres of a grid's cells, as fractions."""
    steps = (np.arange(count, dtype=np.float32) + 0.5) / count
    return np.stack(np.meshgrid(steps, steps), 2).reshape(-1, 2)


def _skin(rig: Rig, identity: Identity, full_range: bool) -> Skin:
    floor = 0.0 if full_range else 16.0
    ycc = _components(identity.texture, full_range)
    levels = [ycc]
    while levels[-1].shape[0] > 32:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    soft = cv2.blur(ycc, (ycc.shape[0] // 14,) * 2)
    at = (rig.node_uv * ycc.shape[0] - 0.5).astype(np.float32)[:, None]
    nodes = cv2.remap(soft, at, None, cv2.INTER_LINEAR)[:, 0]
    irises = [_components(identity.iris, full_range)]
    while irises[-1].shape[0] > 4:
        irises.append(cv2.resize(irises[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    parts = layers.Parts(
        tuple(irises), _components(identity.sclera, full_range), _components(identity.mouth, full_range)
    )
    return Skin(
        tuple(np.ascontiguousarray(level[..., 0] - floor) for level in levels),
        tuple(np.ascontiguousarray(level[..., 1:]) for level in levels),
        nodes[:, 0].astype(np.float32),
        nodes[:, 1:].mean(0).astype(np.float32),
        parts,
    )


def _components(bgr: U8, full_range: bool) -> F32:
    """uint8 BGR → float32 Y, Cb less 128, Cr less 128 (BT.601), scaled to studio range where the picture is."""
    ycc = cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2YCrCb)[..., [0, 2, 1]]
    ycc[..., 1:] -= 0.5
    if full_range:
        return np.asarray(ycc * 255, np.float32)
    return np.asarray(ycc * (219, 224, 224) + (16, 0, 0), np.float32)


def _bytes(values: F32) -> U8:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
