"""Training pictures on disk: a ring of shards that a generator keeps filling, and the views cut from them.

A shard is two files: ``NNNN.npy`` uint8 (COUNT, SIDE, SIDE, 3) BGR, and ``NNNN.npz`` with ``rows`` float32 (M, 16) and
``first`` int64 (COUNT + 1), the labels of picture k being rows[first[k]:first[k + 1]].
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
from canvas import SIDE
from heads import Picture
from numpy.typing import NDArray
from pictures import Pictures
from teacher import STRIDES, SWAP, Array

COUNT = 480
SURE = 0.76  # what the teacher scores below this at its best size is not cared about
SMALLEST = 5.5  # px high in a view; smaller faces are not cared about, those up to 8.5 px count less
REACH = ((0.0, 46.0, 64.0), (24.0, 120.0, 170.0), (66.0, 1e9, 1e9))  # sizes of a stride: from, to, not cared to
BELOW = (0.0, 15.0, 44.0)  # sizes under REACH that are not cared about


def generate(work: Path, seed: int, keep: int, total: int, limit: int = 0, count: int = COUNT) -> None:
    """Write ``total`` shards, the ring holding ``keep`` of them."""
    cv2.setNumThreads(1)
    folder = work / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    made = len(list(folder.glob("[0-9]*.npz")))
    source = Pictures(work, seed + 1000 * made, limit)
    for k in range(made, total) if made < keep else range(made, made + total):
        start = time.process_time()
        pictures, rows, first = [], [], [0]
        while len(pictures) < count:
            for picture, found in source.batch():
                pictures.append(picture)
                rows.append(found)
                first.append(first[-1] + len(found))
        name = folder / f"{k % keep:04d}"
        np.save(f"{name}.tmp.npy", np.stack(pictures[:count]))
        np.savez(f"{name}.tmp.npz", rows=np.concatenate(rows), first=np.array(first))
        os.replace(f"{name}.tmp.npy", f"{name}.npy")
        os.replace(f"{name}.tmp.npz", f"{name}.npz")
        print(k, f"{(time.process_time() - start) / count * 1e3:.0f} ms a picture", flush=True)


class Views:
    """Random views of the stored pictures with the targets of all cells."""

    def __init__(self, work: Path, seed: int) -> None:
        self.folder = work / "shards"
        self.rng = np.random.default_rng(seed)
        self.stamp: dict[str, float] = {}
        self.open: dict[str, tuple[Picture, Array, NDArray[np.int64]]] = {}
        self.names: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        """See new and renewed shards."""
        for path in sorted(self.folder.glob("[0-9][0-9][0-9][0-9].npz")):
            made = path.stat().st_mtime
            if self.stamp.get(path.stem) != made and path.with_suffix(".npy").exists():
                self.stamp[path.stem] = made
                with np.load(path) as kept:
                    self.open[path.stem] = (
                        np.load(path.with_suffix(".npy"), mmap_mode="r"),
                        kept["rows"],
                        kept["first"],
                    )
        names = sorted(self.open, key=lambda n: self.stamp[n])
        self.names = (
            names + names[len(names) // 2 :]
        )  # the newer half, made with the newest mistakes, shows twice as often

    def view(self, side: int, grow: float = 1.0) -> tuple[Picture, Array]:
        """One picture scaled, cropped, mirrored to (side, side, 3) and its labels."""
        rng = self.rng
        pictures, rows, first = self.open[self.names[int(rng.integers(len(self.names)))]]
        k = int(rng.integers(len(pictures)))
        picture, faces = pictures[k], rows[first[k] : first[k + 1]].copy()
        scale = grow * float(np.exp(rng.uniform(np.log(0.72), np.log(1.3))))
        offset = rng.uniform(0, 1, 2) * (SIDE * scale - side)
        across = scale * float(rng.uniform(0.94, 1.06))
        matrix = np.array([[across, 0, -offset[0]], [0, scale, -offset[1]]], np.float32)
        if rng.random() < 0.5:
            matrix[0] = [-across, 0, offset[0] + side]
            faces[:, 4:14] = faces[:, 4:14].reshape(-1, 5, 2)[:, SWAP].reshape(-1, 10)
        out = cv2.warpAffine(np.asarray(picture), matrix, (side, side), flags=cv2.INTER_LINEAR)
        a, b = matrix[:, :2].diagonal(), matrix[:, 2]
        low = faces[:, :2] * a + b
        top = (faces[:, :2] + faces[:, 2:4]) * a + b
        faces[:, :2], faces[:, 2:4] = np.minimum(low, top), np.abs(top - low)
        faces[:, 4:14] = (faces[:, 4:14].reshape(-1, 5, 2) * a + b).reshape(-1, 10)
        return out.astype(np.uint8), clip(faces, side)


def clip(faces: Array, side: int) -> Array:
    """Boxes cut at the border; what is nearly outside, or too small, is not cared about."""
    low = np.clip(faces[:, :2], 0, side)
    top = np.clip(faces[:, :2] + faces[:, 2:4], 0, side)
    seen = (top - low).prod(1) / np.maximum(faces[:, 2:4].prod(1), 1e-6)
    faces = faces.copy()
    faces[:, :2], faces[:, 2:4] = low, top - low
    faces[(seen < 0.35) | (faces[:, 3] < SMALLEST) | (faces[:, 14] < SURE), 15] = 0
    return faces[(faces[:, 2:4] > 1.5).all(1)]


def spread(faces: Array, stride: int, count: int) -> tuple[Array, NDArray[np.bool_]]:
    """Distances (N, 2, count) in px of the cells' columns and rows to the faces' centres, and which lie inside."""
    middle = (np.arange(count, dtype=np.float32) + 0.5) * stride
    apart = middle[None, None] - (faces[:, :2] + faces[:, 2:4] / 2)[..., None]
    return apart, np.abs(apart) <= np.maximum(0.5 * faces[:, 2:4], 0.6 * stride)[..., None]


def targets(faces: Array, side: int) -> Array:
    """Rows of 17 for all cells, strides 8, 16, 32 in turn: score target, weight, box in cells (dx, dy, log w, log h),
    points in cells (10), size of the face in px. Weight 0: not cared about."""
    out = []
    for stride, reach, below in zip(STRIDES, REACH, BELOW, strict=True):
        count = side // stride
        row = np.zeros((count * count, 17), np.float32)
        row[:, 1] = 1
        size = np.sqrt(faces[:, 2] * faces[:, 3])
        good = (faces[:, 15] > 0) & (size >= reach[0]) & (size < reach[1])
        vague = ~good & (size >= below) & (size < reach[2])
        if vague.any():
            apart, inner = spread(faces[vague], stride, count)
            inside = inner[:, 1, :, None] & inner[:, 0, None, :]
            row[inside.any(0).reshape(-1), 1] = 0
        if good.any():
            chosen = faces[good]
            apart, _ = spread(chosen, stride, count)
            sigma = np.maximum(0.2 * chosen[:, 2:4], 0.42 * stride)[..., None]
            near = np.exp(-0.5 * (apart / sigma) ** 2)
            near /= np.maximum(near.max(2, keepdims=True), 1e-4)
            value = (near[:, 1, :, None] * near[:, 0, None, :]).reshape(len(chosen), -1)
            best = value.argmax(0)
            top = value[best, np.arange(count * count)]
            cells = np.flatnonzero(top >= 0.12)
            face = chosen[best[cells]]
            at = np.stack([cells % count, cells // count], 1).astype(np.float32)
            row[cells, 0], row[cells, 1] = top[cells], np.clip((face[:, 3] - 4.5) / 4, 0.2, 1)
            row[cells, 2:4] = (face[:, :2] + face[:, 2:4] / 2) / stride - at
            row[cells, 4:6] = np.log(np.maximum(face[:, 2:4], 1) / stride)
            row[cells, 6:16] = (face[:, 4:14].reshape(-1, 5, 2) / stride - at[:, None]).reshape(-1, 10)
            row[cells, 16] = np.sqrt(face[:, 2] * face[:, 3])
        out.append(row)
    return np.concatenate(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=44, help="shards in the ring")
    parser.add_argument("--total", type=int, default=400)
    args = parser.parse_args()
    generate(args.work, args.seed, args.keep, args.total)


if __name__ == "__main__":
    main()
