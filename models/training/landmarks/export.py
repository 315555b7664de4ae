"""Write the trained net as ONNX, check it against PyTorch, and say what it costs.

    python export.py RUN/checkpoint.pt face_landmarks.onnx

Batch normalisation is folded into the convolutions. Weights are stored as 16-bit floats, which halves the file;
onnxruntime widens them once when it loads the model, so the arithmetic stays that of 32 bits.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from net import SIZE, LandmarkNet


class Answer(nn.Module):
    """The net with a probability for a logit."""

    def __init__(self, net: LandmarkNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points, logit, *_ = self.net(crops)
        return points, torch.sigmoid(logit)


def session(model: str | bytes) -> onnxruntime.InferenceSession:
    """The model in one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def milliseconds(net: onnxruntime.InferenceSession, crops: np.ndarray) -> float:
    """CPU time of a face in a batch of crops."""
    began = time.process_time()
    for _ in range(50):
        net.run(None, {"crops": crops})
    return (time.process_time() - began) / (50 * len(crops)) * 1000


def halve(model: onnx.ModelProto) -> None:
    """Store every large weight as float16 behind a Cast to float32; onnxruntime folds the Cast at load."""
    casts = []
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < 256:
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def export(checkpoint: Path, target: Path, half: bool = True) -> None:
    net = LandmarkNet()
    net.load_state_dict(torch.load(checkpoint)["average"])
    answer = Answer(net).eval()
    crops = torch.rand(3, 3, SIZE, SIZE) * 255
    torch.onnx.export(
        answer,
        (crops,),
        str(target),
        input_names=["crops"],
        output_names=["landmarks", "presence"],
        dynamic_axes={"crops": {0: "n"}, "landmarks": {0: "n"}, "presence": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(target))
    if half:
        halve(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(target))

    exported = session(str(target))
    points, presence = exported.run(["landmarks", "presence"], {"crops": crops.numpy()})
    with torch.no_grad():
        wanted, sure = answer(crops)
    apart = max(float(np.abs(points - wanted.numpy()).max()), float(np.abs(presence - sure.numpy()).max()))
    if apart > 5e-3:
        sys.exit(f"{target}: the exported model differs from the trained one by {apart:.1e}")
    spent = milliseconds(exported, np.repeat(crops.numpy()[:1], 4, 0))
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, {spent:.2f} ms a face in batches of 4, off by {apart:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--full", action="store_true", help="keep 32-bit weights")
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.target, half=not arguments.full)


if __name__ == "__main__":
    main()
