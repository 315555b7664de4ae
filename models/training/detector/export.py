"""Write a trained network as ONNX with YuNet's contract, dynamic in batch, height and width."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import onnx
import torch
from net import SCALE, STRIDES, Contract, Detector

SHIFT = 0.5
"""See ``Contract``. With it the whole path paints less than 0.5 % of the picture needlessly on the labelled footage."""

NAMES = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]


def fuse(net: Detector) -> Detector:
    """A copy whose batch normalisations are folded into the convolutions before them, as is the input's scale."""
    net = copy.deepcopy(net).float().eval()
    for parent in net.modules():
        if isinstance(parent, torch.nn.Sequential):
            for i in range(len(parent) - 1):
                a, b = parent[i], parent[i + 1]
                if isinstance(a, torch.nn.Conv2d) and isinstance(b, torch.nn.BatchNorm2d):
                    parent[i] = torch.nn.utils.fuse_conv_bn_eval(a, b)
                    parent[i + 1] = torch.nn.Identity()
    first = net.stem[0]
    assert isinstance(first, torch.nn.Conv2d)
    with torch.no_grad():
        first.weight *= SCALE
    net.folded = True
    return net


def export(net: Detector, path: Path, shift: float = SHIFT) -> None:
    """Write ``net`` to ``path``; opset 13, float32."""
    model = Contract(fuse(net), shift).eval()
    axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    axes.update({name: {0: "batch", 1: "dim"} for name in NAMES})
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, 320, 320),),
        str(path),
        input_names=["input"],
        output_names=NAMES,
        dynamic_axes=axes,
        opset_version=13,
        dynamo=False,
    )
    graph = onnx.load(str(path))
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def restore(path: Path) -> Detector:
    """The averaged network of a checkpoint."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = Detector(**state["shape"])
    net.load_state_dict(state["average"])
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("onnx", type=Path)
    args = parser.parse_args()
    export(restore(args.checkpoint), args.onnx)
    print(args.onnx, args.onnx.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
