"""Views for training with the teacher's dense answer to each: ``python views.py WORK`` fills a ring of chunks.

A view is what the student sees: photographs of people, drawn pictures (shards.py) and scenes at random scales, some
with heads laid over them, degraded. The teacher answers to the very same view, cell by cell, and, for a quarter of
them, to the clean view of twice the size where it is more certain there. Known faces that the teacher does not see
are faces where they were put there covered or masked, and count as neither otherwise.

A chunk is two files: ``NNNN.npy`` uint8 (n, side, side, 3) BGR and ``NNNN.goals.npy`` float16 (n, cells, 16): score,
weight, box in cells (dx, dy, log w, log h), points in cells (10), strides 8, 16, 32 in turn. Every seventh chunk
holds large views.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
from canvas import fill, hide, lay
from degrade import degrade, h264
from heads import Head, Picture, cover, flip, load, paste
from pictures import Pictures
from teacher import ROW, STRIDES, Array, Runner, aside, labels, shared

SIDE = 320  # of a view; large ones have twice as much
COUNT = 192  # views in a chunk; large ones a quarter
GOAL = 16
SILENT = 0.3  # the teacher sees no face below this
LEAST = 7.0  # px in the view; smaller faces are not taken from the larger view
SURE = 0.76  # labels below this are the teacher's own doubt
LAID = 2  # state of a face that was put there masked or covered
REACH = ((0.0, 30.0), (30.0, 90.0), (90.0, 1e9))  # sizes of a face, px, by stride


def answer(teacher: Runner, picture: Picture) -> list[Array]:
    """What the teacher says in all cells: for each stride (h, w, 16), weights 1."""
    side = picture.shape[0]
    frame = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    out = teacher.session.run(None, {"input": frame})
    levels = []
    for level, stride in enumerate(STRIDES):
        cls, obj, box, kps = (out[level + 3 * k][0] for k in range(4))
        score = np.sqrt(np.clip(cls * obj, 0, 1))
        rows = np.concatenate([score, np.ones_like(score), box, kps], 1)
        levels.append(rows.reshape(side // stride, side // stride, GOAL).astype(np.float32))
    return levels


def sharpen(near: list[Array], far: list[Array]) -> None:
    """Put the larger view's answers where they are more certain: its cells at stride 2 s are those of the view at s."""
    for level in (0, 1):
        other = far[level + 1]
        size = np.exp(other[..., 4:6].mean(2)) * STRIDES[level]
        better = (other[..., 0] > near[level][..., 0]) & (size >= LEAST)
        near[level][better] = other[better]


def settle(goals: list[Array], faces: Array) -> None:
    """Set right what the labels know better than the teacher, or leave it out."""
    for face in faces:
        x, y, w, h = face[:4]
        size = float(np.sqrt(w * h))
        parts = []
        peak = 0.0
        for level, stride in zip(goals, STRIDES, strict=True):
            count = len(level)
            low = [max(0, int(np.floor(v / stride))) for v in (x, y)]
            top = [min(count, int(np.ceil(v / stride))) for v in (x + w, y + h)]
            part = level[low[1] : top[1], low[0] : top[0]]
            parts.append(part)
            peak = max(peak, float(part[..., 0].max(initial=0)))
        laid = face[15] == LAID and size >= 7
        if peak >= (0.6 if laid else SILENT):
            continue
        if not laid:
            for part in parts:
                part[..., 1] = 0
            continue
        for level, stride, (least, most) in zip(goals, STRIDES, REACH, strict=True):
            if least <= size < most:
                draw(level, face, stride)


def draw(level: Array, face: Array, stride: int) -> None:
    """A face in the cells about its centre."""
    middle = (np.arange(len(level), dtype=np.float32) + 0.5) * stride
    fall = []
    for axis in (0, 1):
        apart = middle - (face[axis] + face[axis + 2] / 2)
        near = np.exp(-0.5 * (apart / max(0.22 * float(face[axis + 2]), 0.5 * stride)) ** 2)
        fall.append(near / max(float(near.max()), 1e-4))
    value = 0.8 * fall[1][:, None] * fall[0][None]
    at = np.stack(np.nonzero((value > 0.2) & (value > level[..., 0])), 1)
    rows, cols = at[:, 0], at[:, 1]
    cell = at[:, ::-1].astype(np.float32)
    level[rows, cols, 0] = value[rows, cols]
    level[rows, cols, 1] = 1
    level[rows, cols, 2:4] = (face[:2] + face[2:4] / 2) / stride - cell
    level[rows, cols, 4:6] = np.log(np.maximum(face[2:4], 1) / stride)
    level[rows, cols, 6:16] = (face[4:14].reshape(1, 5, 2) / stride - cell[:, None]).reshape(-1, 10)


class Views:
    """Endless views with their goals."""

    def __init__(self, work: Path, seed: int, limit: int = 0) -> None:
        self.source = Pictures(work, seed, limit)
        self.rng = self.source.rng
        self.teacher = Runner(shared() / "models" / "yunet_n_dynamic.onnx")
        self.shards = []
        for path in sorted((work / "shards").glob("[0-9][0-9][0-9][0-9].npz")):
            with np.load(path) as kept:
                self.shards.append((np.load(path.with_suffix(".npy"), mmap_mode="r"), kept["rows"], kept["first"]))
        known = labels(work / "labels.npz", 2 * limit)
        self.masked = []
        for name, rows in known.items():
            path = shared() / name
            if name.startswith("photos/masked") and not aside(path):
                self.masked.append((path, rows))

    def plate(self) -> tuple[list[Picture], Array, str]:
        """A photograph of people, a drawn picture or a scene."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.68:
            levels, faces = self.source.people[int(rng.choice(len(self.source.people), p=self.source.weight))]
            return levels, faces, "people"
        if kind < 0.86 and self.shards:
            pictures, rows, first = self.shards[int(rng.integers(len(self.shards)))]
            k = int(rng.integers(len(pictures)))
            return [np.asarray(pictures[k])], rows[first[k] : first[k + 1]], "drawn"
        return self.source.scenes[int(rng.integers(len(self.source.scenes)))], np.zeros((0, ROW), np.float32), "scene"

    def canvas(self, side: int, grow: float) -> tuple[Picture, Array]:
        """A clean picture and its labels; ``grow`` is its scale against the view."""
        rng = self.rng
        levels, faces, kind = self.plate()
        if (kind == "people" and rng.random() < 0.5) or kind == "scene":
            scale = grow * float(np.exp(rng.uniform(np.log(0.12), np.log(1.0))))
            return fill(levels, faces, rng, scale, side)
        backdrop = self.source.scenes[int(rng.integers(len(self.source.scenes)))]
        canvas, rows = fill(backdrop, np.zeros((0, ROW), np.float32), rng, grow * float(rng.uniform(0.3, 1)), side)
        height = grow * float(np.exp(rng.uniform(np.log(5.5), np.log(80 if rng.random() < 0.6 else 320))))
        for _ in range(1 if height > 0.18 * side else int(rng.integers(2, 7))):
            sure = faces[faces[:, 15] > 0]
            if kind == "people" and len(sure):
                # the teacher is less certain of profiles, heads down and hidden faces: they show more often
                chance = 1.05 - sure[:, 14]
                target = sure[int(rng.choice(len(sure), p=chance / chance.sum()))]
                scale = float(min(height * rng.uniform(0.7, 1.4) / target[3], 4.0))
                centre = target[:2] + target[2:4] * rng.uniform(0, 1, 2)
            else:
                scale = grow * float(np.exp(rng.uniform(np.log(0.35), np.log(1.5))))
                centre = rng.uniform(0.2, 0.8, 2) * levels[0].shape[1::-1]
            at = rng.uniform(0.1, 0.9, 2) * side
            angle = float(rng.normal(0, 0.5 if rng.random() < 0.12 else 0.12))
            added, hidden = lay(canvas, levels, faces, scale, centre, at, angle, rng)
            rows = np.concatenate([hide(rows, hidden), added])
            levels, faces, kind = self.plate()
        return canvas, rows

    def guests(self, canvas: Picture, rows: Array, grow: float) -> Array:
        """Lay masked and covered heads over the picture; returns all labels."""
        rng = self.rng
        base = float(np.exp(rng.uniform(np.log(9), np.log(160))))
        for _ in range(int(rng.integers(1, 2 + min(6, int(200 / base))))):
            height = float(grow * base * np.exp(rng.normal(0, 0.3)))
            x, y = (float(v) for v in rng.uniform(0, len(canvas), 2))
            kind = rng.random()
            if kind < 0.4:
                new, box = self.photo(canvas, height, x, y)
            else:
                folder = "masked" if kind < 0.7 else str(rng.choice(["faces", "bare"]))
                head = self.head(folder)
                new = paste(canvas, head, height, (x, y), float(rng.normal(0, 0.2)), rng)
                box = new[:4]
            rows = np.concatenate([hide(rows, box), new[None]])
        return rows

    def head(self, folder: str) -> Head:
        """A masked or covered head, state LAID; one in four of the others is only turned."""
        rng, source = self.rng, self.source
        name, face, matte = source.heads[folder][int(rng.integers(len(source.heads[folder])))]
        if name not in source.cache:
            source.cache[name] = load(name, face, matte)
        head = source.cache[name]
        if folder != "masked" and rng.random() < 0.25:
            return source.head()
        if folder != "masked":
            head = cover(head, rng)
        face = head.face.copy()
        face[15] = LAID
        head = Head(head.picture, head.matte, face)
        return flip(head) if rng.random() < 0.5 else head

    def photo(self, canvas: Picture, height: float, x: float, y: float) -> tuple[Array, Array]:
        """Lay a whole photograph of a masked face about (x, y); returns its label and the covered box."""
        rng = self.rng
        path, rows = self.masked[int(rng.integers(len(self.masked)))]
        picture = cv2.imread(str(path))
        assert picture is not None
        high, wide = picture.shape[:2]
        if len(rows):
            face = rows[np.argmax(rows[:, 14])].copy()
        else:
            face = np.zeros(ROW, np.float32)
            face[:4] = [0.12 * wide, 0.12 * high, 0.76 * wide, 0.76 * high]
        face[15] = LAID
        scale = height / float(face[3])
        size = (max(8, round(wide * scale)), max(8, round(high * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        face[:14] *= scale
        head = Head(small.astype(np.uint8), np.full(small.shape[:2], 255, np.uint8), face)
        if rng.random() < 0.5:
            head = flip(head)
        left, top = int(x - size[0] / 2), int(y - size[1] / 2)
        low = (max(0, left), max(0, top))
        end = (min(canvas.shape[1], left + size[0]), min(canvas.shape[0], top + size[1]))
        canvas[low[1] : end[1], low[0] : end[0]] = head.picture[
            low[1] - top : end[1] - top, low[0] - left : end[0] - left
        ]
        face = head.face
        face[:14] += np.tile(np.array([left, top], np.float32), 7) * np.array([1, 1, 0, 0] + [1] * 10, np.float32)
        return face, np.array([left, top, *size], np.float32)

    def batch(self, large: bool) -> list[tuple[Picture, Array]]:
        """Six views (large: one) with their goals; three times in ten they share one video encoding."""
        rng = self.rng
        clear, seen, known = [], [], []
        for _ in range(1 if large else 6):
            twice = not large and rng.random() < 0.25
            side, grow = (SIDE, 1.0) if not (large or twice) else (2 * SIDE, 2.0 if twice else float(rng.uniform(1, 2)))
            canvas, rows = self.canvas(side, grow)
            if rng.random() < 0.28:
                rows = self.guests(canvas, rows, grow)
            rows = rows.copy()
            small = canvas
            if twice:
                rows[:, :14] /= 2
                small = cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)
            clear.append(canvas)
            strength = float(np.clip(np.median(rows[:, 3]) / 40, 0.12, 1)) if len(rows) else 0.7
            seen.append(degrade(small, rng, strength))
            known.append(rows)
        if rng.random() < 0.3:
            if large:
                seen = [h264(seen[0], rng)]
            else:
                sheet = h264(np.vstack([np.hstack(seen[:3]), np.hstack(seen[3:])]), rng)
                seen = [sheet[k // 3 * SIDE :, k % 3 * SIDE :][:SIDE, :SIDE] for k in range(6)]
        out = []
        for canvas, small, rows in zip(clear, seen, known, strict=True):
            goals = answer(self.teacher, small)
            if len(canvas) > len(small):
                sharpen(goals, answer(self.teacher, canvas))
            settle(goals, visible(rows, small.shape[0]))
            out.append((small, np.concatenate([g.reshape(-1, GOAL) for g in goals]).astype(np.float16)))
        return out


def visible(faces: Array, side: int) -> Array:
    """Labels that are sure and mostly inside the picture, boxes cut at the border."""
    low = np.clip(faces[:, :2], 0, side)
    top = np.clip(faces[:, :2] + faces[:, 2:4], 0, side)
    inside = (top - low).prod(1) / np.maximum(faces[:, 2:4].prod(1), 1e-6)
    faces = faces.copy()
    faces[:, :2], faces[:, 2:4] = low, top - low
    sure = (faces[:, 15] == LAID) | ((faces[:, 15] > 0) & (faces[:, 14] >= SURE))
    faces[inside < 0.6, 15] = np.minimum(faces[inside < 0.6, 15], 1)
    return faces[sure & (inside > 0.3) & (faces[:, 3] >= 5)]


def generate(work: Path, seed: int, keep: int, total: int, limit: int = 0, count: int = COUNT) -> None:
    """Write ``total`` chunks, the ring holding ``keep`` of them; one ring for each ``seed`` (one digit)."""
    cv2.setNumThreads(1)
    folder = work / "views"
    folder.mkdir(parents=True, exist_ok=True)
    made = len(list(folder.glob(f"{seed}[0-9][0-9][0-9].goals.npy")))
    views = Views(work, seed + 1000 * made, limit)
    for k in range(made, made + total):
        start = time.process_time()
        large = k % 7 == 6
        pairs: list[tuple[Picture, Array]] = []
        want = count // 4 if large else count
        while len(pairs) < want:
            pairs += views.batch(large)
        name = f"{seed}{k % keep:03d}"
        for part, suffix in ((0, ".npy"), (1, ".goals.npy")):
            np.save(folder / f"new{seed}.npy", np.stack([p[part] for p in pairs[:want]]))
            os.replace(folder / f"new{seed}.npy", folder / f"{name}{suffix}")
        print(k, f"{(time.process_time() - start) / want * 1e3:.0f} ms a view", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=100, help="chunks in the ring")
    parser.add_argument("--total", type=int, default=4000)
    args = parser.parse_args()
    generate(args.work, args.seed, args.keep, args.total)


if __name__ == "__main__":
    main()
