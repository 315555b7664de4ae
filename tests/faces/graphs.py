"""ONNX models for tests: whatever the input is, each output is a given array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write(path: Path, outputs: Mapping[str, np.ndarray], shape: Sequence[int | str], *, name: str = "input") -> Path:
    """A model with one float input of that name and shape, whose outputs are the given arrays."""
    arrays = {output: np.asarray(array, np.float32) for output, array in outputs.items()}
    graph = helper.make_graph(
        [helper.make_node("Constant", [], [o], value=numpy_helper.from_array(a)) for o, a in arrays.items()],
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, a.shape) for o, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
