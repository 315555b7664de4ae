"""Labels: what MediaPipe's mesh says of clean pictures, averaged over crops so that it beats its single answer.

Faces come from the detector yunet_n (Apache-2.0). Each is cropped nine times, shifted, scaled, turned and mirrored by
a little, and the answers are laid over each other in the picture's pixels: the mean is the label, and the spread over
the eyes' distance says how far the teacher can be trusted there. Irises come from MediaPipe's iris model.

    python teacher.py SHARED LABELS.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime

from anonymizer.faces import topology
from anonymizer.faces.landmarks import Crop, Landmarker, crop_around, crop_at
from anonymizer.frame import Planes

sys.path.insert(0, str(Path(__file__).parent))
from pictures import listed

LONG_SIDE = 640
MIN_FACE = 40
VIEWS = ((0, 0, 1, 0), (0.04, 0, 1, 6), (-0.04, 0.02, 1.06, -6), (0, -0.04, 0.95, 3), (0.02, 0.04, 1.1, -3))
"""Shift right and down in sides, scale, turn in degrees."""


class Detection(NamedTuple):
    box: tuple[float, float, float, float]
    score: float
    points: np.ndarray


class Detector:
    """yunet_n at one size of picture: MODEL_CONTRACTS' decode, boxes in the picture's own pixels."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def __call__(self, bgr: np.ndarray, long_side: int = LONG_SIDE, threshold: float = 0.6) -> list[Detection]:
        scale = long_side / max(bgr.shape[:2])
        small = cv2.resize(
            bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        height, width = (side + 31 & ~31 for side in small.shape[:2])
        picture = np.zeros((height, width, 3), np.float32)
        picture[: small.shape[0], : small.shape[1]] = small
        out = self.session.run(None, {"input": picture.transpose(2, 0, 1)[None]})
        boxes, scores, points = [], [], []
        for i, stride in enumerate((8, 16, 32)):
            cls, obj, box, kps = (out[i + 3 * k][0] for k in range(4))
            score = np.sqrt(cls[:, 0] * obj[:, 0])
            rows, columns = np.mgrid[: height // stride, : width // stride]
            cells = np.stack([columns.ravel(), rows.ravel()], 1)
            keep = score > threshold
            centre = (cells[keep] + box[keep, :2]) * stride
            size = np.exp(box[keep, 2:]) * stride
            boxes.append(np.concatenate([centre - size / 2, size], 1))
            scores.append(score[keep])
            points.append((kps[keep].reshape(-1, 5, 2) + cells[keep][:, None]) * stride)
        box, score, five = (np.concatenate(part) for part in (boxes, scores, points))
        kept = cv2.dnn.NMSBoxes(box.tolist(), score.tolist(), threshold, 0.4)
        return [
            Detection(tuple(float(v) for v in box[k] / scale), float(score[k]), (five[k] / scale).astype(np.float32))
            for k in np.array(kept).ravel()
        ]


def planes_of(bgr: np.ndarray) -> Planes:
    """A BGR picture as 4:2:0 planes of full height and width, odd sides padded by a repeated row or column."""
    bgr = cv2.copyMakeBorder(bgr, 0, bgr.shape[0] % 2, 0, bgr.shape[1] % 2, cv2.BORDER_REPLICATE)
    height, width = bgr.shape[:2]
    flat = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    chroma = flat[height:].reshape(2, height // 2, width // 2)
    return Planes(flat[:height], chroma[0], chroma[1])


class Teacher:
    def __init__(self, shared: Path) -> None:
        models = shared / "models"
        self.detector = Detector(models / "yunet_n_dynamic.onnx")
        self.mesh = Landmarker(models / "mp_face_landmark_468.onnx")
        self.iris = Landmarker(models / "mp_face_landmark_468.onnx", iris=models / "mp_iris_landmark.onnx")

    def face(self, planes: Planes, found: Detection) -> tuple[np.ndarray, float, float]:
        """Points float32 (200, 3) in pixels, depth around zero; presence 0–1; spread in eye distances."""
        first = self.mesh.at(planes, [crop_at(found.box, found.points)])
        crop = crop_around(first.points[0])
        # The iris model's crops hang on the mesh's eyes, so it runs once, on the best view.
        sharp = self.iris.at(planes, [crop])
        views = [
            Crop(crop.x + dx * crop.side, crop.y + dy * crop.side, crop.side * grow, crop.roll + np.radians(turn))
            for dx, dy, grow, turn in VIEWS
        ]
        seen = self.mesh.at(planes, views)
        flipped = Planes(*(np.ascontiguousarray(plane[:, ::-1]) for plane in (planes.y, planes.u, planes.v)))
        mirrored = [Crop(planes.width - view.x, view.y, view.side, -view.roll) for view in views[:4]]
        back = self.mesh.at(flipped, mirrored)
        other = back.points[:, topology.MIRROR].copy()
        other[:, :, 0] = planes.width - other[:, :, 0]
        solids = np.concatenate([seen.solid, np.concatenate([other, back.depth[:, topology.MIRROR, None]], 2)])
        solids[:, :, 2] -= solids[:, :, 2].mean(1, keepdims=True)
        label = solids.mean(0)
        centres = topology.eye_centres(label[None, :, :2])[0]
        for iris, outline in ((topology.IRIS_RIGHT, topology.EYE_RIGHT), (topology.IRIS_LEFT, topology.EYE_LEFT)):
            offset = sharp.points[0, iris] - sharp.points[0, outline].mean(0)
            label[iris, :2] = label[outline, :2].mean(0) + offset
            label[iris, 2] = label[outline, 2].mean()
        reach = max(float(np.hypot(*(centres[1] - centres[0]))), 0.2 * crop.side / 1.5)
        spread = float(np.linalg.norm(solids[:, :, :2] - label[None, :, :2], axis=2)[:, :198].mean()) / reach
        presence = float(np.concatenate([seen.presence, back.presence]).mean())
        return label.astype(np.float32), presence, spread


def label(shared: Path, target: Path, limit: int | None = None) -> None:
    """Label every picture, or every nth so that about limit remain, and write target (.npz)."""
    cv2.setNumThreads(1)
    teacher = Teacher(shared)
    names, boxes, labels, presences, spreads = [], [], [], [], []
    paths = listed(shared)
    if limit:
        paths = paths[:: max(1, len(paths) // limit)]
    for number, path in enumerate(paths):
        bgr = cv2.imread(str(path))
        # Small photographs are one face each: looked at larger, they give a better box.
        long_side = 1024 if path.parent.name == "people" else 320
        planes = planes_of(bgr)
        for found in teacher.detector(bgr, long_side):
            if max(found.box[2:]) < MIN_FACE:
                continue
            points, presence, spread = teacher.face(planes, found)
            names.append(str(path.relative_to(shared)))
            boxes.append(found.box)
            labels.append(points)
            presences.append(presence)
            spreads.append(spread)
        if number % 500 == 0:
            print(f"{number} of {len(paths)} pictures, {len(names)} faces", flush=True)
    np.savez_compressed(
        target,
        names=np.array(names),
        boxes=np.array(boxes, np.float32),
        labels=np.array(labels, np.float32),
        presences=np.array(presences, np.float32),
        spreads=np.array(spreads, np.float32),
    )
    print(f"{len(names)} faces of {len(paths)} pictures in {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("labels", type=Path)
    arguments = parser.parse_args()
    label(arguments.shared, arguments.labels)


if __name__ == "__main__":
    main()
