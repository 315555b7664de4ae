"""An identity's texture, converted once to the planes of a picture."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.frame import F32, U8
from anonymizer.synthesis.bank import FaceModel, Identity
from anonymizer.synthesis.layers import Eyeball, Parts, iris
from anonymizer.synthesis.rig import Rig
from anonymizer.synthesis.sampling import look_up, shrink, to_bytes


@dataclass(frozen=True, slots=True)
class Skin:
    """A texture as planes of one range, at falling sizes; eyes are shut.

    luma: uint8 (s, s) each, less black. chroma: int8 (s / 2, s / 2, 2) each, Cb and Cr less 128. Bytes, since many are
    kept. whites: at each size, for the right and the left eye, the part of both with the white of the eye. nodes:
    float32 (m,), low frequencies of luma at ``rig.node_uv``. tone: float32 (2,), mean chroma there.
    """

    luma: tuple[U8, ...]
    chroma: tuple[NDArray[np.int8], ...]
    whites: tuple[tuple[tuple[F32, F32], ...], ...]
    nodes: F32
    tone: F32
    parts: Parts

    def level(self, height: float) -> int:
        """The size that goes with a face so many pixels high: about a texel a pixel."""
        return min(int(math.log2(max(self.luma[0].shape[0] / max(1.1 * height, 1), 1))), len(self.luma) - 1)


class Wardrobe:
    """Skins of the identities used last. size: how many are kept; each takes about 0.15 MB."""

    def __init__(self, model: FaceModel, rig: Rig, size: int = 48) -> None:
        self._uv, self._rig, self._size = model.uv, rig, size
        self._skins: OrderedDict[tuple[bytes, bool], Skin] = OrderedDict()
        self._eyeballs: dict[int, tuple[Eyeball, ...]] = {}

    def __call__(self, identity: Identity, full_range: bool) -> Skin:
        key = identity.key, full_range
        skin = self._skins.get(key)
        if skin is None:
            skin = self._skins[key] = self._convert(identity, full_range)
            if len(self._skins) > self._size:
                self._skins.popitem(last=False)
        else:
            self._skins.move_to_end(key)
        return skin

    def eyeballs(self, side: int) -> tuple[Eyeball, ...]:
        """The right and the left eye in a texture of that side."""
        if side not in self._eyeballs:
            self._eyeballs[side] = tuple(Eyeball(self._uv, left, side) for left in (False, True))
        return self._eyeballs[side]

    def _convert(self, identity: Identity, full_range: bool) -> Skin:
        texture = components(identity.texture, full_range)
        side = texture.shape[0]
        soft = np.asarray(cv2.blur(texture, (side // 14, side // 14)), np.float32)
        at = self._rig.node_uv * np.float32(side) - np.float32(0.5)
        nodes = look_up(soft, at[None])[0]
        sclera = components(identity.sclera, full_range)
        for eyeball in self.eyeballs(side):
            eyeball.darken(texture)
        luma, chroma = _planes(texture)
        for eyeball in self.eyeballs(side):
            eyeball.whiten(texture, sclera)
        whites = tuple(
            tuple((ball.part(fine), ball.part(coarse)) for ball in self.eyeballs(fine.shape[0]))
            for fine, coarse in zip(*_planes(texture), strict=True)
        )
        irises = tuple(iris(level) for level in _pyramid(components(identity.iris, full_range), 4))
        return Skin(
            tuple(map(to_bytes, luma)),
            tuple(np.rint(level).astype(np.int8) for level in chroma),
            whites,
            np.maximum(nodes[:, 0], 0),
            nodes[:, 1:].mean(0),
            Parts(irises, components(identity.mouth, full_range)),
        )


def components(bgr: U8, full_range: bool) -> F32:
    """uint8 BGR → float32 Y less black, Cb less 128, Cr less 128 (BT.601), in the steps of the picture's range."""
    luma, red, blue = cv2.split(cv2.cvtColor(bgr.astype(np.float32) / 255, cv2.COLOR_BGR2YCrCb))
    bright, coloured = (255, 255) if full_range else (219, 224)
    return np.asarray(cv2.merge([luma * bright, (blue - 0.5) * coloured, (red - 0.5) * coloured]), np.float32)


def _planes(texture: F32) -> tuple[tuple[F32, ...], tuple[F32, ...]]:
    """Luma and chroma, half as large, at falling sizes."""
    levels = _pyramid(texture, 16)
    luma = tuple(level[..., 0].copy() for level in levels[:-1])
    return luma, tuple(level[..., 1:].copy() for level in levels[1:])


def _pyramid(picture: F32, smallest: int) -> list[F32]:
    levels = [picture]
    while (side := levels[-1].shape[0]) >= 2 * smallest:
        levels.append(shrink(levels[-1], (side // 2, side // 2)))
    return levels
