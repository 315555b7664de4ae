"""Train the detector: ``python train.py WORK`` (resumes), or ``python train.py --tiny`` for a check in under a minute.

WORK holds shards (see shards.py, run beside this), ``state.pt`` (all that resuming needs) and ``log.txt``.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import torch
from export import export, restore
from net import STRIDES, Detector, parameters
from shards import Views, generate, targets
from torch import Tensor
from torch.nn import functional

BATCH, SIDE = 16, 320
FREEZE = 0.6  # progress at which the first two convolutions stay as they are
SHAPE: dict[str, Any] = {"stem": (16, 32), "widths": (64, 88, 96), "blocks": (3, 3, 3), "neck": 64}


def make_batch(views: Views, side: int, count: int, grow: float) -> tuple[Tensor, Tensor]:
    """Pictures uint8 (N, 3, side, side) channels-last, targets float32 (N, cells, 17)."""
    pictures, goals = [], []
    for _ in range(count):
        picture, faces = views.view(side, grow)
        pictures.append(picture)
        goals.append(targets(faces, side))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.from_numpy(np.stack(goals))


def losses(maps: list[Tensor], goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score, box and point loss of a batch."""
    flat = torch.cat([m.float().flatten(1, 2) for m in maps], 1)
    logit, want, weight = flat[..., 0], goals[..., 0], goals[..., 1]
    score = logit.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logit, want, reduction="none")
    easy = torch.where(want > 0, 1.0, (1 - want) ** 2)
    # pictures weigh alike, however many faces they hold
    total = (want * weight).sum(1) + 8.0
    loss_score = ((entropy * (score - want).abs() ** 2 * weight * easy).sum(1) / total).mean()
    share_of = want * weight / total[:, None]
    index = (want > 0.25).nonzero(as_tuple=True)
    if not len(index[0]):
        return loss_score, flat.sum() * 0, flat.sum() * 0
    got, goal, share = flat[index], goals[index], share_of[index]
    share = share / share.sum()
    box, true = got[:, 1:5], goal[:, 2:6]
    size, real = box[:, 2:].clamp(max=6).exp(), true[:, 2:].exp()
    low, top = box[:, :2] - size / 2, box[:, :2] + size / 2
    floor, roof = true[:, :2] - real / 2, true[:, :2] + real / 2
    both = (torch.minimum(top, roof) - torch.maximum(low, floor)).clamp(min=0).prod(1)
    union = size.prod(1) + real.prod(1) - both
    hull = (torch.maximum(top, roof) - torch.minimum(low, floor)).prod(1)
    giou = both / union - (hull - union) / hull
    shift = functional.smooth_l1_loss(box[:, :2] / real, true[:, :2] / real, reduction="none", beta=0.1).sum(1)
    stretch = functional.smooth_l1_loss(box[:, 2:], true[:, 2:], reduction="none", beta=0.1).sum(1)
    loss_box = ((1 - giou + shift + 0.5 * stretch) * share).sum()
    scale = real.prod(1).sqrt()[:, None]
    known = (goal[:, 6:].abs().sum(1) > 0).float()
    points = functional.smooth_l1_loss(got[:, 5:] / scale, goal[:, 6:16] / scale, reduction="none", beta=0.1).mean(1)
    return loss_score, loss_box, (points * share * known).sum()


class Trainer:
    """Network, its running average, optimiser and clock, saved and resumed together."""

    def __init__(self, work: Path, minutes: float, rate: float, fresh: bool) -> None:
        torch.manual_seed(1)
        self.path = work / "state.pt"
        self.minutes, self.rate = minutes, rate
        self.freeze = 0.0 if fresh and self.path.exists() else FREEZE
        self.net = Detector(**SHAPE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Detector(**SHAPE)
        self.average.load_state_dict(self.net.state_dict())
        decay = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate)
        self.steps, self.spent, self.pictures = 0, 0.0, 0
        if self.path.exists():
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            if not fresh:
                self.optimiser.load_state_dict(state["optimiser"])
                self.spent = state["spent"]
            self.steps, self.pictures = state["steps"], state["pictures"]

    def save(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "shape": SHAPE,
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "spent": self.spent,
            "pictures": self.pictures,
        }
        torch.save(state, f"{self.path}.tmp")
        os.replace(f"{self.path}.tmp", self.path)

    def progress(self) -> float:
        """Share of the planned minutes that is spent."""
        return min(1.0, self.spent / 60 / self.minutes)

    def step(self, pictures: Tensor, goals: Tensor) -> list[float]:
        start = time.monotonic()
        if self.progress() >= self.freeze:
            self.net.stem.requires_grad_(False)  # saves a third of a step
        warm = min(1.0, (self.steps + 1) / 100)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress())))
        self.net.train()
        shown = pictures.to(torch.bfloat16)  # exact for 0-255; stays channels-last
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.net(shown)
        parts = losses(maps, goals)
        loss = parts[0] + 1.0 * parts[1] + 0.5 * parts[2]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        self.pictures += len(pictures)
        keep = min(0.9985, 1 - 1 / (self.steps / 4 + 1))
        with torch.no_grad():
            for mean, new in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(new, 1 - keep)
                else:
                    mean.copy_(new)
        self.spent += time.monotonic() - start
        return [float(p.detach()) for p in parts]


def train(work: Path, minutes: float, rate: float, fresh: bool, every: float, steps: int = 0) -> list[float]:
    """Run until the minutes (or steps) are over; returns the losses as they were logged."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    trainer = Trainer(work, minutes, rate, fresh)
    views = Views(work, int(time.time()) % 100000 + trainer.steps)
    rng = np.random.default_rng(trainer.steps)
    history: list[float] = []
    recent: list[list[float]] = []
    saved = time.monotonic()
    print(f"{parameters(trainer.net)} parameters, {trainer.steps} steps done", flush=True)
    while trainer.progress() < 1 and not (steps and trainer.steps >= steps):
        begin = time.monotonic()
        # one batch in eight is large, for faces that fill the picture
        if rng.random() < 0.12:
            batch = make_batch(views, 2 * SIDE, BATCH // 4, float(rng.uniform(1.0, 2.0)))
        else:
            batch = make_batch(views, SIDE, BATCH, 1.0)
        trainer.spent += time.monotonic() - begin
        recent.append(trainer.step(*batch))
        if trainer.steps % (100 if not steps else 10) == 0:
            parts = np.mean(recent, 0)
            recent = []
            history.append(float(parts[0] + parts[1]))
            clock = f"step {trainer.steps} minutes {trainer.spent / 60:.1f}"
            print(f"{clock} score {parts[0]:.4f} box {parts[1]:.4f} points {parts[2]:.4f}", end=" ")
            print(f"shards {len(views.open)} pictures {trainer.pictures}", flush=True)
            views.refresh()
        if time.monotonic() - saved > every * 60:
            trainer.save()
            saved = time.monotonic()
    trainer.save()
    return history


def tiny() -> None:
    """A few seconds of everything: pictures, training, export; fails if the loss does not fall."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(os.environ.get("ANONYMIZER_TINY", folder))
        generate(work, 0, 1, 1, limit=6, count=48)
        history = train(work, 5, 3e-3, True, 99, steps=40)
        first, last = np.mean(history[:1]), np.mean(history[-2:])
        print(f"loss {first:.3f} -> {last:.3f}")
        assert last < 0.9 * first, "the loss did not fall"
        path = work / "tiny.onnx"
        export(restore(work / "state.pt"), path)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        out = session.run(None, {"input": np.zeros((1, 3, 64, 96), np.float32)})
        assert [o.shape[1] for o in out] == [64 * 96 // s**2 for s in STRIDES] * 4
        print("export loads in onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=90, help="length of the cosine")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--fresh", action="store_true", help="keep the weights, start optimiser and clock anew")
    parser.add_argument("--every", type=float, default=3, help="minutes between checkpoints")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    if args.tiny:
        tiny()
    elif args.work:
        train(args.work, args.minutes, args.rate, args.fresh, args.every)
    else:
        parser.error("WORK or --tiny")


if __name__ == "__main__":
    main()
