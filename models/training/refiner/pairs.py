"""Pairs to learn from: a face drawn by the renderer as it is, and the picture it should look like.

    python pairs.py ../shared RUN [--count 6000]

Own pairs: a portrait of somebody who does not exist is spoilt as a camera and a codec spoil pictures, its own skin is
drawn over it by the embedded swapper where it is, and the answer is the portrait before the codec. Other people's
pairs: somebody of the bank is drawn over the portrait, where the project's landmark net sees it; there is no answer,
but a recogniser can tell whether the refined face looks more like the person underneath (``train.py``).

What is written: RUN/faces.npy uint8 (n, 8, 96, 96), what the net sees (``anonymizer.synthesis.refiner.view``);
RUN/scenes.npy uint8 (n, 3, 96, 96), Y, Cb, Cr of the picture in the same square; RUN/pairs.npz with ``own`` (n,),
``held`` (n,), one portrait in twelve set aside, ``portrait`` (n,), and ``five`` (n, 5, 2), the drawn face's eyes, nose
and mouth corners in the square's pixels.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent / "identities"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "detector"))
import curate
import degrade
import openings
from texture import Layout, take_out_light

from anonymizer.faces import topology
from anonymizer.faces.landmarks import Crop, Landmarker, crop_around
from anonymizer.frame import Planes
from anonymizer.synthesis import bank, preview
from anonymizer.synthesis import openings as drawn
from anonymizer.synthesis.bank import FaceModel, Identity
from anonymizer.synthesis.cosines import EVEN
from anonymizer.synthesis.embedded import EmbeddedSwapper, Settings
from anonymizer.synthesis.refiner import SIZE, Refiner, Rendered, square, view
from anonymizer.synthesis.swapper import Drawing, Order

OPENINGS = drawn.EYES, drawn.MOUTH
"""How much further eyes and mouths are drawn open or shut than a landmark net puts them."""
MODELS = Path(__file__).resolve().parents[2]
HEIGHTS = (26.0, 150.0)
"""Pixels: heights of the drawn faces, evenly spread in their logarithm."""
OTHERS = 0.3
"""Share of pairs in which somebody of the bank is drawn."""
MIXED = 0.1
"""Share of own pairs in which one part, brows or mouth say, is another portrait's."""
WRONG_LIGHT = 0.35
SHAPE = {"", "turned: yaw beyond 16 degrees", "tilted: pitch beyond 15 degrees", "mouth open", "eyes shut"}
LOOK = {"", "hard light from one side"}
"""What a portrait may have against it and still be learnt from."""


class Portraits(NamedTuple):
    """names (n,), points (n, 200, 2) in pixels, model: the face model with the portraits as donors, irises (n,)."""

    names: np.ndarray
    points: np.ndarray
    model: FaceModel
    irises: np.ndarray


def portraits(shared: Path, limit: int | None = None) -> Portraits:
    """The portraits that show one face, nothing over it, large enough; turned heads and open mouths included."""
    found = curate.measure(shared, limit)
    shape = np.array([reason in SHAPE for reason in curate.geometric(found)])
    by_eye = {name for name, (by, _) in curate.read_csv().items() if by == "eye"}
    shape &= np.array([name not in by_eye for name in found["names"].tolist()])
    names, points = found["names"][shape], found["points"][shape]
    model = FaceModel.load(MODELS / "face_model.npz")
    parts = {"skin": model.triangles, "right": model.eye_right, "left": model.eye_left, "mouth": model.mouth}
    layout = Layout(model.uv, parts)
    pictures = [cv2.imread(str(shared / "faces" / name)) for name in names]
    warped = np.array([layout.warp(picture, p) for picture, p in zip(pictures, points, strict=True)])
    good = np.array([reason in LOOK for reason in curate.pictorial(warped, model.uv, layout.part)])
    names, points, warped = names[good], points[good], warped[good]
    pictures = [picture for picture, keep in zip(pictures, good, strict=True) if keep]
    lit = take_out_light(warped, layout.part)
    ycc = np.array([cv2.cvtColor(t, cv2.COLOR_BGR2YCrCb) for t in lit])
    size = model.chroma.shape[1:3]
    chroma = [cv2.resize(c[..., 1:].astype(np.float32) - 128, size, interpolation=cv2.INTER_AREA) for c in ycc]
    rings = []
    for picture, p in zip(pictures, points, strict=True):
        _, _, white, ring = openings.ring_and_white(picture, p.astype(np.float64))
        blue, _, red = np.median(ring, 0) / max(float(white), 40) if len(ring) else (0, 0, 0)
        rings.append(blue - red)
    # The bank's irises run from the bluest to the brownest, and so do the portraits'.
    rank = np.argsort(np.argsort(np.array(rings)))
    irises = rank * len(model.iris) // max(1, len(rank))
    model = replace(model, luma=ycc[..., 0], chroma=np.rint(chroma).astype(np.int8))
    mesh = Landmarker(shared / "models/mp_face_landmark_468.onnx", iris=shared / "models/mp_iris_landmark.onnx")
    exact = [
        mesh.at(preview.planes(picture), [crop_around(p[:, :2])]).points[0]
        for picture, p in zip(pictures, points, strict=True)
    ]
    return Portraits(names, np.array(exact), model, irises)


def held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % 12 == 0


class Pair(NamedTuple):
    """face (8, 96, 96): what the net sees. scene (3, 96, 96): the picture. five (5, 2)."""

    face: np.ndarray
    scene: np.ndarray
    five: np.ndarray


class _Keep(Refiner):
    """Takes what the refiner would get."""

    def __init__(self) -> None:
        self.faces: list[Rendered] = []

    def __call__(self, faces: list[Rendered]) -> list[Drawing]:  # type: ignore[override]
        self.faces = list(faces)
        return [face.drawing for face in faces]


class Maker:
    """Makes pairs from the portraits."""

    def __init__(self, shared: Path, known: Portraits) -> None:
        self._folder, self._known = shared / "faces", known
        self._bank = FaceModel.load(MODELS / "face_model.npz")
        self._landmarks = Landmarker(MODELS / "face_landmarks.onnx")
        self._seen = _Keep()
        same = Settings(taken=0.0, given=0.0, tone=0.0, shades=0.0)
        self._own = EmbeddedSwapper(known.model, same, self._seen)
        self._others = EmbeddedSwapper(self._bank, None, self._seen)
        self._count = 0

    def __call__(self, index: int, own: bool, rng: np.random.Generator) -> Pair | None:
        """None where the face cannot be drawn. own: with the portrait's own skin."""
        picture, points = self._posed(index, rng)
        tall = float(np.ptp(points[:, 1]))
        if rng.random() < 0.5:
            picture = degrade.light(picture, rng)
        clean = degrade.optics(picture, rng, min(1.0, tall / 110))
        spoilt = clean
        if rng.random() < 0.4:
            spoilt = degrade.noise(spoilt, rng)
        coded = rng.random()
        if coded < 0.55:
            spoilt = degrade.h264(spoilt, rng)
        elif coded < 0.7:
            spoilt = degrade.jpeg(spoilt, rng)
        truth, planes = preview.planes(clean), preview.planes(spoilt)
        points = jittered(points, rng)
        if not own:
            crop = crop_around(points)
            x, y, grow = rng.normal(0, 0.03, 3)
            crop = Crop(crop.x + crop.side * x, crop.y + crop.side * y, crop.side * (1 + grow), crop.roll)
            found = self._landmarks.at(planes, [crop])
            if found.presence[0] < 0.5:
                return None
            points = found.points[0]
        swapper = self._own if own else self._others
        identity = self._self(index, rng) if own else self._somebody(rng)
        lit = relit(planes, rng) if own and rng.random() < WRONG_LIGHT else planes
        self._count += 1
        # Eyes, mouth and irises are drawn where they are, so that the net learns to leave them where it finds them.
        drawn.EYES, drawn.MOUTH = (1.0, 1.0) if own else OPENINGS
        swapper.draw([Order(lit, points, None, identity, self._count, True)], float(self._count))
        face = self._seen.faces[0]._replace(crop=planes)
        place = square(face.points)
        shown = Drawing(truth, np.full(truth.y.shape, 255, np.uint8))
        turn = place.to_frame(SIZE)
        five = (topology.five_points(face.points[None])[0] - turn[:, 2]) @ np.linalg.inv(turn[:, :2]).T
        return Pair(view(face, place), view(Rendered(truth, shown, face.points), place)[:3], five)

    def _posed(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A portrait, scaled, turned and mirrored, with its points (200, 2)."""
        picture = cv2.imread(str(self._folder / self._known.names[index]))
        points = self._known.points[index].copy()
        tall = float(np.ptp(points[:, 1]))
        scale = min(1.1, float(np.exp(rng.uniform(*np.log(HEIGHTS)))) / tall)
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
            points = (points * [-1, 1] + [picture.shape[1], 0])[topology.MIRROR]
        size = 2 * round(picture.shape[1] * scale / 2), 2 * round(picture.shape[0] * scale / 2)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), float(rng.normal(0, 7)), 1)
        picture = cv2.warpAffine(picture, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        return picture, ((points * scale) @ turn[:, :2].T + turn[:, 2]).astype(np.float32)

    def _self(self, index: int, rng: np.random.Generator) -> Identity:
        """The portrait's own skin and a like iris, mouth and eyes' white the bank's."""
        model = self._known.model
        donors = [index] * len(bank.PARTS)
        if rng.random() < MIXED:
            donors[int(rng.integers(1, len(donors)))] = int(rng.integers(len(model.luma)))
        return Identity(
            key=bank.key_of(int(rng.integers(2**40))),
            shape=model.shape_mean,
            texture=bank._assemble(model, tuple(donors)),
            iris=model.iris[self._known.irises[index]],
            sclera=model.sclera,
            mouth=model.mouths[int(rng.integers(len(model.mouths)))],
            donors=tuple(donors),
            coefficients=np.zeros(len(model.shape_modes), np.float32),
            complexion=np.zeros(len(EVEN), np.float32),
        )

    def _somebody(self, rng: np.random.Generator) -> Identity:
        return bank.sample(self._bank, bank.key_of(int(rng.choice(self._bank.people))))


def jittered(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (200, 2) off as a landmark net's are from frame to frame: together, and by a smooth bend."""
    side = float(np.ptp(points[:, 1]))
    u = (points - points.mean(0)) / side
    waves = np.stack([np.cos(np.pi * (a * u[:, 0] + b * u[:, 1]) + c) for a, b, c in rng.uniform(-2, 2, (6, 3))], 1)
    off = rng.normal(0, 0.004, 2) + waves @ rng.normal(0, 0.0025, (6, 2))
    return (points + side * off).astype(np.float32)


def relit(planes: Planes, rng: np.random.Generator) -> Planes:
    """The picture in another light: a smooth gain and a cast."""
    field = cv2.resize(
        rng.normal(0, 0.13, (3, 3)).astype(np.float32), planes.y.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    y = np.clip(planes.y * np.exp(field), 0, 255).astype(np.uint8)
    u, v = (np.clip(p + rng.normal(0, 3.0), 0, 255).astype(np.uint8) for p in (planes.u, planes.v))
    return Planes(y, u, v, planes.full_range)


def write(shared: Path, run: Path, count: int, limit: int | None = None, seed: int = 0) -> None:
    known = portraits(shared, limit)
    make = Maker(shared, known)
    rng = np.random.default_rng(seed)
    run.mkdir(parents=True, exist_ok=True)
    faces = np.lib.format.open_memmap(run / "faces.npy", "w+", np.uint8, (count, 8, SIZE, SIZE))
    scenes = np.lib.format.open_memmap(run / "scenes.npy", "w+", np.uint8, (count, 3, SIZE, SIZE))
    own, portrait, five = np.zeros(count, bool), np.zeros(count, int), np.zeros((count, 5, 2), np.float32)
    made = 0
    while made < count:
        index = int(rng.integers(len(known.names)))
        own[made], portrait[made] = rng.random() >= OTHERS, index
        pair = make(index, bool(own[made]), rng)
        if pair is not None:
            faces[made], scenes[made], five[made] = pair
            made += 1
            if made % 500 == 0:
                print(f"{made} pairs", flush=True)
    faces.flush()
    scenes.flush()
    held = np.array([held_out(known.names[i]) for i in portrait])
    np.savez(run / "pairs.npz", own=own, held=held, portrait=portrait, five=five, names=known.names)
    print(f"{count} pairs of {len(known.names)} portraits, {own.mean():.0%} with own skin, {held.mean():.0%} held out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=6000)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    write(options.shared, options.run, options.count)


if __name__ == "__main__":
    main()
