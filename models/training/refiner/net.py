"""The refiner's net: a residual U-Net on quarter resolution, and the discriminator that watches it.

Eight channels of 96 × 96 are folded into 24 × 24 (PixelUnshuffle), so that most of the work is done on few pixels; what
comes out is unfolded again. The changes are limited by a tanh and fade out with the mask.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from anonymizer.synthesis.refiner import CHANNELS

FOLD = 4
WIDTHS = (32, 56, 80)
MOST = (56.0, 20.0)
"""Largest change of luma and of chroma, in grey levels."""


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.second(self.first(x)))


class RefinerNet(nn.Module):
    """faces uint8 (n, 8, 96, 96) → changes of luma (n, 1, 96, 96) and of Cb, Cr (n, 2, 48, 48) in grey levels."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.fold = nn.PixelUnshuffle(FOLD)
        self.enter = _conv(CHANNELS * FOLD * FOLD, a, kernel=1)
        self.at24 = Residual(a)
        self.to12 = nn.Sequential(_conv(a, b, 2), Residual(b))
        self.to6 = nn.Sequential(_conv(b, c, 2), Residual(c), Residual(c))
        self.from6, self.merge12 = _conv(c, b, kernel=1), Residual(b)
        self.from12, self.merge24 = _conv(b, a, kernel=1), nn.Sequential(Residual(a), Residual(a))
        self.up = nn.Upsample(scale_factor=2)
        self.leave = nn.Conv2d(a, FOLD * FOLD + 2 * (FOLD // 2) ** 2, 1)
        self.unfold, self.unfold_half = nn.PixelShuffle(FOLD), nn.PixelShuffle(FOLD // 2)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = faces.float() * (1 / 127.5) - 1
        mask = faces[:, 3:4].float() * (1 / 255)
        at24 = self.at24(self.enter(self.fold(x)))
        at12 = self.to12(at24)
        back = self.merge12(at12 + self.up(self.from6(self.to6(at12))))
        back = self.leave(self.merge24(at24 + self.up(self.from12(back)))).float()
        luma = torch.tanh(self.unfold(back[:, : FOLD * FOLD])) * MOST[0] * mask
        half = functional.avg_pool2d(mask, 2)
        return luma, torch.tanh(self.unfold_half(back[:, FOLD * FOLD :])) * MOST[1] * half


class Discriminator(nn.Module):
    """Pictures (n, 1, 96, 96), luma in -1–1, and their high frequencies → whether patches are real (n, 1, 12, 12)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()

        def step(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 4 if stride == 2 else 3, stride, 1), nn.LeakyReLU(0.2))

        self.steps = nn.ModuleList(
            [step(3, width, 2), step(width, 2 * width, 2), step(2 * width, 3 * width, 2), step(3 * width, 3 * width, 1)]
        )
        self.judge = nn.Conv2d(3 * width, 1, 3, 1, 1)

    def forward(self, luma: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x = torch.cat([luma, 4 * (luma - blur(luma)), mask], 1)
        seen = []
        for step in self.steps:
            x = step(x)
            seen.append(x)
        return self.judge(x), seen


def blur(x: torch.Tensor) -> torch.Tensor:
    """A binomial blur 5 pixels wide; the rim goes on outside."""
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16
    n = x.shape[1]
    kernel = line.expand(n, 1, 5)
    x = functional.conv2d(functional.pad(x, (2, 2, 0, 0), "replicate"), kernel[:, :, None], groups=n)
    return functional.conv2d(functional.pad(x, (0, 0, 2, 2), "replicate"), kernel[..., None], groups=n)
