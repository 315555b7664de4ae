"""Train the landmark net.

    python teacher.py SHARED labels.npz             once, some minutes
    python train.py SHARED labels.npz RUN           goes on from RUN/checkpoint.pt where there is one (``warm``)
    python export.py RUN/checkpoint.pt face_landmarks.onnx

One process composes pictures into RUN/shards and asks the mesh about four crops of each (``views``), this one learns
from whatever is there. Steps are counted across restarts, so --steps may be changed on the way.

``--tiny`` does all of it on about forty pictures in less than a minute, fails unless the loss falls by half, and
exports and loads the result; RUN is then the only argument besides SHARED.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import views
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from net import ANCHORS, COLUMNS, FINE, POINTS, ROWS, SIZE, LandmarkNet, centres
from pictures import TILE, Pictures, Sample
from views import Viewer

from anonymizer.faces import topology

SHARD = 2048
RATE = 1.5e-3
FALL = 0.3
"""The learning rate stays, and falls to nothing over this last share of the steps (Hägele 2024)."""
BATCH = 32
SPREAD = 1.2
"""Standard deviation of a heat map, in its cells."""
VIEWS = 4
"""Crops of each tile that the mesh is asked about."""
SURE = 0.72
"""Share of a batch on which the mesh is sure of itself; the rest are negatives, and faces it cannot see."""


def compose(shared: Path, labels: Path, folder: Path, shard: int, count: int) -> None:
    """Fill the folder up to count shards, for as long as the parent lives."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    number = sum(1 for _ in folder.glob("*.images.npy"))
    rng = np.random.default_rng([int(time.time()), number])
    pictures = iter(Pictures(shared, labels, int(rng.integers(2**31))))
    viewer = Viewer(shared / "models" / "mp_face_landmark_468.onnx")
    while number < count and (parent is None or parent.is_alive()):
        write(folder, f"{number:04d}", [next(pictures) for _ in range(shard)], viewer, rng)
        number += 1


def write(folder: Path, name: str, samples: list[Sample], viewer: Viewer, rng: np.random.Generator) -> None:
    """A shard: images uint8 (n, TILE, TILE, 3), and views float32 (n, VIEWS, views.WIDTH)."""
    images = np.stack([sample.image for sample in samples])
    looks = np.empty((len(samples), VIEWS, views.WIDTH), np.float32)
    for sample, look in zip(samples, looks, strict=True):
        target = np.append(sample.label.ravel() / TILE, [sample.presence, sample.weight]).astype(np.float32)
        mirror = rng.random() < 0.5
        for i in range(VIEWS):
            look[i] = viewer(sample.image, target, views.drawn(rng, mirror))
    for kind, array in (("views", looks), ("images", images)):
        part = folder / f"{name}.{kind}.part"
        with part.open("wb") as file:
            np.save(file, array)
        part.rename(folder / f"{name}.{kind}.npy")


class Shards:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[np.ndarray] = []
        self.views: list[np.ndarray] = []
        self.sure: list[np.ndarray] = []
        self.rest: list[np.ndarray] = []

    def look(self) -> None:
        """Open what is there now; added files are seen from here on."""
        names = sorted(path.name.split(".")[0] for path in self.folder.glob("*.images.npy"))
        self.images = [np.load(self.folder / f"{name}.images.npy", mmap_mode="r") for name in names]
        self.views = [views.agreed(np.load(self.folder / f"{name}.views.npy")) for name in names]
        self.sure = [np.argwhere(looks[:, :, -1] == 1) for looks in self.views]
        self.rest = [np.argwhere(looks[:, :, -1] < 1) for looks in self.views]

    def batch(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, ...]:
        images = np.empty((count, SIZE, SIZE, 3), np.uint8)
        targets = np.empty((count, POINTS * 3 + 2), np.float32)
        for i in range(count):
            shard = int(rng.integers(len(self.images)))
            among = self.sure[shard] if rng.random() < SURE else self.rest[shard]
            tile, view = among[int(rng.integers(len(among)))]
            look = self.views[shard][tile, view]
            images[i], _ = views.crop_of(self.images[shard][tile], look)
            targets[i] = look[5:]
        return tensors(images, targets)

    def all(self) -> tuple[torch.Tensor, ...]:
        """The first view of every tile: for validation."""
        crops = [
            views.crop_of(tile, look[0])[0]
            for images, looks in zip(self.images, self.views, strict=True)
            for tile, look in zip(images, looks, strict=True)
        ]
        return tensors(np.stack(crops), np.concatenate([looks[:, 0, 5:] for looks in self.views]))


def tensors(images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, ...]:
    crops = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    t = torch.from_numpy(targets)
    return crops, t[:, : POINTS * 3].reshape(-1, POINTS, 3), t[:, -2], t[:, -1]


def point_weights() -> torch.Tensor:
    """Eyes, irises and lips count more than cheeks and jaw."""
    weights = torch.ones(POINTS)
    for outline in (topology.EYE_RIGHT, topology.EYE_LEFT, topology.LIPS_INNER, topology.LIPS_OUTER):
        weights[torch.from_numpy(outline)] = 2
    weights[[topology.IRIS_RIGHT, topology.IRIS_LEFT]] = 4
    return weights / weights.mean()


_PAIRS = [
    tuple(torch.from_numpy(part) for part in pairs)
    for pairs in (topology.EYELIDS_RIGHT, topology.EYELIDS_LEFT, topology.MOUTH)
]


def openings(points: torch.Tensor) -> torch.Tensor:
    """(n, 200, 3) → (n, 3): openings of the eyes and of the mouth over their widths."""
    return torch.stack(
        [
            _length(points[:, upper] - points[:, lower]).mean(1)
            / _length(points[:, corners[1]] - points[:, corners[0]]).clamp(min=0.03)
            for upper, lower, corners in _PAIRS
        ],
        1,
    )


def _length(vectors: torch.Tensor) -> torch.Tensor:
    return (vectors[..., :2].square().sum(-1) + 1e-6).sqrt()


class Loss:
    """Distances of points and depth in hundredths of the side; openings of eyes and mouth; presence; heat maps."""

    def __init__(self) -> None:
        self.weights = point_weights()
        self.ratio = torch.tensor([20.0, 20.0, 12.0])
        self.coarse = centres(1), centres(1)
        self.finer = centres(2, COLUMNS), centres(2, ROWS)

    @staticmethod
    def heat(logits: torch.Tensor, places: torch.Tensor, cells: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(n,) cross entropy to Gaussians around the places (n, k, 2), less what a perfect answer would have. cells: x
        of the map's columns and y of its rows."""
        near = []
        inside = torch.ones(places.shape[:2], dtype=torch.bool)
        for axis, centre in enumerate(cells):
            place = places[:, :, axis, None]
            bell = torch.exp(-0.5 * ((place - centre) / (SPREAD * (centre[1] - centre[0]))).square())
            near.append(bell / bell.sum(2, keepdim=True).clamp(min=1e-4))
            inside &= (place[..., 0] > centre[0]) & (place[..., 0] < centre[-1])
        wanted = (near[1][..., None] * near[0][:, :, None]).flatten(2)
        entropy = (torch.log(wanted + 1e-9) - functional.log_softmax(logits, 2)).mul(wanted).sum(2)
        return (entropy * inside).mean(1)

    def __call__(self, answer: tuple[torch.Tensor, ...], target: tuple[torch.Tensor, ...]) -> torch.Tensor:
        (points, logit, logits, finer), (label, presence, weight) = answer, target
        apart = points - label
        across = (apart[:, :, :2].square().sum(2) + 1e-5).sqrt()
        depth = (apart[:, :, 2].square() + 1e-5).sqrt()
        opening = torch.stack([_length(apart[:, a] - apart[:, b]).mean(1) for a, b, _ in _PAIRS], 1)
        ratio = (openings(points) - openings(label)).abs().clamp(max=0.5)
        each = 100 * ((across * self.weights).mean(1) + 0.3 * depth.mean(1) + 0.3 * opening.mean(1))
        each = each + ratio @ self.ratio
        each = each + self.heat(logits, label[:, ANCHORS, :2], self.coarse)
        each = each + 0.5 * self.heat(finer, label[:, FINE, :2], self.finer)
        known = presence >= 0
        seen = functional.binary_cross_entropy_with_logits(logit[known], presence[known])
        # As the logarithm would: a clear face must be met closely, a smudge at 16 pixels must not drown it.
        weight = weight / (each.detach() + 1)
        return (each * weight).sum() / weight.sum().clamp(min=1e-3) + seen


def errors(points: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """(n, 200, 3) twice → (n,) mean distance over 198 points, in distances of the eyes."""
    right, left = (label[:, outline, :2].mean(1) for outline in (topology.EYE_RIGHT, topology.EYE_LEFT))
    across = (points - label)[:, :198, :2].norm(dim=2).mean(1)
    return across / (right - left).norm(dim=1).clamp(min=0.05)


@torch.no_grad()
def validate(net: LandmarkNet, data: tuple[torch.Tensor, ...]) -> tuple[float, ...]:
    """Mean error over 198 points where the mesh is sure, in per cent of eye distances; presence decided right; and
    correlations with the mesh of the openings of eyes and mouth."""
    net.eval()
    apart, opened, right = [], [], []
    for crops, label, presence, weight in zip(*(part.split(256) for part in data), strict=True):
        points, logit, *_ = net(crops)
        apart.append(errors(points, label)[weight == 1])
        opened.append(torch.cat([openings(points), openings(label)], 1)[weight == 1])
        right.append(((logit > 0) == (presence > 0))[presence >= 0].float())
    net.train()
    alike = torch.corrcoef(torch.cat(opened).T)[:3, 3:].diag()
    return (
        100 * float(torch.cat(apart).mean()),
        100 * float(torch.cat(right).mean()),
        float(alike[:2].mean()),
        float(alike[2]),
    )


def train(
    shared: Path, labels: Path, run: Path, steps: int, shard: int, count: int, batch: int, top: float = RATE
) -> float:
    """Returns the last running loss over the first."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    folder = run / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    composer = multiprocessing.get_context("spawn").Process(
        target=compose, args=(shared, labels, folder, shard, count), daemon=True
    )
    composer.start()
    try:
        return _train(shared, labels, run, folder, steps, shard, batch, top)
    finally:
        composer.terminate()
        composer.join()


def _train(
    shared: Path, labels: Path, run: Path, folder: Path, steps: int, shard: int, batch: int, top: float
) -> float:
    held = run / "validation"
    if not held.exists():
        held.mkdir()
        pictures = iter(Pictures(shared, labels, 1, validation=True))
        viewer = Viewer(shared / "models" / "mp_face_landmark_468.onnx")
        write(held, "0000", [next(pictures) for _ in range(min(shard, 1536))], viewer, np.random.default_rng(2))
    shards, validation = Shards(folder), Shards(held)
    validation.look()
    unseen = validation.all()
    while not shards.images:
        time.sleep(1)
        shards.look()

    net, average = LandmarkNet(), LandmarkNet()
    slow = [*net.points.parameters(), *net.correct.parameters()]  # one step moves every point at once
    rest = [p for name, p in net.named_parameters() if not name.startswith(("points", "correct"))]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "share": 1.0}, {"params": slow, "share": 0.3}], weight_decay=1e-3, fused=True
    )
    elapsed, step, first, running = 0.0, 0, 0.0, 0.0
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        net.load_state_dict(state["net"])
        if "optimizer" in state:  # not where ``warm`` began
            optimizer.load_state_dict(state["optimizer"])
        elapsed, step, first, running = state["elapsed"], state["step"], state["first"], state["running"]
    else:
        known = np.concatenate(list(shards.views[0].transpose(1, 0, 2)))[:, 5:]
        net.start_from(known[known[:, -1] > 0, : POINTS * 3].reshape(-1, POINTS, 3))
        state = {"average": net.state_dict()}
    average.load_state_dict(state["average"])
    average.eval()
    net.to(memory_format=torch.channels_last)
    loss_of = Loss()
    rng = np.random.default_rng([step, int(time.time())])
    last_save, spent = time.monotonic(), time.process_time()
    before = elapsed
    while step < steps:
        rate = top * min(1, (step + 1) / 200, (steps - step) / (FALL * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        crops, *target = shards.batch(rng, batch)
        with torch.autocast("cpu", torch.bfloat16):
            answer = net(crops.to(memory_format=torch.channels_last))
        loss = loss_of(tuple(part.float() for part in answer), target)
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
        if now - last_save > 150 or step == steps:
            last_save = now
            elapsed = before + time.process_time() - spent
            error, right, eyes, mouth = validate(average, unseen)
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
                f"presence {right:.1f} %  eyes {eyes:.3f}  mouth {mouth:.3f}  "
                f"shards {len(shards.images)}  rate {rate:.1e}",
                flush=True,
            )
    return running / first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=60000, help="in all, with those of the checkpoint")
    parser.add_argument("--shards", type=int, default=60, help=f"to compose, of {SHARD} pictures and 120 MB each")
    parser.add_argument("--rate", type=float, default=RATE, help="of learning, before it falls")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    if not arguments.tiny:
        if arguments.labels is None:
            parser.error("the teacher's labels are missing: make them with teacher.py")
        train(
            arguments.shared,
            arguments.labels,
            arguments.run,
            arguments.steps,
            SHARD,
            arguments.shards,
            BATCH,
            arguments.rate,
        )
        return
    import export
    import quantise
    import teacher
    import warm

    arguments.run.mkdir(parents=True, exist_ok=True)
    labels = arguments.run / "labels.npz"
    teacher.label(arguments.shared, labels, limit=40)
    fall = train(arguments.shared, labels, arguments.run, 240, 128, 2, 16)
    print(f"loss fell to {100 * fall:.0f} % of where it began")
    if fall > 0.5:
        sys.exit("the loss did not fall by half")
    exported = arguments.run / "exported.onnx"
    export.export(arguments.run / "checkpoint.pt", exported)
    quantise.quantise(exported, arguments.run, arguments.run / "face_landmarks.onnx", batches=2)
    begun = arguments.run / "begun"
    begun.mkdir()
    (begun / "shards").symlink_to((arguments.run / "shards").resolve())
    apart = warm.begin(exported, begun)
    print(f"begun from its own export, the net differs from it by {apart:.1e}")
    if apart > 1e-3:
        sys.exit("a net that began from an export differs from it")


if __name__ == "__main__":
    main()
