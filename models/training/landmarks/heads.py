"""Solve the net's last linear layers for the shards' answers at once, where steps would take long.

    python heads.py RUN

The layers that give the points are linear in the anchors' places and in the code, so the best of them follow from least
squares, each picture weighed as in training (``Loss``), twice over. RUN/checkpoint.pt is replaced; training may go on
from it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import views
from net import CODE, POINTS, LandmarkNet
from train import Shards, errors

RIDGE = 3e-4
"""Added to the squares of every feature, as a share of them."""


@torch.no_grad()
def features(net: LandmarkNet, shards: Shards, most: int) -> tuple[np.ndarray, ...]:
    """Features (n, KNOWN + CODE + 1), centres (n, 3), targets (n, 200, 3) and weights (n,) of labelled views."""
    kept: list[tuple[np.ndarray, ...]] = []
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        net.points.register_forward_pre_hook(lambda _, given: seen.update(anchors=given[0])),
        net.correct.register_forward_pre_hook(lambda _, given: seen.update(code=given[0])),
        net.register_forward_hook(lambda _, given, answer: seen.update(points=answer[0])),
    ]
    for images, looks in zip(shards.images, shards.views, strict=True):
        known = np.argwhere(looks[:, :, -1] > 0)
        for start in range(0, min(most, len(known)), 64):
            part = known[start : min(start + 64, most)]
            crops = np.stack([views.crop_of(images[tile], looks[tile, view])[0] for tile, view in part])
            points, *_ = net(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
            given = torch.cat([seen["anchors"], seen["code"], torch.ones(len(part), 1)], 1)
            linear = net.points(seen["anchors"]) + net.correct(seen["code"])
            centre = (points - linear.reshape(-1, POINTS, 3))[:, 0]
            target = looks[part[:, 0], part[:, 1], 5:]
            kept.append((given.numpy(), centre.numpy(), target[:, :-2].reshape(-1, POINTS, 3), target[:, -1]))
    for hook in hooks:
        hook.remove()
    return tuple(np.concatenate(part) for part in zip(*kept, strict=True))


def solve(net: LandmarkNet, shards: Shards, most: int = 2500) -> tuple[float, float]:
    """Replace the layers of net; mean error on the views that the mesh is sure of, before and after."""
    net.eval()
    given, centre, target, weight = features(net, shards, most)
    wanted = (target - centre[:, None]).reshape(len(target), -1)
    with torch.no_grad():
        answer = torch.cat([net.points.weight, net.correct.weight, net.points.bias[:, None]], 1).numpy().T.copy()

    def apart(answer: np.ndarray) -> np.ndarray:
        found = torch.from_numpy((given @ answer).reshape(target.shape) + centre[:, None])
        return 100 * errors(found, torch.from_numpy(target)).numpy()

    before = apart(answer)
    now = before
    for _ in range(2):
        share = given * (weight / (now + 1))[:, None]
        squares = (share.T @ given).astype(np.float64)
        squares += np.diag(RIDGE * np.diag(squares) + 1e-9)  # a feature that is never on keeps a weight of nothing
        answer = np.linalg.solve(squares, (share.T @ wanted).astype(np.float64)).astype(np.float32)
        now = apart(answer)
    width = given.shape[1] - CODE - 1
    with torch.no_grad():
        net.points.weight.copy_(torch.from_numpy(answer[:width].T))
        net.correct.weight.copy_(torch.from_numpy(answer[width:-1].T))
        net.points.bias.copy_(torch.from_numpy(answer[-1]))
    sure = weight == 1
    return float(before[sure].mean()), float(now[sure].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    shards = Shards(run / "shards")
    shards.look()
    state = torch.load(run / "checkpoint.pt")
    net = LandmarkNet()
    net.load_state_dict(state["average"])
    before, after = solve(net, shards)
    state["average"] = net.state_dict()
    state["net"] = {name: value.clone() for name, value in net.state_dict().items()}
    torch.save(state, run / "checkpoint.part")
    (run / "checkpoint.part").rename(run / "checkpoint.pt")
    print(f"error on {sum(len(part) for part in shards.images)} pictures: {before:.2f} % before, {after:.2f} % after")


if __name__ == "__main__":
    main()
