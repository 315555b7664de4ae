"""Find what a student wrongly takes for faces in the training photographs: ``python mine.py STUDENT.onnx WORK``.

Writes WORK/hard.npz: for each photograph (folder/name) float32 rows of x, y, w, h, score in its pixels. The generator
shows these places more often (see pictures.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from pictures import DRAWN
from score import fit
from teacher import Array, Runner, aside, labels, overlaps, shared


def mistakes(runner: Runner, name: str, faces: Array, threshold: float) -> Array:
    """The student's boxes far from every label, at several sizes of one photograph."""
    picture = cv2.imread(str(shared() / name))
    if picture is None:
        return np.zeros((0, 5), np.float32)
    out = []
    for size in (320, 480, 640, 960):
        small, scale = fit(picture.astype(np.uint8), size, enlarge=True)
        for row in runner.find(small, threshold):
            box = row[:4] / scale
            middle = box[:2] + box[2:] / 2
            held = (faces[:, :2] <= middle).all(1) & (middle <= faces[:, :2] + faces[:, 2:4]).all(1)
            if not held.any() and overlaps(box, faces).max(initial=0) < 0.1:
                out.append(np.array([*box, row[14]], np.float32))
    return np.stack(out) if out else np.zeros((0, 5), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("student", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threshold", type=float, default=0.15)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    runner = Runner(args.student)
    found = {}
    for name, faces in labels(args.work / "labels.npz").items():
        folder, stem = name.split("/")[-2], Path(name).stem
        if folder not in ("people", "scenes") or aside(shared() / name) or (folder == "people" and stem in DRAWN):
            continue
        rows = mistakes(runner, name, faces if folder == "people" else faces[:0], args.threshold)
        if len(rows):
            found[name] = rows
    np.savez(args.work / "hard.npz", **found)  # type: ignore[arg-type]
    print(sum(len(r) for r in found.values()), "mistakes in", len(found), "photographs")


if __name__ == "__main__":
    main()
