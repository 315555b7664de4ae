"""How far the net is from the 468-point mesh on real clips that it never saw.

On every labelled frame the detector yunet_n finds the faces. The mesh and the net each get the crop that follows from
its box and five points, on the original frame. Error: mean distance over the 198 points of the mesh, over the
distance of the eyes' centres. Faces count where the mesh itself is sure (presence above 0.5). "mesh again" is the mesh
against itself, its crop taken from its own landmarks instead: no net can be asked to come nearer than about that.

    python score.py SHARED face_landmarks.onnx
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from teacher import Detector

from anonymizer.faces import topology
from anonymizer.faces.landmarks import Landmarker, crop_around, crop_at
from anonymizer.faces.pose import pose_of
from anonymizer.frame import Planes

CLIPS = ("street_operahouse_1080p", "people-walking", "asl_*", "liveportrait_*")
HEIGHTS = ((48, 1e9, 3.5), (24, 48, 7.0), (16, 24, None))
"""Height of the detector's box in pixels, from and to, and the bar in per cent."""


def frames(shared: Path, labels: Path) -> Iterator[tuple[int, Planes, np.ndarray]]:
    """Number, planes and BGR of each labelled frame of a clip."""
    about = json.loads(labels.read_text())
    wanted = {frame["index"] for frame in about["frames"]}
    with av.open(str(shared / "footage" / about["bundle_path"])) as clip:
        for number, frame in enumerate(clip.decode(video=0)):
            if number not in wanted:
                continue
            flat = frame.to_ndarray(format="yuv420p")
            height, width = frame.height & ~1, frame.width & ~1
            chroma = flat[frame.height :].reshape(2, frame.height // 2, frame.width // 2)
            planes = Planes(flat[:height, :width], chroma[0], chroma[1], frame.color_range == 2)
            yield number, planes, planes.bgr()


def error(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n, 200, 2) twice → (n,) mean error over the mesh's points in per cent of the eyes' distance."""
    eyes = topology.eye_centres(truth)
    distance = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)
    return 100 * np.linalg.norm(points - truth, axis=2)[:, :-2].mean(1) / distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--jitter", type=float, default=0, help="move and scale each box by up to this share")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    models = arguments.shared / "models"
    detector, mesh = Detector(models / "yunet_n_dynamic.onnx"), Landmarker(models / "mp_face_landmark_468.onnx")
    iris = Landmarker(models / "mp_face_landmark_468.onnx", iris=models / "mp_iris_landmark.onnx")
    net = Landmarker(arguments.model)
    rng = np.random.default_rng(0)
    rows: list[tuple[str, float, float, float, float, float, float]] = []
    paths = sorted(path for clip in CLIPS for path in (arguments.shared / "labels/dev").glob(f"{clip}.json"))
    for path in paths:
        for _, planes, bgr in frames(arguments.shared, path):
            found = detector(bgr, max(320, *bgr.shape[:2]), 0.6)
            found = [one for one in found if one.box[3] >= HEIGHTS[-1][0]]
            if not found:
                continue
            crops = [crop_at(one.box, one.points) for one in found]
            truth = mesh.at(planes, crops)
            again = mesh.at(planes, [crop_around(points) for points in truth.points])
            if arguments.jitter:
                boxes = [jittered(one.box, arguments.jitter, rng) for one in found]
                seen = net.at(planes, [crop_at(box, one.points) for box, one in zip(boxes, found, strict=True)])
            else:
                seen = net.at(planes, crops)
            close = iris.at(planes, crops).points[:, -2:]
            eyes = topology.eye_centres(truth.points)
            distance = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)
            irises = 100 * np.linalg.norm(seen.points[:, -2:] - close, axis=2).mean(1) / distance
            errors, floor = error(seen.points, truth.points), error(again.points, truth.points)
            turned = np.abs(pose_of(seen.solid) - pose_of(truth.solid))[:, :2].mean(1)
            yaw = np.abs(pose_of(truth.solid)[:, 0])
            for i, one in enumerate(found):
                if truth.presence[i] > 0.5:
                    name = path.stem.split("_")[0]
                    rows.append((name, one.box[3], errors[i], floor[i], irises[i], turned[i], yaw[i], seen.presence[i]))
    names = np.array([row[0] for row in rows])
    table = np.array([row[1:] for row in rows])
    print("clip             height    faces  error  median  mesh again  iris  pose °  present")
    for name in ["all", "all, yaw < 50", *dict.fromkeys(names)]:
        chosen = np.ones(len(names), bool) if name.startswith("all") else names == name
        if name.endswith("50"):
            chosen &= table[:, 5] < 50
        for low, high, bar in HEIGHTS:
            part = table[chosen & (table[:, 0] >= low) & (table[:, 0] < high)]
            if len(part):
                size = f"{low}–{high:.0f}" if high < 1e9 else f"≥ {low}"
                verdict = "" if bar is None else f"  (bar {bar} %)"
                print(
                    f"{name:16} {size:>6} {len(part):8d} {part[:, 1].mean():6.2f} {np.median(part[:, 1]):7.2f} "
                    f"{part[:, 2].mean():11.2f} {part[:, 3].mean():5.1f} {part[:, 4].mean():7.1f} "
                    f"{100 * (part[:, 6] > 0.5).mean():7.1f} %{verdict}"
                )


def jittered(box: tuple[float, ...], share: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    x, y, width, height = box
    dx, dy = rng.uniform(-share, share, 2)
    grow = 1 + rng.uniform(-share, share)
    centre = x + width / 2 + dx * width, y + height / 2 + dy * height
    return centre[0] - width * grow / 2, centre[1] - height * grow / 2, width * grow, height * grow


if __name__ == "__main__":
    main()
