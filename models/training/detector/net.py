"""The detector's network: five points, one anchor-free stage, strides 8, 16 and 32.

Input: float tensor (N, 3, H, W), BGR, 0-255, H and W multiples of 32.
Output of ``Detector.forward``: for each stride a float tensor (N, H/s, W/s, 15): one score logit,
four box numbers (dx, dy, log w, log h in cells), ten point numbers (x, y in cells, five points).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
CHANNELS = 15
SCALE = 1 / 64


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Separable(nn.Module):
    """Pointwise then depthwise convolution; adds its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.same = inputs == outputs
        self.point = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.depth = nn.Sequential(
            nn.Conv2d(outputs, outputs, kernel, 1, kernel // 2, groups=outputs, bias=False), nn.BatchNorm2d(outputs)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.depth(self.point(x))
        return self.act(y + x) if self.same else self.act(y)


class Detector(nn.Module):
    """Dense stem to stride 8, separable blocks above it, a top-down path and one block a head."""

    def __init__(
        self,
        stem: tuple[int, int] = (16, 32),
        widths: tuple[int, int, int] = (64, 64, 64),
        blocks: tuple[int, int, int] = (2, 3, 3),
        neck: int = 64,
    ) -> None:
        super().__init__()
        self.shape = {"stem": stem, "widths": widths, "blocks": blocks, "neck": neck}
        self.folded = False  # export puts SCALE into the first convolution
        self.stem = nn.Sequential(nn.Conv2d(3, stem[0], 3, 2, 1), nn.ReLU(inplace=True), conv(stem[0], stem[1], 3, 2))
        stages = []
        last = stem[1]
        for level, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            first = [conv(last, width, 3, 2)] if level == 0 else [nn.MaxPool2d(2), Separable(last, width)]
            kernel = 5 if level == 2 else 3
            stages.append(nn.Sequential(*first, *(Separable(width, width, kernel=kernel) for _ in range(count))))
            last = width
        self.stages = nn.ModuleList(stages)
        self.side = nn.ModuleList(
            nn.Identity() if w == neck else nn.Sequential(nn.Conv2d(w, neck, 1, bias=False), nn.BatchNorm2d(neck))
            for w in widths
        )
        self.mix = nn.ModuleList(Separable(neck, neck) for _ in STRIDES)
        self.tail = nn.ModuleList(nn.Conv2d(neck, CHANNELS, 1) for _ in STRIDES)
        for layer in self.tail:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.bias[0] = -4.6

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = self.stem(picture if self.folded else picture * SCALE)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        out: list[Tensor] = []
        above: Tensor | None = None
        for level in (2, 1, 0):
            x = self.side[level](maps[level])
            if above is not None:
                x = x + nn.functional.interpolate(above, scale_factor=2.0, mode="nearest")
            above = self.mix[level](x)
            out.insert(0, self.tail[level](above).permute(0, 2, 3, 1))
        return out


class Contract(nn.Module):
    """The network with the outputs of YuNet: cls, obj, bbox, kps for strides 8, 16, 32.

    shift: what is taken from the logits of the scores, so that they mean about what yunet_n's mean.
    """

    def __init__(self, net: Detector, shift: float = 0.0) -> None:
        super().__init__()
        self.net = net
        self.shift = shift

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        maps = [m.flatten(1, 2) for m in self.net(picture)]
        scores = [(m[..., :1] - self.shift).sigmoid() for m in maps]
        # obj equals cls; the multiplication keeps the two outputs apart in the graph
        return (*scores, *(s * 1.0 for s in scores), *(m[..., 1:5] for m in maps), *(m[..., 5:] for m in maps))


def parameters(net: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in net.parameters())
