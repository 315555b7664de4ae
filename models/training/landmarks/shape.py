"""Print the rigid mean face that anonymizer/faces/pose.py carries.

    python shape.py labels.npz

The labels of all sure portraits and their mirror images, laid over each other by generalised Procrustes analysis
(Gower 1975), made symmetric, in eye distances.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from anonymizer.faces import topology

MIDLINE = (10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 19, 94, 2)
RIGHT = (33, 133, 127, 162, 234, 54, 103, 67, 50, 101, 117, 118, 122, 196, 129, 98, 104, 108)


def rotations(faces: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(n, 3, 3): those that turn the mean (p, 3) onto each face (n, p, 3)."""
    u, _, vt = np.linalg.svd(faces.transpose(0, 2, 1) @ mean)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    data = np.load(parser.parse_args().labels)
    sure = (data["presences"] > 0.99) & (data["spreads"] < 0.03)
    labels = data["labels"][sure & np.char.startswith(data["names"], "faces/")].astype(np.float64)
    mirrored = labels[:, topology.MIRROR] * (-1, 1, 1)
    right = topology.points(*RIGHT)
    rigid = np.concatenate([topology.points(*MIDLINE), right, topology.MIRROR[right]])
    faces = np.concatenate([labels, mirrored])
    eyes = topology.eye_centres(faces[:, :, :2])
    faces = faces[:, rigid]
    faces -= faces.mean(1, keepdims=True)
    size = np.sqrt((faces**2).sum((1, 2)))
    faces /= size[:, None, None]
    middle, half = len(MIDLINE), len(RIGHT)
    swapped = np.concatenate(
        [np.arange(middle), np.arange(middle + half, len(rigid)), np.arange(middle, middle + half)]
    )
    mean = faces.mean(0)
    for _ in range(20):
        upright = faces @ rotations(faces, mean)
        mean = upright.mean(0)
        mean = (mean + mean[swapped] * (-1, 1, 1)) / 2
        mean -= mean.mean(0)
        mean /= np.sqrt((mean**2).sum())
    frontal = np.abs(rotations(faces, mean)[:, 2, 0]) < 0.1
    mean /= np.median((np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1) / size)[frontal])
    for index, point in zip((*MIDLINE, *RIGHT), mean, strict=False):
        print(f"    {index}: ({point[0] + 0:.3f}, {point[1]:.3f}, {point[2]:.3f}),")
    print(f"# {len(labels)} faces")


if __name__ == "__main__":
    main()
