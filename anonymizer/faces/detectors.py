"""Face detectors: a picture goes in, boxes, scores and five points come out.

Three families are read: YuNet (and this project's own detector, which has YuNet's inputs and outputs), SCRFD and
CenterFace. All share one way of use: ``load_detector(path)`` and ``detector.detect(pictures)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from anonymizer.errors import ModelError
from anonymizer.faces.runtime import Contract, Port, check, open_session, run_options
from anonymizer.frame import F32, U8

NMS_IOU = 0.4
STRIDES = (8, 16, 32)
LARGE = 1_000_000
"""Pixels of input from which on a run gives its memory back: one look at full HD would keep 60 MB for good."""


@dataclass(frozen=True, slots=True)
class Detections:
    """n faces found in one picture, in its pixels.

    boxes: float32 (n, 4), x, y, width, height, x and y the upper left corner. scores: float32 (n,), 0–1. points:
    float32 (n, 5, 2), right eye, left eye, nose, right and left mouth corner (the subject's own right and left).
    """

    boxes: F32
    scores: F32
    points: F32

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
        return Detections(self.boxes[which], self.scores[which], self.points[which])

    def mapped(self, scale: tuple[float, float], offset: tuple[float, float] = (0.0, 0.0)) -> Detections:
        """The same faces in the pixels of the picture of which this one was a copy, scaled by 1 / scale."""
        s, o = np.array(scale, np.float32), np.array(offset, np.float32)
        boxes = np.concatenate([self.boxes[:, :2] * s + o, self.boxes[:, 2:] * s], 1)
        return Detections(boxes, self.scores, self.points * s + o)

    def mirrored(self, width: int) -> Detections:
        """The same faces in the mirrored picture, whose right and left points change places."""
        boxes, points = self.boxes.copy(), self.points[:, (1, 0, 2, 4, 3)].copy()
        boxes[:, 0] = width - boxes[:, 0] - boxes[:, 2]
        points[:, :, 0] = width - points[:, :, 0]
        return Detections(boxes, self.scores, points)


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


def joined(parts: Sequence[Detections]) -> Detections:
    """All detections of ``parts`` in one."""
    if not parts:
        return NOTHING
    return Detections(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.points for p in parts]),
    )


def overlaps(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU, and intersection over the smaller box, of boxes (n, 4) with boxes (m, 4): float64 (n, m) each."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = np.prod(a[:, 2:], axis=1)[:, None], np.prod(b[:, 2:], axis=1)[None]
    return common / np.maximum(area_a + area_b - common, 1e-9), common / np.maximum(np.minimum(area_a, area_b), 1e-9)


def suppress(found: Detections, iou: float = NMS_IOU) -> Detections:
    """Non-maximum suppression: of boxes that overlap by more than ``iou`` only the best is kept; best first.

    A box of similar size that lies almost wholly inside a better one goes too: it is the same face found twice, at
    two sizes. The order of the input does not matter.
    """
    left = np.lexsort((*found.boxes.T, -found.scores))
    area = np.prod(found.boxes[:, 2:], axis=1)
    kept = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        union, inside = overlaps(found.boxes[best : best + 1], found.boxes[left])
        similar = np.minimum(area[left], area[best]) > 0.25 * np.maximum(area[left], area[best])
        left = left[~((union[0] > iou) | ((inside[0] > 0.8) & similar))]
    return found.take(np.array(kept, np.intp))


class Detector(Protocol):
    """What every detector can do."""

    name: str

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        """Faces with a score of at least ``floor`` in each picture, best first, after non-maximum suppression.

        pictures: BGR uint8 (height, width, 3), all of one size; any size. Raises ModelError when the model fails.
        """
        ...


Decode = Callable[[list[F32], int, int, int, float], list[Detections]]


@dataclass(frozen=True)
class _Family:
    """How one family of models is fed and read.

    decode(outputs, batch, height, width, floor) gives the detections of each picture in network pixels. A pixel value p
    enters as (p − mean) / std, in RGB order where rgb says so.
    """

    contract: Contract
    decode: Decode
    rgb: bool
    mean: float = 0.0
    std: float = 1.0

    def tensor(self, pictures: Sequence[U8], rows: int, columns: int) -> F32:
        """float32 (n, 3, rows, columns): what the model sees of pictures of at most that size."""
        height, width = pictures[0].shape[:2]
        tensor = np.zeros((len(pictures), 3, rows, columns), np.float32)
        for target, picture in zip(tensor, pictures, strict=True):
            channels = cv2.split(picture)
            for plane, channel in zip(target, channels[::-1] if self.rgb else channels, strict=True):
                plane[:height, :width] = channel
        if (self.mean, self.std) != (0.0, 1.0):
            tensor -= self.mean
            tensor /= self.std
        return tensor


class OnnxDetector:
    """A detector of one of the families, on onnxruntime."""

    def __init__(self, name: str, session: ort.InferenceSession, family: _Family) -> None:
        self.name = name
        self._session = session
        self._family = family
        port = session.get_inputs()[0]
        self._input = port.name
        batch, _, height, width = port.shape
        self._batches = not isinstance(batch, int)
        self._fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self._outputs = [p.name or o.name for p, o in zip(family.contract.outputs, session.get_outputs(), strict=False)]

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        if not pictures:
            return []
        scale = 1.0
        if self._fixed:
            pictures, scale = _fitted(pictures, self._fixed)
        height, width = pictures[0].shape[:2]
        # Networks need multiples of their coarsest stride: what is missing is black, on the right and at the bottom.
        rows, columns = self._fixed or (-(-height // 32) * 32, -(-width // 32) * 32)
        tensor = self._family.tensor(pictures, rows, columns)
        large = rows * columns * len(pictures) > LARGE
        found: list[Detections] = []
        for batch in [tensor] if self._batches else np.split(tensor, len(tensor)):
            try:
                options = run_options(self._session, large)
                outputs = self._session.run(self._outputs, {self._input: batch}, options)
            except Exception as error:
                raise ModelError(f"detector {self.name} failed: {str(error).splitlines()[0]}") from error
            if not all(np.isfinite(o.sum()) for o in outputs):
                raise ModelError(f"detector {self.name} failed: its output is not a number; its file may be damaged")
            found += self._family.decode(outputs, len(batch), rows, columns, floor)
        for one in found:  # a broken model's boxes may be turned inside out; what it saw there is still to be covered
            np.maximum(one.boxes[:, 2:], 1, out=one.boxes[:, 2:])
        return [suppress(f).mapped((1 / scale, 1 / scale)) for f in found]


def _fitted(pictures: Sequence[U8], size: tuple[int, int]) -> tuple[list[U8], float]:
    """The pictures scaled to fit into size = (height, width), and by how much."""
    height, width = pictures[0].shape[:2]
    scale = min(size[0] / height, size[1] / width)
    fitted = min(size[1], round(width * scale)), min(size[0], round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return [np.asarray(cv2.resize(p, fitted, interpolation=how), np.uint8) for p in pictures], scale


@lru_cache(maxsize=32)
def _cells(height: int, width: int, anchors: int) -> tuple[F32, F32]:
    """Cells of all strides, rows first, ``anchors`` to a cell: x and y of their corners in network pixels, float32
    (n, 2), and their strides, float32 (n, 1)."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        corner = np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float32) * stride
        corners.append(np.repeat(corner, anchors, axis=0))
        strides.append(np.full((len(corners[-1]), 1), stride, np.float32))
    return np.concatenate(corners), np.concatenate(strides)


def _by_stride(outputs: list[F32], batch: int, cells: int, channels: int) -> F32:
    """The outputs of the three strides, one after the other: float32 (batch, cells, channels)."""
    every = np.concatenate([o.reshape(batch, -1, channels) for o in outputs], 1)
    if every.shape[1] != cells:
        raise ModelError(f"the detector gave {every.shape[1]} cells instead of {cells}; is it another model?")
    return every


def _decode_yunet(outputs: list[F32], batch: int, height: int, width: int, floor: float) -> list[Detections]:
    """YuNet (libfacedetection.train): score = √(cls · obj), centre = cell + d, size = e^d, in strides."""
    corners, strides = _cells(height, width, 1)
    cls, obj, box, kps = (
        _by_stride(outputs[i : i + 3], batch, len(corners), n) for i, n in ((0, 1), (3, 1), (6, 4), (9, 10))
    )
    scores = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))[..., 0]
    found = []
    for i in range(batch):
        hit = np.flatnonzero(scores[i] >= floor)
        corner, stride, distance = corners[hit], strides[hit], box[i, hit]
        size = np.exp(np.minimum(distance[:, 2:], 10)) * stride
        centre = corner + distance[:, :2] * stride
        points = kps[i, hit].reshape(-1, 5, 2) * stride[:, None] + corner[:, None]
        found.append(Detections(np.concatenate([centre - size / 2, size], 1), scores[i, hit], points))
    return found


def _decode_scrfd(outputs: list[F32], batch: int, height: int, width: int, floor: float) -> list[Detections]:
    """SCRFD (InsightFace, Guo et al. 2021): distances from the cell's corner to the four sides, in strides."""
    corners, strides = _cells(height, width, 2)
    score, box, kps = (_by_stride(outputs[i : i + 3], batch, len(corners), n) for i, n in ((0, 1), (3, 4), (6, 10)))
    scores = score[..., 0]
    found = []
    for i in range(batch):
        hit = np.flatnonzero(scores[i] >= floor)
        corner, sides = corners[hit], box[i, hit] * strides[hit]
        points = kps[i, hit].reshape(-1, 5, 2) * strides[hit, None] + corner[:, None]
        boxes = np.concatenate([corner - sides[:, :2], sides[:, :2] + sides[:, 2:]], 1)
        found.append(Detections(boxes, scores[i, hit], points))
    return found


def _decode_centerface(outputs: list[F32], batch: int, height: int, width: int, floor: float) -> list[Detections]:
    """CenterFace (Xu et al. 2019): peaks of a heat map at stride 4; sizes are e^s strides, height first."""
    found = []
    for heat, scale, offset, kps in zip(*outputs, strict=True):
        rows, columns = np.nonzero(heat[0] >= floor)
        at = slice(None), rows, columns
        size = np.exp(np.minimum(scale[at], 10)).T[:, ::-1] * 4
        centre = (np.stack([columns, rows], 1) + offset[at].T[:, ::-1] + 0.5) * 4
        corner = centre - size / 2
        points = corner[:, None] + kps[at].T.reshape(-1, 5, 2)[:, :, ::-1] * size[:, None]
        boxes = np.concatenate([corner, size], 1)
        found.append(Detections(boxes.astype(np.float32), heat[0][rows, columns], points.astype(np.float32)))
    return found


_PICTURE = (None, 3, None, None)
YUNET = _Family(
    Contract(
        (Port("input", _PICTURE),),
        tuple(
            Port(f"{kind}_{stride}", (None, None, n))
            for kind, n in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
            for stride in STRIDES
        ),
    ),
    _decode_yunet,
    rgb=False,
)
SCRFD = _Family(Contract((Port("", _PICTURE),), (Port(""),) * 9), _decode_scrfd, rgb=True, mean=127.5, std=128.0)
CENTERFACE = _Family(
    Contract((Port("", _PICTURE),), tuple(Port("", (None, n, None, None)) for n in (1, 2, 2, 10))),
    _decode_centerface,
    rgb=True,
)


def load_detector(path: str | Path, *, threads: int = 1, providers: Sequence[str] = ("cpu",)) -> OnnxDetector:
    """Open the detector at ``path``; its outputs tell which family it is of.

    Raises ModelError where the file is missing, broken or of no known family.
    """
    path = Path(path)
    session = open_session(path, threads=threads, providers=providers)
    outputs = session.get_outputs()
    channels = [o.shape[1] if len(o.shape) == 4 else o.shape[-1] for o in outputs]
    if any(o.name == "cls_8" for o in outputs):
        family = YUNET
    elif channels == [1, 1, 1, 4, 4, 4, 10, 10, 10]:
        family = SCRFD
    elif channels == [1, 2, 2, 10] and all(len(o.shape) == 4 for o in outputs):
        family = CENTERFACE
    else:
        found = ", ".join(f"{o.name}{o.shape}" for o in outputs)
        raise ModelError(f"{path} is no face detector of the families YuNet, SCRFD or CenterFace; its outputs: {found}")
    check(path, session, family.contract)
    return OnnxDetector(path.stem, session, family)
