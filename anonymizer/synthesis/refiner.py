"""The refiner: a small net that corrects drawn faces, eyes and mouth above all, for ``enhance: light`` in rules.

It sees the drawing, the mask, where eyes, irises, lips and mouth were drawn, and of the picture only what lies outside
the mask, in a few soft cells: nothing of the original face, and nothing of it can come back. What it says is a limited
change of luma and chroma, which fades out towards the mask's edge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from onnxruntime import InferenceSession

from anonymizer.faces import topology
from anonymizer.faces.landmarks import CROP_SCALE, Crop, crop_around
from anonymizer.faces.runtime import Contract, Port, open_session
from anonymizer.frame import F32, U8, Planes
from anonymizer.synthesis.sampling import shrink, stretch, to_bytes
from anonymizer.synthesis.swapper import Drawing

log = logging.getLogger(__name__)

SIZE = 96
"""Side of the square in pixels that the net sees."""

SCALE = 1.14
"""Side of that square over the longer side of the upright rectangle around the points."""

CELLS = 12
"""The surroundings are shown as means over a grid of CELLS × CELLS."""

CHANNELS = 8
"""Y, Cb, Cr, the mask, the openings of the eyes, irises, lips, the inside of the mouth."""

CONTRACT = Contract(
    (Port("faces", (None, CHANNELS, SIZE, SIZE)),),
    (Port("luma", (None, 1, SIZE, SIZE)), Port("chroma", (None, 2, SIZE // 2, SIZE // 2))),
)

_EMPTY = 0.02
"""Cells of which less lies outside the mask take the mean of the others."""


class Rendered(NamedTuple):
    """A drawn face. crop: the picture around it; points: float32 (200, 2), where it was drawn, pixels of the crop."""

    crop: Planes
    drawing: Drawing
    points: F32


class Refiner:
    """Corrects drawings as long as it can: a drawing without correction hides the face as well.

    find: says where the model is. It is asked when the first face wants to be refined, so that rules that want none
    cost nothing. threads and providers: as in ``runtime.open_session``.
    """

    def __init__(self, find: Callable[[], Path], *, threads: int = 1, providers: Sequence[str] = ("cpu",)) -> None:
        self._find, self._threads, self._providers = find, threads, providers
        self._session: InferenceSession | None = None
        self._told = False

    def __call__(self, faces: Sequence[Rendered]) -> list[Drawing]:
        """The drawings, corrected, all in one batch; as they came where that fails, which is told once."""
        if not faces:
            return []
        try:
            if self._session is None:
                if self._told:
                    return [face.drawing for face in faces]
                self._session = load(self._find(), threads=self._threads, providers=self._providers)
            return refine(self._session, faces)
        except Exception as error:
            if not self._told:
                log.warning("faces are replaced, but not refined: %s", error)
            self._told = True
            return [face.drawing for face in faces]


def load(path: Path, *, threads: int = 1, providers: Sequence[str] = ("cpu",)) -> InferenceSession:
    """The net at path. ModelError where there is none, or where it takes or gives something else."""
    return open_session(path, threads=threads, providers=providers, contract=CONTRACT)


def refine(session: InferenceSession, faces: Sequence[Rendered]) -> list[Drawing]:
    """The drawings, corrected. ValueError where the net's answer is not finite."""
    squares = [square(face.points) for face in faces]
    seen = np.stack([view(face, place) for face, place in zip(faces, squares, strict=True)])
    luma, chroma = session.run(["luma", "chroma"], {"faces": seen})
    if not (np.isfinite(luma).all() and np.isfinite(chroma).all()):
        raise ValueError("the refiner's answer is not finite")
    return [corrected(*one) for one in zip(faces, squares, luma, chroma, strict=True)]


def square(points: F32) -> Crop:
    """The upright square of the crop that the net sees."""
    around = crop_around(points)
    return around._replace(side=around.side * SCALE / CROP_SCALE)


def view(face: Rendered, place: Crop) -> U8:
    """What the net sees: uint8 (CHANNELS, SIZE, SIZE), luma and chroma over the full range."""
    crop, drawn, weight = face.crop, face.drawing.planes, face.drawing.weight
    turn = place.to_frame(SIZE)
    outside = _equal(weight, 0)
    half = _equal(shrink(outside, (crop.u.shape[1], crop.u.shape[0])), 255)  # pixels of chroma that lie outside whole
    mask = _cut(weight, turn, 1.0)
    inside = mask > 0
    channels = []
    for original, plane, bare, scale in (
        (crop.y, drawn.y, outside, 1.0),
        (crop.u, drawn.u, half, 0.5),
        (crop.v, drawn.v, half, 0.5),
    ):
        around = _surroundings(_cut(np.bitwise_and(original, bare), turn, scale), _cut(bare, turn, scale))
        channels.append(np.where(inside, _cut(plane, turn, scale), around))
    if not crop.full_range:
        channels = [(channels[0] - 16) * np.float32(255 / 219)] + [
            (one - 128) * np.float32(255 / 224) + 128 for one in channels[1:]
        ]
    back = np.linalg.inv(turn[:, :2])
    return np.stack([*(to_bytes(one) for one in (*channels, mask)), *_features((face.points - turn[:, 2]) @ back.T)])


def corrected(face: Rendered, place: Crop, luma: F32, chroma: F32) -> Drawing:
    """The drawing with the net's changes, float32 (1, SIZE, SIZE) and (2, SIZE / 2, SIZE / 2), laid over it."""
    planes, weight = face.drawing.planes, face.drawing.weight
    turn = place.to_frame(SIZE)
    gains = (1.0, 1.0, 1.0) if planes.full_range else (219 / 255, 224 / 255, 224 / 255)
    coarse = turn.copy()
    coarse[:, :2] *= 2
    changes = (luma[0], turn, 1.0), (chroma[0], coarse, 0.5), (chroma[1], coarse, 0.5)
    y, u, v = (
        _changed(plane, np.float32(gain) * change, way, scale)
        for plane, gain, (change, way, scale) in zip((planes.y, planes.u, planes.v), gains, changes, strict=True)
    )
    return Drawing(Planes(y, u, v, planes.full_range), weight)


def _changed(plane: U8, change: F32, turn: F32, scale: float) -> U8:
    """The plane, of scale times the crop's resolution, and the change; turn: from the change's pixels to the crop."""
    forth = _between_centres(turn, scale)
    laid = cv2.warpAffine(change, forth, plane.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return to_bytes(np.asarray(laid, np.float32) + plane)


def _cut(plane: U8, turn: F32, scale: float) -> F32:
    """float32 (SIZE, SIZE): the square out of a plane of scale times the crop's resolution; black beyond the plane."""
    step = scale * float(np.hypot(turn[0, 0], turn[1, 0]))
    times = 1
    while step >= 2 * times:  # else pixels between those looked at would be left out
        times *= 2
    if times > 1:
        h, w = plane.shape[0] // times, plane.shape[1] // times
        plane = shrink(plane[: h * times, : w * times], (w, h))
    way = _between_centres(turn, scale / times)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(plane, way, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_CONSTANT), np.float32)


def _equal(plane: U8, value: int) -> U8:
    """255 where the plane has the value, else 0."""
    return np.asarray(cv2.inRange(plane, np.array([value]), np.array([value])), np.uint8)


def _between_centres(turn: F32, scale: float) -> F32:
    """A map of places as one of pixels, whose centres OpenCV counts from 0."""
    way = np.array(turn * scale, np.float32)
    way[:, 2] += way[:, :2].sum(1) / 2 - 0.5
    return way


def _surroundings(picture: F32, share: F32) -> F32:
    """Means over cells of what lies outside the mask, spread over the square. share: 255 outside, 0 inside."""
    seen, known = shrink(picture, (CELLS, CELLS)), shrink(share, (CELLS, CELLS)) / 255
    mean = float(seen.sum()) / max(float(known.sum()), 1e-3) if known.any() else 128.0
    cells = np.where(known > _EMPTY, seen / np.maximum(known, _EMPTY), mean).astype(np.float32)
    return stretch(cells, (SIZE, SIZE))


def _features(points: F32) -> list[U8]:
    """uint8 (SIZE, SIZE) each: openings of the eyes, irises, lips, the inside of the mouth."""
    fixed = np.rint((points - 0.5) * 16).astype(np.int32)
    eyes, irises, lips, mouth = (np.zeros((SIZE, SIZE), np.uint8) for _ in range(4))
    for outline in (topology.EYE_RIGHT, topology.EYE_LEFT):
        cv2.fillPoly(eyes, [fixed[outline]], 255, lineType=cv2.LINE_AA, shift=4)
    radius = IRIS * float(np.hypot(*np.diff(topology.eye_centres(points[None])[0], axis=0)[0]))
    for iris in (topology.IRIS_RIGHT, topology.IRIS_LEFT):
        x, y = fixed[iris].tolist()
        cv2.circle(irises, (x, y), round(16 * radius), 255, -1, cv2.LINE_AA, 4)
    cv2.fillPoly(lips, [fixed[topology.LIPS_OUTER]], 255, lineType=cv2.LINE_AA, shift=4)
    cv2.fillPoly(mouth, [fixed[topology.LIPS_INNER]], 255, lineType=cv2.LINE_AA, shift=4)
    return [eyes, np.minimum(irises, eyes), lips, mouth]


IRIS = 0.092
"""Radius of an iris in eye distances."""
