"""How near sampled people come to the portraits they were built from, and to each other, by both recognisers.

    python models/training/identities/score.py --shared ../shared [--count 1000] [--model models/face_model.npz]

The bar is the portraits' own: the 95th percentile, over all portraits, of the cosine similarity to the nearest other
portrait. The people of the model's list (``vet.py``) are drawn with their own shape on the plain head of
``anonymizer.synthesis.preview``, which all of them share: it makes them somewhat more alike than they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import geometry
import numpy as np
from nets import Detector, Mesh, Recogniser, recognisers

from anonymizer.faces import topology
from anonymizer.synthesis import bank, preview
from anonymizer.synthesis.bank import FaceModel

UNSEEN = 10**6


def nearest(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """(n, d) unit vectors → (n,) similarity to the nearest of b, or to the nearest other one of a."""
    similarity = a @ (a if b is None else b).T
    if b is None:
        np.fill_diagonal(similarity, -1)
    return similarity.max(1)


def percentiles(values: np.ndarray) -> dict[str, float]:
    found = np.percentile(values, [5, 50, 95, 99, 100])
    return dict(zip(("p5", "p50", "p95", "p99", "max"), found.round(4).tolist(), strict=True))


def portraits(shared: Path, nets: dict[str, Recogniser], cache: Path | None) -> dict[str, np.ndarray]:
    """By recogniser, the unit vectors (n, d) of every portrait in which the mesh is sure of a face.

    cache: a file that keeps them between runs.
    """
    if cache is not None and cache.exists():
        stored = np.load(cache)
        return {name: stored[name] for name in nets}
    detector, mesh = Detector(shared / "models"), Mesh(shared / "models")
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in nets}
    for file in sorted((shared / "faces").glob("*.jpg")):
        bgr = cv2.imread(str(file))
        faces = detector(bgr)
        found = mesh(bgr, faces[0]) if len(faces) else (None, 0.0)
        if found[0] is None or found[1] < 0.9:
            continue
        five = topology.five_points(geometry.points_200(found[0][None])[:, :, :2])[0]
        for name, net in nets.items():
            vectors[name].append(net(bgr, five))
    known = {name: np.array(v) for name, v in vectors.items()}
    if cache is not None:
        np.savez(cache, **known)
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", type=Path, default=Path("models/face_model.npz"))
    parser.add_argument("--count", type=int, help="the first so many of the listed people; else all")
    parser.add_argument("--unlisted", action="store_true", help="people as they come, of numbers nobody has looked at")
    parser.add_argument("--yaw", type=float, default=0.0, help="degrees by which the people's heads are turned")
    parser.add_argument("--cache", type=Path, help="where the portraits' vectors are kept between runs")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    nets = recognisers(options.shared)
    known = portraits(options.shared, nets, options.cache)
    model = FaceModel.load(options.model)
    numbers = model.people[: options.count]
    if options.unlisted:
        numbers = UNSEEN + np.arange(options.count or 1000)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in nets}
    view = preview.View(yaw=options.yaw)
    for number in numbers.tolist():
        person = bank.sample(model, bank.key_of(number))
        bgr = preview.picture(model, person, view, 224)
        landmarks = preview.placed(person, view, 224)
        five = topology.five_points(landmarks[None])[0]
        for name, net in nets.items():
            drawn[name].append(net(bgr, five))
    report = {}
    for name, vectors_of_portraits in known.items():
        people = np.array(drawn[name])
        own = nearest(vectors_of_portraits)
        to_portraits, to_people = nearest(people, vectors_of_portraits), nearest(people)
        bar = float(np.percentile(own, 95))
        report[name] = {
            "portraits": len(own),
            "people": len(people),
            "bar": round(bar, 4),
            "portrait to nearest other portrait": percentiles(own),
            "person to nearest portrait": percentiles(to_portraits),
            "person to nearest other person": percentiles(to_people),
            "above the bar, to a portrait": int((to_portraits > bar).sum()),
            "above the bar, to another person": int((to_people > bar).sum()),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
