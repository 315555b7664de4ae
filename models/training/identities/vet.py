"""Choose the people that the bank may draw: strangers to each other and to every portrait.

    python models/training/identities/vet.py --shared ../shared [--count 2048] [--model models/face_model.npz]

Candidates are taken in the order of their numbers. One is left out if it is made of much the same donors as somebody
already chosen, if its donor of cheeks has had its share (so that every donor's age and sex stays in the bank as often
as it was), or if the recogniser omz-0095, which may guide, finds it within MARGIN of the portraits' own 95th
percentile (``score.py``) to a portrait or to somebody chosen, in any of VIEWS. The other recogniser only scores: what
it says decides nothing here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from nets import recognisers
from score import nearest, portraits

from anonymizer.faces import topology
from anonymizer.synthesis import bank, preview
from anonymizer.synthesis.bank import FaceModel

MARGIN = 0.15
VIEWS = (preview.View(),)


def much_shared(donors: np.ndarray, chosen: np.ndarray) -> bool:
    """Whether somebody chosen (k, 6) has three of the donors (6,), or the cheeks' donor and another."""
    same = chosen == donors
    count = same.sum(1)
    return bool(((count >= 3) | (same[:, 0] & (count >= 2))).any())


def vet(model: FaceModel, shared: Path, count: int, known: np.ndarray) -> tuple[list[int], dict[str, int]]:
    """Numbers of count people, and how many were left out for what. known: (n, d) the portraits' vectors."""
    net = recognisers(shared)["omz"]
    limit = float(np.percentile(nearest(known), 95)) - MARGIN
    n = len(model.luma)
    share = -(-count // n) + 1
    chosen: list[int] = []
    had = np.zeros(n, int)
    donors = np.empty((count, len(bank.PARTS)), int)
    vectors = np.empty((len(VIEWS), count, known.shape[1]), np.float32)
    left = {"share of cheeks used up": 0, "donors shared": 0, "near a portrait": 0, "near somebody": 0}
    number = -1
    while len(chosen) < count:
        number += 1
        key, have = bank.key_of(number), len(chosen)
        parts = np.array(bank.donors_of(model, key)) % n
        if had[parts[0]] >= share:
            left["share of cheeks used up"] += 1
            continue
        if much_shared(parts, donors[:have]):
            left["donors shared"] += 1
            continue
        person = bank.sample(model, key)
        seen = []
        for view in VIEWS:
            five = topology.five_points(preview.placed(person, view, 224)[None])[0]
            seen.append(net(preview.picture(model, person, view, 224), five))
        if max(float((known @ vector).max()) for vector in seen) > limit:
            left["near a portrait"] += 1
            continue
        if have and max(float((old[:have] @ vector).max()) for old, vector in zip(vectors, seen, strict=True)) > limit:
            left["near somebody"] += 1
            continue
        donors[have], vectors[:, have] = parts, seen
        had[parts[0]] += 1
        chosen.append(number)
        if len(chosen) % 100 == 0:
            print(f"{len(chosen)} chosen of {number + 1}", flush=True)
    print(f"cheeks by donor: {had.min()} to {had.max()} people each; limit {limit:.3f}")
    return chosen, left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--model", type=Path, default=Path("models/face_model.npz"))
    parser.add_argument("--count", type=int, default=2048)
    parser.add_argument("--cache", type=Path, help="where the portraits' vectors are kept between runs")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    known = portraits(options.shared, recognisers(options.shared), options.cache)["omz"]
    with np.load(options.model) as stored:
        arrays = {name: stored[name] for name in stored.files}
    chosen, left = vet(FaceModel.load(options.model), options.shared, options.count, known)
    arrays["people"] = np.array(chosen, np.int32)
    np.savez_compressed(options.model, **arrays)
    print(f"{len(chosen)} people of the first {chosen[-1] + 1}; left out: {left}")


if __name__ == "__main__":
    main()
