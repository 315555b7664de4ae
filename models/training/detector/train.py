"""Train the detector: ``python train.py WORK`` (resumes), or ``python train.py --tiny`` for a check in under a minute.

WORK holds chunks (see views.py, run beside this) and ``state.pt`` (all that resuming needs).
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
from heads import Picture
from net import STRIDES, Detector, parameters
from shards import generate as draw
from teacher import SWAP, Array
from torch import Tensor
from torch.nn import functional
from views import GOAL, SIDE, generate

BATCH = 16
FREEZE = 0.7  # progress at which the first two convolutions stay as they are
SHAPE: dict[str, Any] = {"stem": (16, 32), "widths": (64, 88, 96), "blocks": (3, 3, 3), "neck": 64}


class Chunks:
    """Random batches of the stored views (see views.py); those with a larger loss when last seen come more often."""

    def __init__(self, work: Path, seed: int) -> None:
        self.folder = work / "views"
        self.rng = np.random.default_rng(seed)
        self.stamp: dict[str, float] = {}
        self.open: dict[str, tuple[Picture, Array]] = {}
        self.hard: dict[str, Array] = {}  # of each view, its last loss against the mean
        self.shown: list[tuple[str, int]] = []  # the views of the batch
        self.refresh()

    def refresh(self) -> None:
        """See new and renewed chunks."""
        for path in self.folder.glob("[0-9]*.goals.npy"):
            name, made = path.name.split(".")[0], path.stat().st_mtime
            if self.stamp.get(name) != made:
                self.stamp[name] = made
                self.open[name] = (np.load(path.with_name(f"{name}.npy"), mmap_mode="r"), np.load(path, mmap_mode="r"))
                self.hard[name] = np.full(len(self.open[name][0]), 1.5, np.float32)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Pictures uint8 (N, 3, side, side) channels-last, goals float32 (N, cells, 16); half of them mirrored."""
        large = self.rng.random() < 0.12
        names = [n for n, (pictures, _) in self.open.items() if (pictures.shape[1] > SIDE) == large] or list(self.open)
        self.shown, shown, goals = [], [], []
        for _ in range(4):
            name = names[int(self.rng.integers(len(names)))]
            pictures, known = self.open[name]
            count = BATCH // 4 // (4 if pictures.shape[1] > SIDE else 1)
            chance = self.hard[name] / self.hard[name].sum()
            for k in self.rng.choice(len(pictures), count, p=chance):
                self.shown.append((name, int(k)))
                shown.append(pictures[k])
                goals.append(known[k])
        picture, goal = np.stack(shown), np.stack(goals).astype(np.float32)
        if self.rng.random() < 0.5:
            picture, goal = np.ascontiguousarray(picture[:, :, ::-1]), mirrored(goal, picture.shape[1])
        return torch.from_numpy(picture).permute(0, 3, 1, 2), torch.from_numpy(goal)

    def note(self, found: Array) -> None:
        """Keep the losses of the batch's views."""
        for (name, k), value in zip(self.shown, found / max(float(found.mean()), 1e-6), strict=True):
            self.hard[name][k] = np.clip(value, 0.25, 3)


def mirrored(goals: Array, side: int) -> Array:
    """Goals (N, cells, 16) of the mirrored views."""
    out, first = [], 0
    for stride in STRIDES:
        count = side // stride
        level = goals[:, first : first + count**2].reshape(len(goals), count, count, GOAL)[:, :, ::-1].copy()
        first += count**2
        level[..., 2] = 1 - level[..., 2]
        points = level[..., 6:].reshape(*level.shape[:3], 5, 2)[..., SWAP, :]
        points[..., 0] = 1 - points[..., 0]
        level[..., 6:] = points.reshape(*level.shape[:3], 10)
        out.append(level.reshape(len(goals), count**2, GOAL))
    return np.concatenate(out, 1)


def losses(maps: list[Tensor], goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Score loss of each view, box and point loss of a batch."""
    flat = torch.cat([m.float().flatten(1, 2) for m in maps], 1)
    logit, want, weight = flat[..., 0], goals[..., 0], goals[..., 1]
    entropy = functional.binary_cross_entropy_with_logits(logit, want, reduction="none")
    # a small face has a few cells, a large one dozens
    stride = torch.cat([torch.full((m.shape[1] * m.shape[2],), float(s)) for m, s in zip(maps, STRIDES, strict=True)])
    small = (20 / (stride * goals[..., 4:6].mean(2).clamp(-3, 3).exp())).clamp(1, 2.5)
    weight = torch.where(want > 0.15, weight * small, weight)
    # pictures weigh alike, however many faces they hold
    total = (want * weight).sum(1) + 6.0
    loss_score = (entropy * (logit.sigmoid() - want).abs() ** 1.5 * weight).sum(1) / total
    index = ((want > 0.3) & (weight > 0)).nonzero(as_tuple=True)
    if not len(index[0]):
        return loss_score, flat.sum() * 0, flat.sum() * 0
    got, goal = flat[index], goals[index]
    share = (want / total[:, None])[index]
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
    points = functional.smooth_l1_loss(got[:, 5:] / scale, goal[:, 6:] / scale, reduction="none", beta=0.1).mean(1)
    return loss_score, loss_box, (points * share).sum()


class Trainer:
    """Network, its running average and optimiser, saved and resumed together; the rate falls over ``total`` steps."""

    def __init__(self, work: Path, total: int, rate: float, start: Path | None = None) -> None:
        torch.manual_seed(1)
        self.path = work / "state.pt"
        self.total, self.rate = total, rate
        self.net = Detector(**SHAPE).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Detector(**SHAPE)
        self.average.load_state_dict(self.net.state_dict())
        decay = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate)
        self.steps, self.pictures = 0, 0
        if start is not None and not self.path.exists():
            self.net.load_state_dict(torch.load(start, map_location="cpu", weights_only=True)["average"])
            self.average.load_state_dict(self.net.state_dict())
        if self.path.exists():
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.steps, self.pictures = state["steps"], state["pictures"]

    def save(self) -> None:
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "shape": SHAPE,
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "pictures": self.pictures,
        }
        torch.save(state, f"{self.path}.tmp")
        os.replace(f"{self.path}.tmp", self.path)

    def step(self, pictures: Tensor, goals: Tensor) -> tuple[list[float], Array]:
        """One step; returns the three losses, and the score loss of each view."""
        progress = self.steps / self.total
        if progress >= FREEZE:
            self.net.stem.requires_grad_(False)  # saves a quarter of a step
        warm = min(1.0, (self.steps + 1) / 100)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        self.net.train()
        shown = pictures.to(torch.bfloat16)  # exact for 0-255; stays channels-last
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.net(shown)
        parts = losses(maps, goals)
        loss = parts[0].mean() + parts[1] + 0.5 * parts[2]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.steps += 1
        self.pictures += len(pictures)
        keep = min(0.998, 1 - 1 / (self.steps / 4 + 1))
        with torch.no_grad():
            for mean, new in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(new, 1 - keep)
                else:
                    mean.copy_(new)
        return [float(p.detach().mean()) for p in parts], parts[0].detach().numpy()


def train(work: Path, total: int, rate: float, every: int, start: Path | None = None, log: int = 100) -> list[float]:
    """Run until ``total`` steps are done, saving every ``every``; returns the losses as they were logged."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    trainer = Trainer(work, total, rate, start)
    chunks = Chunks(work, 1 + trainer.steps)
    history: list[float] = []
    recent: list[list[float]] = []
    print(f"{parameters(trainer.net)} parameters, {trainer.steps} steps done", flush=True)
    while trainer.steps < total:
        parts, each = trainer.step(*chunks.batch())
        chunks.note(each)
        recent.append(parts)
        if trainer.steps % log == 0:
            mean = np.mean(recent, 0)
            recent = []
            history.append(float(mean[0] + mean[1]))
            clock = f"step {trainer.steps} cpu {time.process_time() / 60:.1f} min"
            print(f"{clock} score {mean[0]:.4f} box {mean[1]:.4f} points {mean[2]:.4f}", end=" ")
            print(f"chunks {len(chunks.open)} pictures {trainer.pictures}", flush=True)
            chunks.refresh()
        if trainer.steps % every == 0:
            trainer.save()
    trainer.save()
    return history


def tiny() -> None:
    """A few seconds of everything: pictures, views, training, export; fails if the loss does not fall."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(os.environ.get("ANONYMIZER_TINY", folder))
        draw(work, 0, 1, 1, limit=6, count=48)
        generate(work, 0, 2, 2, limit=6, count=48)
        history = train(work, 60, 3e-3, 1000, log=10)
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
    parser.add_argument("--steps", type=int, default=24000, help="length of the cosine")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--every", type=int, default=450, help="steps between checkpoints")
    parser.add_argument("--start", type=Path, help="a checkpoint whose weights are taken")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    if args.tiny:
        tiny()
    elif args.work:
        train(args.work, args.steps, args.rate, args.every, args.start)
    else:
        parser.error("WORK or --tiny")


if __name__ == "__main__":
    main()
