"""What is wanted of a refined face: like the true one where that is known, and never more like the person underneath.

Luma and chroma are float32, grey levels over 127.5 less 1.
"""

from __future__ import annotations

import torch
from net import Discriminator, blur
from recogniser import SIDE as CROP
from recogniser import TEMPLATE, Recogniser
from torch.nn import functional

from anonymizer.synthesis.refiner import SIZE

EYES, MOUTH = 5.0, 3.0
"""How much more an error there counts than on skin."""
MARGIN = 0.05
"""By how much the cosine to the person underneath shall fall."""


def scaled(values: torch.Tensor) -> torch.Tensor:
    return values.float() * (1 / 127.5) - 1


def weights(faces: torch.Tensor) -> torch.Tensor:
    """(n, 1, 96, 96): the mask, and more over eyes and mouth; every face's sum is 1."""
    mask, eyes, lips = (faces[:, i : i + 1].float() * (1 / 255) for i in (3, 4, 6))
    eyes, lips = functional.max_pool2d(eyes, 9, 1, 4), functional.max_pool2d(lips, 5, 1, 2)
    found = mask * (1 + EYES * eyes + MOUTH * lips)
    return found / found.sum((1, 2, 3), keepdim=True)


def likeness(faces: torch.Tensor, luma: torch.Tensor, chroma: torch.Tensor, scenes: torch.Tensor) -> torch.Tensor:
    """(n,): weighted L1 of luma, of two bands of its Laplacian pyramid, and of chroma. luma, chroma: as refined."""
    weight = weights(faces)
    gap = luma - scaled(scenes[:, :1])
    soft = blur(gap)
    fine = functional.avg_pool2d(soft, 2)
    half = functional.avg_pool2d(weight, 2) * 4
    middle = fine - blur(fine)
    hue = chroma - functional.avg_pool2d(scaled(scenes[:, 1:]), 2)
    parts = (
        (weight * gap.abs()).sum((1, 2, 3)),
        2 * (weight * (gap - soft).abs()).sum((1, 2, 3)),
        2 * (half * middle.abs()).sum((1, 2, 3)),
        (half * hue.abs()).sum((1, 2, 3)),
    )
    return torch.stack(parts).sum(0)


def composed(
    faces: torch.Tensor, luma: torch.Tensor, chroma: torch.Tensor, scenes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The face laid over the picture, luma (n, 1, 96, 96) and chroma (n, 2, 96, 96)."""
    mask = faces[:, 3:4].float() * (1 / 255)
    chroma = functional.interpolate(chroma, scale_factor=2.0)
    seen = scaled(scenes)
    return torch.lerp(seen[:, :1], luma, mask), torch.lerp(seen[:, 1:], chroma, mask)


def placement(five: torch.Tensor) -> torch.Tensor:
    """(n, 2, 3) for ``affine_grid``: the recogniser's crops out of squares with those five points (n, 5, 2)."""
    to = torch.from_numpy(TEMPLATE) * (2 / CROP) - 1
    at = five * (2 / SIZE) - 1
    a, b = to - to.mean(0), at - at.mean(1, keepdim=True)
    square = (a * a).sum()
    x = (a[None] * b).sum((1, 2)) / square
    y = (a[None, :, 0] * b[..., 1] - a[None, :, 1] * b[..., 0]).sum(1) / square
    turn = torch.stack([torch.stack([x, -y], 1), torch.stack([y, x], 1)], 1)
    shift = at.mean(1) - (turn @ to.mean(0))
    return torch.cat([turn, shift[..., None]], 2)


def embedded(net: Recogniser, luma: torch.Tensor, chroma: torch.Tensor, five: torch.Tensor) -> torch.Tensor:
    """Unit vectors (n, 256) of composed pictures."""
    y, u, v = luma, chroma[:, :1], chroma[:, 1:]
    bgr = 127.5 * (torch.cat([y + 1.772 * u, y - 0.344136 * u - 0.714136 * v, y + 1.402 * v], 1) + 1)
    # Chroma's zero is grey level 128, not 127.5.
    bgr = bgr - torch.tensor([0.886, -0.529, 0.701])[:, None, None]
    grid = functional.affine_grid(placement(five), [len(five), 3, CROP, CROP], align_corners=False)
    crops = functional.grid_sample(bgr, grid, padding_mode="border", align_corners=False)
    return net(crops.clamp(0, 255))


def stranger(refined: torch.Tensor, drawn: torch.Tensor, under: torch.Tensor) -> torch.Tensor:
    """(n,) of unit vectors: a refined face stays like the drawn one, and becomes less like the person underneath."""
    before, after = (drawn * under).sum(1), (refined * under).sum(1)
    return functional.relu(after - before + MARGIN) + 0.5 * (1 - (refined * drawn).sum(1))


def fooled(
    net: Discriminator, luma: torch.Tensor, mask: torch.Tensor, real: torch.Tensor, own: torch.Tensor
) -> torch.Tensor:
    """Least-squares GAN loss (Mao 2017) and, where the answer is known, the distance of the features."""
    verdict, seen = net(luma, mask)
    loss = (verdict - 1).square().mean()
    with torch.no_grad():
        _, wanted = net(real, mask)
    for a, b in zip(seen[:3], wanted[:3], strict=True):
        loss = loss + 2 * (own[:, None, None, None] * (a - b).abs()).mean() / own.mean().clamp(min=0.1)
    return loss
