"""The landmark net: heat maps for 64 of the points, from which all 200 follow, and what the maps cannot say.

A small residual net goes down to a 3 × 3 map and back up to 24 × 24, where each of 64 anchors gets a heat map whose
centre of mass is its place (Sun 2018, Nibali 2018). Place is thus read off the map instead of learnt by heart, which
takes far fewer pictures. An open eye is hardly more than one cell high there, so 34 points of lids, irises and lips get
a second map of 48 × 48, of which only the window where they can be is computed. All 200 points, with depth, are linear
in the places of both about the anchors' centre, plus a correction that is linear in a code taken from the 3 × 3 map: it
brings depth, expression, and what lies outside the crop.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from anonymizer.faces import topology

SIZE = 96
GRID = 24
POINTS = topology.COUNT
CODE = 64

ANCHORS = np.concatenate(
    [
        topology.points(33, 160, 158, 133, 153, 144, 263, 387, 385, 362, 380, 373),  # eyelids
        [topology.IRIS_RIGHT, topology.IRIS_LEFT],
        topology.points(70, 63, 105, 66, 107, 300, 293, 334, 296, 336),  # brows
        topology.points(168, 197, 5, 1, 98, 2, 327, 129, 358),  # nose
        topology.points(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # lips, outside
        topology.points(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inside
        topology.points(10, 103, 332, 162, 389, 132, 361, 172, 397, 152, 205),  # outline, cheek
    ]
)
"""(64,) positions among the 200 points of those with a heat map."""

FINE = np.concatenate(
    [
        topology.points(33, 160, 159, 158, 133, 153, 145, 144, 263, 387, 386, 385, 362, 380, 374, 373),  # eyelids
        [topology.IRIS_RIGHT, topology.IRIS_LEFT],
        topology.points(61, 37, 0, 267, 291, 314, 17, 84),  # lips, outside
        topology.points(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inside
    ]
)
"""(34,) positions of those that have a finer one as well."""

ROWS, COLUMNS = (6, 20), (4, 20)
"""The window of the finer maps, in cells of the coarse ones: from, to."""
DETAIL = 16
KNOWN = 2 * (len(ANCHORS) + len(FINE))
"""Numbers that the points are linear in, besides the code."""


def centres(finer: int, span: tuple[int, int] = (0, GRID)) -> torch.Tensor:
    """float32 (cells,): where the cells of a map's row or column are, in fractions of the crop's side. finer: how many
    of them make one of the coarse map's, which span counts in."""
    return (torch.arange(finer * span[0], finer * span[1]) + 0.5) / (finer * GRID)


def _grid(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(cells, 2): x and y of all cells, row by row."""
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], 1)


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


class LandmarkNet(nn.Module):
    """crops (n, 3, 96, 96) BGR 0–255 → landmarks (n, 200, 3) in fractions of the side, presence logit (n,), and the
    logits of the heat maps (n, 64, 576) and of the finer ones (n, 34, 896), which only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.to24 = nn.Sequential(_conv(3, 16, 2), _conv(16, 24, 2), Residual(24))
        self.to12 = nn.Sequential(_conv(24, 48, 2), Residual(48))
        self.to6 = nn.Sequential(_conv(48, 88, 2), Residual(88))
        self.to3 = _conv(88, 128, 2)
        self.across3 = _conv(128, 64, kernel=1)
        self.across6, self.merge6 = _conv(88, 64, kernel=1), _conv(64, 48)
        self.across12, self.merge12 = _conv(48, 48, kernel=1), _conv(48, 32)
        self.across24, self.merge24 = _conv(24, 32, kernel=1), _conv(32, 32)
        self.heat = nn.Conv2d(32, len(ANCHORS), 1)
        self.across48, self.lift48 = _conv(16, DETAIL, kernel=1), _conv(32, DETAIL, kernel=1)
        self.merge48 = nn.Sequential(_conv(DETAIL, DETAIL), _conv(DETAIL, DETAIL))
        self.heat48 = nn.Conv2d(DETAIL, len(FINE), 1)
        self.points = nn.Linear(KNOWN, POINTS * 3)
        self.squeeze = _conv(128, 48, kernel=1)
        self.code = nn.Sequential(nn.Linear(48 * 9, CODE), nn.ReLU())
        self.correct = nn.Linear(CODE, POINTS * 3, bias=False)
        self.present = nn.Linear(CODE, 1)
        self.up = nn.Upsample(scale_factor=2)
        self.register_buffer("places", _grid(centres(1), centres(1)), persistent=False)
        self.register_buffer("places48", _grid(centres(2, COLUMNS), centres(2, ROWS)), persistent=False)
        nn.init.zeros_(self.correct.weight)

    def start_from(self, labels: np.ndarray) -> None:
        """Let the linear part begin as the least-squares answer for labels (n, 200, 3), in fractions of the side."""
        places = labels[:, np.append(ANCHORS, FINE), :2]
        centre = labels[:, ANCHORS, :2].mean(1, keepdims=True)
        known = np.append((places - centre).reshape(len(labels), -1), np.ones((len(labels), 1)), 1)
        wanted = labels.copy()
        wanted[:, :, :2] -= centre
        ridge = len(labels) * 0.01**2 * np.eye(known.shape[1])  # as if every anchor were off by 0.01
        ridge[-1, -1] = 0
        answer = np.linalg.solve(known.T @ known + ridge, known.T @ wanted.reshape(len(labels), -1))
        with torch.no_grad():
            self.points.weight.copy_(torch.from_numpy(answer[:-1].T))
            self.points.bias.copy_(torch.from_numpy(answer[-1]))

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # Every crop on its own scale: night and fog look like day.
        centred = crops - crops.mean((1, 2, 3), keepdim=True)
        spread = (centred * centred).mean((1, 2, 3), keepdim=True).sqrt()
        at48 = self.to24[0](centred / (spread + 4))
        at24 = self.to24[2](self.to24[1](at48))
        at12 = self.to12(at24)
        at6 = self.to6(at12)
        at3 = self.to3(at6)
        back = self.merge6(self.up(self.across3(at3)) + self.across6(at6))
        back = self.merge12(self.up(back) + self.across12(at12))
        back = self.merge24(self.up(back) + self.across24(at24))
        logits = self.heat(back).flatten(2).float()
        (top, bottom), (left, right) = ROWS, COLUMNS
        detail = self.across48(at48[:, :, 2 * top : 2 * bottom, 2 * left : 2 * right])
        detail = self.merge48(self.up(self.lift48(back[:, :, top:bottom, left:right])) + detail)
        finer = self.heat48(detail).flatten(2).float()
        code = self.code(self.squeeze(at3).flatten(1)).float()
        with torch.autocast("cpu", enabled=False):  # 16 bits of training are too coarse for places
            anchors = functional.softmax(logits, 2) @ self.places
            centre = anchors.mean(1, keepdim=True)
            places = torch.cat([anchors, functional.softmax(finer, 2) @ self.places48], 1)
            points = (self.points((places - centre).flatten(1)) + self.correct(code)).reshape(-1, POINTS, 3)
        return points + functional.pad(centre, (0, 1)), self.present(code).squeeze(1), logits, finer
