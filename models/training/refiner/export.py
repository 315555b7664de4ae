"""Mix checkpoints, write them as ONNX, make it one of 8 bits, and say what that costs.

    python export.py RUN models/face_refiner.onnx --weights RUN/refiner.pt [RUN/sharp.pt] [--share 0.6]

share: of the second checkpoint in the mean of the weights. Batch normalisation is measured again for the mixture and
folded into the convolutions. Convolutions get 8-bit activations and 7-bit weights, per channel: with 8 bits, products
of two overflow on processors without VNNI. The last one stays of 32 bits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from net import RefinerNet
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn
from train import Pairs

from anonymizer.synthesis.refiner import CHANNELS, SIZE, load

LARGEST, OFF = 600_000, 3.0
"""Bytes that the file may have, and grey levels (root mean square inside the mask) it may be off the trained net."""


def mixed(checkpoints: list[Path], share: float, pairs: Pairs) -> RefinerNet:
    """The net with the mean of the checkpoints' weights."""
    states = [torch.load(path) for path in checkpoints]
    net = RefinerNet()
    if len(states) == 1:
        net.load_state_dict(states[0])
        return net.eval()
    first, second = states
    net.load_state_dict(
        {k: torch.lerp(v, second[k], share) if v.dtype.is_floating_point else v for k, v in first.items()}
    )
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean
    rng = np.random.default_rng(2)
    every = np.concatenate([pairs.own, pairs.others])
    with torch.no_grad():
        for _ in range(20):
            net(pairs.at(rng.choice(every, 64))[0])
    return net.eval()


class _Batches(CalibrationDataReader):
    def __init__(self, pairs: Pairs, count: int) -> None:
        rng = np.random.default_rng(0)
        every = np.concatenate([pairs.own, pairs.others])
        self._left = [np.ascontiguousarray(pairs.faces[rng.choice(every, 32)]) for _ in range(count)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {"faces": self._left.pop()} if self._left else None


def export(checkpoints: list[Path], share: float, run: Path, target: Path) -> None:
    pairs = Pairs(run)
    net = mixed(checkpoints, share, pairs)
    seen = pairs.at(pairs.held_others[:64] if len(pairs.held_others) >= 8 else pairs.others[:64])[0]
    with tempfile.TemporaryDirectory() as folder:
        whole, plain = Path(folder) / "whole.onnx", Path(folder) / "plain.onnx"
        torch.onnx.export(
            net,
            (torch.zeros(2, CHANNELS, SIZE, SIZE, dtype=torch.uint8),),
            str(whole),
            input_names=["faces"],
            output_names=["luma", "chroma"],
            dynamic_axes={name: {0: "n"} for name in ("faces", "luma", "chroma")},
            opset_version=17,
            dynamo=False,
        )
        quant_pre_process(str(whole), str(plain), skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(str(plain)).graph.node if node.op_type == "Conv"]
        quantize_static(
            str(plain),
            str(target),
            _Batches(pairs, 12),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Relu", "Add"],
            nodes_to_exclude=convolutions[-1:],
            extra_options={"ActivationSymmetric": False},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        full = onnxruntime.InferenceSession(str(whole), options, providers=["CPUExecutionProvider"])
        small = load(target)
        wanted, found = (s.run(["luma", "chroma"], {"faces": seen.numpy()}) for s in (full, small))
        with torch.no_grad():
            apart = float(np.abs(net(seen)[0].numpy() - wanted[0]).max())
        mask = seen[:, 3:4].numpy() > 127
        off = float(np.sqrt(np.square(wanted[0] - found[0])[mask].mean()))
        change = float(np.sqrt(np.square(wanted[0])[mask].mean()))
        costs = [_cost(s, seen.numpy()[:n]) for s, n in ((full, 1), (small, 1), (small, 4))]
    size = target.stat().st_size
    print(
        f"{target}: {size / 1e6:.3f} MB; ms a face on one thread: 32 bits {costs[0]:.2f}, 8 bits {costs[1]:.2f} alone, "
        f"{costs[2]:.2f} in batches of 4; 8 bits are {off:.2f} grey levels off changes of {change:.2f} (both RMS)"
    )
    if apart > 0.05 or off > OFF or size > LARGEST:
        sys.exit(f"{target}: too far off ({apart:.3f} by export, {off:.2f} by 8 bits) or too large ({size} bytes)")


def _cost(session: onnxruntime.InferenceSession, faces: np.ndarray, rounds: int = 60) -> float:
    session.run(None, {"faces": faces})
    began = time.process_time()
    for _ in range(rounds):
        session.run(None, {"faces": faces})
    return (time.process_time() - began) / rounds / len(faces) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--share", type=float, default=0.6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    export(options.weights, options.share, options.run, options.target)


if __name__ == "__main__":
    main()
