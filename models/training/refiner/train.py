"""Train the refiner on what ``pairs.py`` made.

    python train.py ../shared RUN --minutes 15
    python train.py ../shared RUN --minutes 15 --from RUN/refiner.pt --to RUN/sharp.pt --recogniser --adversarial
    python train.py ../shared RUN --tiny

First with L1 and Laplacian losses alone. Then, from there, with the recogniser's loss on other people's faces, which
keeps the net from drawing the person underneath, and with a discriminator of a small fixed weight, which brings back
what L1 smooths. ``export.py`` can mix the weights of both. Minutes are the processor's. Every three of them a
checkpoint is written and scored on the held-out portraits. --tiny makes its own pairs, trains for a minute and exports.
"""

from __future__ import annotations

import argparse
import sys
import time
from copy import deepcopy
from pathlib import Path

import losses
import numpy as np
import torch
from net import Discriminator, RefinerNet
from recogniser import Recogniser
from torch.nn import functional

BATCH, RATE, DECAY = 32, 1.5e-3, 0.03
LATER = 4e-4
"""Learning rate where a trained net goes on."""
OTHERS = 10
"""Of a batch: faces of other people, which have no answer."""
ASKED = 4
"""Of these: how many the recogniser sees; it costs fifteen times as much as the net."""
STRANGER, FOOLED = 0.12, 0.04
"""Weights of the recogniser's and the discriminator's loss."""
RECOGNISER = "models/omz_face-reidentification-retail-0095.onnx"


class Pairs:
    """The pairs in a folder."""

    def __init__(self, run: Path) -> None:
        self.faces = np.load(run / "faces.npy", mmap_mode="r")
        self.scenes = np.load(run / "scenes.npy", mmap_mode="r")
        with np.load(run / "pairs.npz") as stored:
            own, held = stored["own"], stored["held"]
            self.five, self.portrait = stored["five"], stored["portrait"]
        self.own, self.others = np.flatnonzero(own & ~held), np.flatnonzero(~own & ~held)
        self.held, self.held_others = np.flatnonzero(own & held), np.flatnonzero(~own & held)

    def at(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Faces, pictures and five points of some pairs."""
        return tuple(torch.from_numpy(np.ascontiguousarray(x[index])) for x in (self.faces, self.scenes, self.five))  # type: ignore[return-value]


def varied(faces: torch.Tensor, scenes: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Other light, other tint, and the square a few pixels off, the same for a face and its picture."""
    n = len(faces)
    gain, shift = rng.uniform(0.8, 1.2, (n, 1)), rng.uniform(-12, 12, (n, 1))
    gains = torch.from_numpy(np.concatenate([gain, np.ones((n, 2))], 1).astype(np.float32))[..., None, None]
    shifts = np.concatenate([shift, rng.uniform(-7, 7, (n, 2))], 1).astype(np.float32)
    away = tuple(rng.integers(-3, 4, 2).tolist())
    out = []
    for x in (faces, scenes):
        ycc = (x[:, :3].float() * gains + torch.from_numpy(shifts)[..., None, None]).clamp(0, 255).to(torch.uint8)
        out.append(torch.roll(torch.cat([ycc, x[:, 3:]], 1), away, (2, 3)))
    return out[0], out[1]


def refined(net: torch.nn.Module, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma and chroma as the net wants them, scaled as in ``losses``."""
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.is_grad_enabled()):
        luma, chroma = net(faces)
    luma, chroma = luma.float() / 127.5, chroma.float() / 127.5
    return (losses.scaled(faces[:, :1]) + luma, functional.avg_pool2d(losses.scaled(faces[:, 1:3]), 2) + chroma)


class Judge:
    """The recogniser's view of other people's pairs, remembered by pair."""

    def __init__(self, shared: Path, pairs: Pairs) -> None:
        self.net, self._pairs = Recogniser(shared / RECOGNISER), pairs
        self._known: dict[int, torch.Tensor] = {}

    @torch.no_grad()
    def before(self, index: np.ndarray) -> torch.Tensor:
        """(n, 2, 256): vectors of the drawn face and of the person underneath."""
        new = np.array([i for i in index.tolist() if i not in self._known], int)
        if len(new):
            faces, scenes, five = self._pairs.at(new)
            luma, chroma = losses.scaled(faces[:, :1]), functional.avg_pool2d(losses.scaled(faces[:, 1:3]), 2)
            drawn = losses.embedded(self.net, *losses.composed(faces, luma, chroma, scenes), five)
            seen = losses.scaled(scenes)
            under = losses.embedded(self.net, seen[:, :1], seen[:, 1:], five)
            for i, both in zip(new.tolist(), torch.stack([drawn, under], 1), strict=True):
                self._known[i] = both
        return torch.stack([self._known[i] for i in index.tolist()])

    def loss(self, net: torch.nn.Module, index: np.ndarray) -> torch.Tensor:
        faces, scenes, five = self._pairs.at(index)
        before = self.before(index)
        after = losses.embedded(self.net, *losses.composed(faces, *refined(net, faces), scenes), five)
        return losses.stranger(after, before[:, 0], before[:, 1]).mean()


@torch.no_grad()
def score(net: torch.nn.Module, pairs: Pairs, most: int = 384) -> tuple[float, float]:
    """The likeness loss on held-out portraits, of the net and of the drawing as it came."""
    net.eval()
    after, before = [], []
    for start in range(0, min(most, len(pairs.held)), 64):
        faces, scenes, _ = pairs.at(pairs.held[start : start + 64])
        after.append(losses.likeness(faces, *refined(net, faces), scenes))
        plain = losses.scaled(faces[:, :1]), functional.avg_pool2d(losses.scaled(faces[:, 1:3]), 2)
        before.append(losses.likeness(faces, *plain, scenes))
    net.train()
    return float(torch.cat(after).mean()), float(torch.cat(before).mean())


@torch.no_grad()
def closeness(net: torch.nn.Module, pairs: Pairs, judge: Judge, most: int = 96) -> tuple[float, float]:
    """Mean cosine to the person underneath on held-out portraits, refined and as drawn."""
    net.eval()
    after, before = [], []
    for start in range(0, min(most, len(pairs.held_others)), 32):
        index = pairs.held_others[start : start + 32]
        faces, scenes, five = pairs.at(index)
        known = judge.before(index)
        vectors = losses.embedded(judge.net, *losses.composed(faces, *refined(net, faces), scenes), five)
        after.append((vectors * known[:, 1]).sum(1))
        before.append((known[:, 0] * known[:, 1]).sum(1))
    net.train()
    return float(torch.cat(after).mean()), float(torch.cat(before).mean())


def train(
    shared: Path, run: Path, minutes: float, target: Path, start: Path | None, recogniser: bool, adversarial: bool
) -> tuple[float, float]:
    """Write the mean of the weights to target; returns ``score``."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pairs = Pairs(run)
    net = RefinerNet()
    if start is not None:
        net.load_state_dict(torch.load(start))
    mean = deepcopy(net)
    judge = Judge(shared, pairs) if recogniser else None
    rate = RATE if start is None else LATER
    optimiser = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.98), weight_decay=DECAY)
    watcher = Discriminator()
    watching = torch.optim.Adam(watcher.parameters(), 4e-4, betas=(0.5, 0.99))
    began, step, due = time.process_time(), 0, 3.0
    while (spent := (time.process_time() - began) / 60) < minutes:
        share = spent / minutes
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))
        count = OTHERS if adversarial else 0
        index = np.concatenate([rng.choice(pairs.own, BATCH - count), rng.choice(pairs.others, count)])
        faces, scenes = varied(*pairs.at(index)[:2], rng)
        own = torch.from_numpy(np.isin(index, pairs.own).astype(np.float32))
        luma, chroma = refined(net, faces)
        loss = (own * losses.likeness(faces, luma, chroma, scenes)).sum() / own.sum()
        if adversarial:
            mask = losses.scaled(faces[:, 3:4])
            shown, _ = losses.composed(faces, luma, chroma, scenes)
            real = losses.scaled(scenes[:, :1])
            watching.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                said, truth = watcher(shown.detach(), mask)[0], watcher(real, mask)[0]
                wrong = said.float().square().mean() + (truth.float() - 1).square().mean()
            wrong.backward()
            watching.step()
            if step > 150:  # by then it has learnt something
                with torch.autocast("cpu", torch.bfloat16):
                    loss = loss + FOOLED * losses.fooled(watcher, shown, mask, real, own)
        if judge is not None and step % 2 == 0:
            loss = loss + STRANGER * judge.loss(net, rng.choice(pairs.others, ASKED))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(0.998, step / (step + 10))
        with torch.no_grad():
            for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
                a.lerp_(b, 1 - keep) if a.dtype.is_floating_point else a.copy_(b)
        if spent > due:
            due += 3
            torch.save(mean.state_dict(), target)
            after, before = score(mean, pairs)
            line = f"{spent:.1f} min, step {step}: {after:.4f}, drawn {before:.4f}"
            if judge is not None:
                line += ", cosine to the person underneath {:.4f}, drawn {:.4f}".format(*closeness(mean, pairs, judge))
            if adversarial:
                line += f", discriminator {float(wrong.detach()):.3f}"
            print(line, flush=True)
    torch.save(mean.state_dict(), target)
    return score(mean, pairs)


def tiny(shared: Path, run: Path) -> None:
    """A minute's training on a few pairs, to see that the recipe runs: fails where the loss does not fall."""
    import export
    from pairs import write

    write(shared, run, 400, limit=240)
    first = run / "refiner.pt"
    after, before = train(shared, run, 0.4, first, None, False, False)
    print(f"likeness loss {before:.4f} → {after:.4f}")
    if not after < 0.97 * before:
        sys.exit("the loss did not fall")
    train(shared, run, 0.3, run / "sharp.pt", first, True, True)
    export.export([first, run / "sharp.pt"], 0.5, run, run / "face_refiner.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--from", dest="start", type=Path)
    parser.add_argument("--to", type=Path, help="default: RUN/refiner.pt")
    parser.add_argument("--recogniser", action="store_true")
    parser.add_argument("--adversarial", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tiny:
        tiny(options.shared, options.run)
        return
    target = options.to or options.run / "refiner.pt"
    after, before = train(
        options.shared, options.run, options.minutes, target, options.start, options.recogniser, options.adversarial
    )
    print(f"likeness loss {before:.4f} → {after:.4f}")


if __name__ == "__main__":
    main()
