"""Let training begin with the weights of an exported net instead of with none.

    python warm.py float.onnx RUN          RUN/shards must hold a shard; then train.py goes on from RUN/checkpoint.pt

RUN/begun.pt is the same and stays, for ``average``.

An export has its batch normalisation folded into the convolutions. Here each gets one again that changes nothing: its
mean and variance are measured on pictures, and its weight and bias undo them. Layers that the export lacks begin as new
ones, and the points do not hang on their places yet. Only 32-bit exports can be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from export import session
from net import LandmarkNet
from train import Shards

BATCHES, BATCH = 24, 64


def named(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Weights and biases by the names of the net's layers."""
    values = {one.name.removesuffix("_half"): numpy_helper.to_array(one) for one in graph.initializer}
    found: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op_type not in {"Conv", "Gemm", "MatMul"}:
            continue
        path: list[str] = []
        for part in node.name.split("/")[2:-1]:  # of to24, to24.0 and first only the last two are a path
            if path and part.startswith(f"{path[-1]}."):
                path.pop()
            path.append(part)
        layer = ".".join(path)
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=False):
            if name in values:
                turned = node.op_type == "MatMul"
                found[f"{layer}.{kind}"] = (values[name].T if turned else values[name]).astype(np.float32)
    return found


@torch.no_grad()
def start(net: LandmarkNet, source: Path, batches: list[torch.Tensor]) -> list[str]:
    """Put the weights of source into net; names of those that it lacks. batches: crops float32 (n, 3, 96, 96) to
    measure by."""
    found = named(onnx.load(str(source)).graph)
    state = net.state_dict()
    convolutions = {name for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d) and layer.bias is None}
    for name, value in found.items():
        layer, _, kind = name.rpartition(".")
        if layer in convolutions and kind == "bias":
            continue
        wanted = state[name]
        if wanted.shape == value.shape:
            wanted.copy_(torch.from_numpy(value))
        else:  # points: more places than there were
            wanted.zero_()
            wanted[:, : value.shape[1]] = torch.from_numpy(value)
    net.eval()
    sums: dict[str, list[torch.Tensor]] = {}
    norms = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    before = {name: f"{name.rpartition('.')[0]}.{int(name.rpartition('.')[2]) - 1}" for name in norms}
    old = {name for name in norms if f"{before[name]}.bias" in found}
    for name, norm in norms.items():
        if name in old:
            norm.weight.fill_(1)
            norm.eps, norm.bias[:] = 0.0, torch.from_numpy(found[f"{before[name]}.bias"])
        norm.register_forward_hook(
            lambda _, given, __, name=name: sums.setdefault(name, []).append(
                torch.stack([given[0].mean((0, 2, 3)), given[0].square().mean((0, 2, 3))])
            )
        )
    for crops in batches:
        net(crops)
    for name, norm in norms.items():
        norm._forward_hooks.clear()
        norm.eps = 1e-5
        mean, square = torch.stack(sums[name]).mean(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_((square - mean * mean).clamp(min=1e-6))
        if name in old:
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())
            norm.bias.add_(mean)
    net.train()
    there = {name.split(".")[0] for name in found}
    return [name for name in state if name.split(".")[0] not in there]


def begin(source: Path, run: Path) -> float:
    """Write run/checkpoint.pt and run/begun.pt; how far the net's points are from those of source at most, in
    fractions of the side."""
    shards = Shards(run / "shards")
    shards.look()
    rng = np.random.default_rng(0)
    batches = [shards.batch(rng, BATCH)[0] for _ in range(BATCHES)]
    net = LandmarkNet()
    new = start(net, source, batches)
    state = net.state_dict()
    begun = {"net": state, "average": state, "new": new, "elapsed": 0.0, "step": 0, "first": 0.0, "running": 0.0}
    for name in ("begun.pt", "checkpoint.pt"):
        torch.save(begun, run / name)
    with torch.no_grad():
        points = net.eval()(batches[0])[0].numpy()
    return float(np.abs(points - session(str(source)).run(["landmarks"], {"crops": batches[0].numpy()})[0]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"differs by {begin(arguments.source, arguments.run):.1e}")


if __name__ == "__main__":
    main()
