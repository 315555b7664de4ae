"""Train the landmark net.

    python teacher.py SHARED labels.npz             once, some minutes
    python train.py SHARED labels.npz RUN           goes on from RUN/checkpoint.pt where there is one
    python export.py RUN/checkpoint.pt face_landmarks.onnx

One process composes pictures into RUN/shards (a ring: the oldest are replaced), this one learns from whatever is
there, moving and mirroring each picture a little every time. The learning rate falls over --minutes of computing,
which are counted across restarts.

``--tiny`` does all of it on about forty pictures in less than a minute, fails unless the loss falls by half, and
exports and loads the result; RUN is then the only argument besides SHARED.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from net import ANCHORS, GRID, POINTS, SIZE, LandmarkNet
from pictures import MARGIN, TILE, Pictures

from anonymizer.faces import topology

SHARD = 2048
RATE = 2e-3
BATCH = 32
SPREAD = 1.2
"""Standard deviation of a heat map, in its cells."""


def compose(shared: Path, labels: Path, folder: Path, seed: int, shard: int, ring: int) -> None:
    """Fill the ring of shards, and then replace the oldest, for as long as the parent lives."""
    cv2.setNumThreads(1)
    pictures = iter(Pictures(shared, labels, seed))
    parent = multiprocessing.parent_process()
    number = sum(1 for _ in folder.glob("*.images.npy"))
    while parent is not None and parent.is_alive():
        samples = [next(pictures) for _ in range(shard)]
        write(folder, f"{number % ring:04d}", samples)
        number += 1


def write(folder: Path, name: str, samples: list) -> None:
    """A shard: images uint8 (n, TILE, TILE, 3), and targets float32 (n, 602): points / TILE, presence, weight."""
    images = np.stack([sample.image for sample in samples])
    targets = np.stack([np.append(sample.label.ravel() / TILE, [sample.presence, sample.weight]) for sample in samples])
    for kind, array in (("targets", targets.astype(np.float32)), ("images", images)):
        part = folder / f"{name}.{kind}.part"
        with part.open("wb") as file:
            np.save(file, array)
        part.rename(folder / f"{name}.{kind}.npy")


class Shards:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def look(self) -> None:
        """Open what is there now; replaced files are seen from here on."""
        names = sorted(path.name.split(".")[0] for path in self.folder.glob("*.images.npy"))
        self.images = [np.load(self.folder / f"{name}.images.npy", mmap_mode="r") for name in names]
        self.targets = [np.load(self.folder / f"{name}.targets.npy") for name in names]

    def batch(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, ...]:
        images = np.empty((count, SIZE, SIZE, 3), np.uint8)
        targets = np.empty((count, POINTS * 3 + 2), np.float32)
        for i in range(count):
            shard = int(rng.integers(len(self.images)))
            k = int(rng.integers(len(self.images[shard])))
            images[i], targets[i] = jittered(self.images[shard][k], self.targets[shard][k], rng)
        return tensors(images, targets)


def jittered(tile: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A crop of a tile, moved, turned, scaled, mirrored at random, and its target in fractions of the crop."""
    target = target.copy()
    points = target[: POINTS * 3].reshape(POINTS, 3)
    angle = np.radians(rng.normal(0, 4))
    grow = MARGIN * float(np.clip(np.exp(rng.normal(0, 0.05)), 0.8, 1.15))
    mirror = rng.random() < 0.5
    cos, sin = np.cos(angle) * grow, np.sin(angle) * grow
    matrix = np.array([[cos, -sin], [sin, cos]])
    if mirror:
        matrix[0] *= -1
    # From tile to crop, both in fractions of their sides, about the centres.
    shift = np.clip(rng.normal(0, 0.025, 2), -0.06, 0.06)
    points[:, :2] = (points[:, :2] - 0.5) @ matrix.T + 0.5 + shift
    points[:, 2] *= grow
    if mirror:
        points[:] = points[topology.MIRROR]
    pixels = matrix * SIZE / TILE
    offset = (0.5 + shift) * SIZE - pixels @ np.full(2, TILE / 2)
    warp = np.concatenate([pixels, (offset + pixels.sum(1) / 2 - 0.5)[:, None]], 1)
    return cv2.warpAffine(tile, warp, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), target


def centred(tiles: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The middle of each tile, unmoved: for validation."""
    edge = round(TILE * (1 - 1 / MARGIN) / 2)
    targets = targets.copy()
    points = targets[:, : POINTS * 3].reshape(-1, POINTS, 3)
    points *= MARGIN
    points[:, :, :2] -= (MARGIN - 1) / 2
    middle = tiles[:, edge : TILE - edge, edge : TILE - edge]
    return tensors(np.stack([cv2.resize(tile, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for tile in middle]), targets)


def tensors(images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, ...]:
    crops = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    t = torch.from_numpy(targets)
    return crops, t[:, : POINTS * 3].reshape(-1, POINTS, 3), t[:, -2], t[:, -1]


def point_weights() -> torch.Tensor:
    """Eyes, irises, brows and lips count more than cheeks and jaw."""
    weights = torch.ones(POINTS)
    for outline in (topology.EYE_RIGHT, topology.EYE_LEFT, topology.LIPS_INNER, topology.LIPS_OUTER):
        weights[torch.from_numpy(outline)] = 1.5
    weights[[topology.IRIS_RIGHT, topology.IRIS_LEFT]] = 4
    return weights / weights.mean()


_OPENINGS = [
    torch.from_numpy(
        np.concatenate([part[k] for part in (topology.EYELIDS_RIGHT, topology.EYELIDS_LEFT, topology.MOUTH)])
    )
    for k in (0, 1)
]


class Loss:
    """Distances of points, depth, and openings of eyes and mouth, in hundredths of the side; presence; heat maps."""

    def __init__(self) -> None:
        self.weights = point_weights()
        self.places = (torch.arange(GRID) + 0.5) / GRID

    def heat(self, logits: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """(n,) cross entropy to Gaussians around the anchors (n, 64, 2), less what a perfect answer would have."""
        near = torch.exp(-0.5 * ((anchors[..., None] - self.places) * (GRID / SPREAD)).square())
        near = near / near.sum(3, keepdim=True).clamp(min=1e-4)
        wanted = (near[:, :, 1, :, None] * near[:, :, 0, None, :]).flatten(2)
        inside = ((anchors > 0) & (anchors < 1)).all(2)
        entropy = (torch.log(wanted + 1e-9) - functional.log_softmax(logits, 2)).mul(wanted).sum(2)
        return (entropy * inside).mean(1)

    def __call__(self, answer: tuple[torch.Tensor, ...], target: tuple[torch.Tensor, ...]) -> torch.Tensor:
        (points, logit, logits), (label, presence, weight) = answer, target
        apart = points - label
        across = (apart[:, :, :2].square().sum(2) + 1e-5).sqrt()
        depth = (apart[:, :, 2].square() + 1e-5).sqrt()
        upper, lower = _OPENINGS
        opening = ((apart[:, upper, :2] - apart[:, lower, :2]).square().sum(2) + 1e-6).sqrt()
        each = 100 * ((across * self.weights).mean(1) + 0.3 * depth.mean(1) + 0.3 * opening.mean(1))
        each = each + self.heat(logits, label[:, ANCHORS, :2])
        known = presence >= 0
        seen = functional.binary_cross_entropy_with_logits(logit[known], presence[known])
        # As the logarithm would: a clear face must be met closely, a smudge at 16 pixels must not drown it.
        weight = weight / (each.detach() + 1) ** 2
        return (each * weight).sum() / weight.sum().clamp(min=1e-3) + seen


@torch.no_grad()
def validate(net: LandmarkNet, tiles: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Mean error over 198 points in face heights / 2 (about an eye distance), in per cent; presence decided right."""
    net.eval()
    errors, right = [], []
    for start in range(0, len(tiles), 256):
        crops, label, presence, weight = centred(tiles[start : start + 256], targets[start : start + 256])
        points, logit, _ = net(crops)
        apart = (points - label)[:, :198, :2].norm(dim=2).mean(1)
        height = (label[:, topology.OVAL[0]] - label[:, topology.OVAL[18]]).norm(dim=1) / 2
        errors.append((apart / height)[weight > 0])
        right.append(((logit > 0) == (presence > 0))[presence >= 0].float())
    net.train()
    return 100 * float(torch.cat(errors).mean()), 100 * float(torch.cat(right).mean())


def train(shared: Path, labels: Path, run: Path, minutes: float, shard: int, ring: int, batch: int) -> float:
    """Returns the last running loss over the first."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    folder = run / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    seed = int(time.time())
    composer = multiprocessing.get_context("spawn").Process(
        target=compose, args=(shared, labels, folder, seed, shard, ring), daemon=True
    )
    composer.start()
    try:
        return _train(shared, labels, run, folder, minutes, shard, batch, seed)
    finally:
        composer.terminate()
        composer.join()


def _train(
    shared: Path, labels: Path, run: Path, folder: Path, minutes: float, shard: int, batch: int, seed: int
) -> float:
    if not (run / "validation.images.npy").exists():
        pictures = iter(Pictures(shared, labels, 1, validation=True))
        write(run, "validation", [next(pictures) for _ in range(min(shard, 1536))])
    tiles, targets = np.load(run / "validation.images.npy"), np.load(run / "validation.targets.npy")
    shards = Shards(folder)
    while not shards.images:
        time.sleep(1)
        shards.look()

    net, average = LandmarkNet(), LandmarkNet()
    slow = [*net.points.parameters(), *net.correct.parameters()]  # one step moves every point at once
    rest = [p for name, p in net.named_parameters() if not name.startswith(("points", "correct"))]
    optimizer = torch.optim.AdamW([{"params": rest, "share": 1.0}, {"params": slow, "share": 0.3}], weight_decay=1e-3)
    elapsed, step, first, running = 0.0, 0, 0.0, 0.0
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        elapsed, step, first, running = state["elapsed"], state["step"], state["first"], state["running"]
    else:
        known = shards.targets[0][shards.targets[0][:, -1] > 0]
        net.start_from(centred(np.zeros((len(known), TILE, TILE, 3), np.uint8), known)[1].numpy())
        state = {"average": net.state_dict()}
    average.load_state_dict(state["average"])
    average.eval()
    net.to(memory_format=torch.channels_last)
    loss_of = Loss()
    rng = np.random.default_rng(seed + 1)
    began = last_save = time.monotonic()
    before = elapsed
    while elapsed < minutes * 60:
        rate = RATE * min(1, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * elapsed / (minutes * 60))) + 1e-6
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        crops, *target = shards.batch(rng, batch)
        with torch.autocast("cpu", torch.bfloat16):
            points, logit, logits = net(crops.to(memory_format=torch.channels_last))
        loss = loss_of((points.float(), logit.float(), logits.float()), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 20)
        optimizer.step()
        step += 1
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step == 10:
            first = running
        with torch.no_grad():
            keep = min(0.999, step / (step + 20))
            for mine, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                if mine.is_floating_point():
                    mine.lerp_(new, 1 - keep)
        now = time.monotonic()
        elapsed = before + now - began
        if now - last_save > 120 or elapsed >= minutes * 60:
            last_save = now
            error, right = validate(average, tiles, targets)
            saved = {
                "net": net.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "elapsed": elapsed,
                "step": step,
                "first": first,
                "running": running,
            }
            torch.save(saved, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
            shards.look()
            print(
                f"{elapsed / 60:6.1f} min  step {step:6d}  loss {running:.3f}  validation {error:.2f} %  "
                f"presence {right:.1f} %  shards {len(shards.images)}  rate {rate:.1e}",
                flush=True,
            )
    return running / first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--ring", type=int, default=60, help=f"shards kept, of {SHARD} pictures and 100 MB each")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    if not arguments.tiny:
        if arguments.labels is None:
            parser.error("the teacher's labels are missing: make them with teacher.py")
        train(arguments.shared, arguments.labels, arguments.run, arguments.minutes, SHARD, arguments.ring, BATCH)
        return
    import export
    import teacher

    arguments.run.mkdir(parents=True, exist_ok=True)
    labels = arguments.run / "labels.npz"
    teacher.label(arguments.shared, labels, limit=40)
    fall = train(arguments.shared, labels, arguments.run, 0.4, 128, 4, 16)
    print(f"loss fell to {100 * fall:.0f} % of where it began")
    if fall > 0.5:
        sys.exit("the loss did not fall by half")
    export.export(arguments.run / "checkpoint.pt", arguments.run / "face_landmarks.onnx")


if __name__ == "__main__":
    main()
