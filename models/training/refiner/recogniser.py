"""The recogniser that guides, Open Model Zoo's face-reidentification-retail-0095 (Apache-2.0), in PyTorch.

Its ONNX graph has seven kinds of node, so that a few lines run it. What judges (attackers/) is never loaded here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

SIDE = 128
TEMPLATE = SIDE * np.array(
    [[0.31557, 0.46157], [0.68262, 0.46157], [0.50026, 0.64051], [0.34947, 0.82470], [0.65343, 0.82470]], np.float32
)


class Recogniser(nn.Module):
    """crops (n, 3, 128, 128) BGR 0–255 → unit vectors (n, 256). No weight of it is trained."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = onnx.load(str(path)).graph
        self.input, self.output = graph.input[0].name, graph.output[0].name
        self.nodes = [
            (n.op_type, list(n.input), n.output[0], {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute})
            for n in graph.node
        ]
        self.values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
        known = {"Conv", "Add", "Mul", "PRelu", "AveragePool", "Sigmoid", "Identity"}
        if more := {node[0] for node in self.nodes} - known:
            raise ValueError(f"{path}: nodes that are not known: {', '.join(sorted(more))}")

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        at = {**self.values, self.input: crops}
        for kind, names, out, attributes in self.nodes:
            x = [at[name] for name in names]
            if kind == "Conv":
                pads = attributes.get("pads", [0, 0, 0, 0])
                bias = x[2] if len(x) > 2 else None
                at[out] = functional.conv2d(
                    x[0], x[1], bias, attributes["strides"], pads[:2], attributes["dilations"], attributes["group"]
                )
            elif kind == "Add":
                at[out] = x[0] + x[1]
            elif kind == "Mul":
                at[out] = x[0] * x[1]
            elif kind == "PRelu":
                at[out] = torch.where(x[0] < 0, x[0] * x[1], x[0])
            elif kind == "AveragePool":
                at[out] = functional.avg_pool2d(x[0], attributes["kernel_shape"], attributes.get("strides"))
            elif kind == "Sigmoid":
                at[out] = torch.sigmoid(x[0])
            else:
                at[out] = x[0]
        return functional.normalize(at[self.output].flatten(1))
