"""Build the face model from the curated portraits.

    python models/training/identities/build.py --shared ../shared --work WORK [--out models/face_model.npz]
    python models/training/identities/build.py --shared ../shared --tiny --out OUT.npz

``curate.py`` writes WORK first. ``--tiny`` measures 240 portraits itself, makes a small model in under a minute, reads
it through the package and checks that its people differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import curate
import cv2
import geometry
import numpy as np
import openings
from nets import Detector, Mesh
from texture import SIDE, Layout, blur, take_out_light

from anonymizer.faces import topology as T
from anonymizer.synthesis.bank import Bank, FaceModel

MODES = 24
KIN = 64
CHROMA_SIDE = 40


def modes(shapes: np.ndarray, mean: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Shapes (n, 200, 3) → modes (count, 200, 3) of one standard deviation, and the share of variance they hold.

    Principal components of the shapes and their mirror images. One-sidedness counts half: much of it is the mesh net's
    error.
    """
    offset = shapes - mean
    even = geometry.symmetric(offset)
    data = np.concatenate([even + 0.5 * (offset - even), even - 0.5 * (offset - even)]).reshape(2 * len(shapes), -1)
    _, s, vt = np.linalg.svd(data, full_matrices=False)
    count = min(count, len(shapes) - 1)
    found = vt[:count] * (s[:count, None] / np.sqrt(len(data)))
    return found.reshape(count, T.COUNT, 3), float((s[:count] ** 2).sum() / (s**2).sum())


def regions(uv: np.ndarray, side: int = SIDE, small: int = 80) -> np.ndarray:
    """Soft masks (5, small, small), ``bank.PARTS`` less the skin, in the texture: 255 where the part is whole."""
    nose = T.points(168, 122, 129, 98, 97, 2, 326, 327, 358, 351)
    muzzle = T.points(98, 2, 327, 216, 436, 32, 262, 175)  # with moustache and chin, so that beards are not cut
    brow = int(uv[T.points(46, 276), 1].mean() * side)
    above = np.zeros((side, side), np.uint8)
    above[:brow] = 255
    parts: list[tuple[list[np.ndarray], int, float]] = [
        ([T.EYE_RIGHT, T.EYE_LEFT], 6, 3.0),
        ([T.BROW_RIGHT, T.BROW_LEFT], 5, 2.5),  # after the eyes, whose mask would cut the brows' lower edge
        ([nose], 3, 3.5),
        ([muzzle, T.LIPS_OUTER], 3, 4.0),
    ]
    masks = [cv2.resize(cv2.GaussianBlur(above, (0, 0), 5.0), (small, small), interpolation=cv2.INTER_AREA)]
    for outlines, grow, soft in parts:
        mask = np.zeros((side, side), np.uint8)
        for outline in outlines:
            cv2.fillConvexPoly(mask, cv2.convexHull(np.int32(uv[outline] * side)), 255)
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1)))
        masks.append(cv2.resize(cv2.GaussianBlur(mask, (0, 0), soft), (small, small), interpolation=cv2.INTER_AREA))
    return np.array(masks)


def slack(uv: np.ndarray, parts: dict[str, np.ndarray], side: int = SIDE, small: int = 80) -> np.ndarray:
    """Where the texture may be bent, uint8 (small, small): nowhere at lids and lips, 255 from 12 texels on."""
    pinned = np.full((side, side), 255, np.uint8)
    for name in ("eye_right_triangles", "eye_left_triangles", "mouth_triangles"):
        for triangle in parts[name]:
            cv2.fillConvexPoly(pinned, np.rint(uv[triangle] * side * 16).astype(np.int32), 0, shift=4)
    distance = cv2.distanceTransform(pinned, cv2.DIST_L2, 5)
    free = np.rint(255 * np.clip((distance - 2) / 10, 0, 1)).astype(np.uint8)
    return cv2.resize(free, (small, small), interpolation=cv2.INTER_AREA)


def grain(luma: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """(n, s, s) → (n, d): how rough the skin is in two bands and 25 places (wrinkles, stubble), in logarithms."""
    rows = []
    for picture in luma.astype(np.float32):
        soft, softer = blur(picture, 1.5), blur(picture, 5.0)
        bands = [np.where(skin, band * band, 0) for band in (picture - soft, soft - softer)]
        rows.append(np.concatenate([cv2.resize(b, (5, 5), interpolation=cv2.INTER_AREA).ravel() for b in bands]))
    return np.log(np.sqrt(np.array(rows)) + 0.5)


def kin(luma: np.ndarray, chroma: np.ndarray, skin: np.ndarray, count: int) -> np.ndarray:
    """(n, count): for each donor the others whose parts go with its own.

    Alike in roughness, so that age does not change at a seam, and as much in what a small picture shows: beard,
    strength of brows, colour of lips.
    """
    look = [
        np.concatenate([cv2.resize(y, (10, 10), interpolation=cv2.INTER_AREA).ravel(), c[::4, ::4].ravel()])
        for y, c in zip(luma, chroma, strict=True)
    ]
    distance = np.zeros((len(luma), len(luma)))
    for features, weight in ((grain(luma, skin), 1.0), (np.array(look, np.float64), 1.0)):
        gap = ((features[:, None] - features[None]) ** 2).sum(-1)
        distance += weight * gap / gap.mean()
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, 1, kind="stable")[:, : min(count, len(luma) - 1)]


def mouths(shared: Path) -> np.ndarray:
    """The insides of the chosen open mouths, uint8 (n, 32, 64, 3)."""
    detector, mesh = Detector(shared / "models"), Mesh(shared / "models")
    found = []
    for name in openings.MOUTHS:
        picture = cv2.imread(str(shared / "faces" / f"{name}.jpg"))
        points = geometry.points_200(mesh(picture, detector(picture)[0])[0][None])[0]
        found.append(openings.mouth(picture, points.astype(np.float64)))
    return np.array(found)


def build(shared: Path, names: np.ndarray, points: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """The arrays of the model file from portraits' names and points (n, 200, 3), and the modes' share of variance."""
    points = points.astype(np.float64)
    pictures = [cv2.imread(str(shared / "faces" / name)) for name in names]
    mean, shapes, _ = geometry.frontal(points)
    uv = geometry.layout(mean)
    parts = geometry.triangles(uv, mean)
    layout = Layout(uv, parts)
    warped = np.array([layout.warp(picture, p) for picture, p in zip(pictures, points, strict=True)])
    lit = take_out_light(warped, layout.part)
    ycc = np.array([cv2.cvtColor(t, cv2.COLOR_BGR2YCrCb) for t in lit])
    size = (CHROMA_SIDE, CHROMA_SIDE)
    chroma = [cv2.resize(c[..., 1:].astype(np.float32) - 128, size, interpolation=cv2.INTER_AREA) for c in ycc]
    skin = (layout.part == 0) & (cv2.distanceTransform((layout.part >= 0).astype(np.uint8), cv2.DIST_L2, 5) > 10)
    tone = lit[:, skin].reshape(-1, 3).mean(0)
    colours = openings.iris_colours(pictures, points, tone, 24)
    mean = geometry.shut(mean[None])[0]
    shape_modes, share = modes(geometry.shut(shapes), mean, MODES)
    arrays = {
        "shape_mean": mean.astype(np.float32),
        "shape_modes": shape_modes.astype(np.float16),
        "uv": uv,
        "luma": ycc[..., 0],
        "chroma": np.rint(chroma).astype(np.int8),
        "regions": regions(uv),
        "slack": slack(uv, parts),
        "kin": kin(ycc[..., 0], np.array(chroma), skin, KIN).astype(np.uint8),
        "iris": np.array([openings.draw_iris(colour, seed) for seed, colour in enumerate(colours)]),
        "sclera": openings.sclera(pictures, points),
        "mouths": mouths(shared),
        "people": np.arange(64, dtype=np.int32),  # vet.py replaces them
    }
    return arrays | parts, share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--work", type=Path, help="folder that curate.py has written")
    parser.add_argument("--out", type=Path, default=Path("models/face_model.npz"))
    parser.add_argument("--tiny", action="store_true", help="a small model, to see that the recipe runs")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.tiny:
        passed, _ = curate.portraits(options.shared, limit=240)
    elif options.work is None:
        parser.error("--work is needed: the folder that curate.py has written")
    else:
        passed = dict(np.load(options.work / "portraits.npz"))
    left_out = curate.read_csv()
    keep = np.array([name not in left_out for name in passed["names"].tolist()])
    arrays, share = build(options.shared, passed["names"][keep], passed["points"][keep])
    np.savez_compressed(options.out, **arrays)
    size = options.out.stat().st_size
    model = FaceModel.load(options.out)
    print(f"{keep.sum()} donors, {len(model.shape_modes)} modes ({share:.1%} of the variance), {size / 1e6:.2f} MB")
    if size > 4e6:
        raise SystemExit(f"{options.out} has {size} bytes; 4,000,000 are allowed: use fewer donors")
    bank = Bank(model, b"a key to check the model with")
    first, second = bank.identity("check", 1), bank.identity("check", 2)
    difference = float(np.abs(first.texture.astype(float) - second.texture.astype(float)).mean())
    if difference < 1 or np.abs(first.shape - second.shape).max() < 0.01:
        raise SystemExit(f"two people of the bank are the same (mean difference {difference:.2f} grey levels)")


if __name__ == "__main__":
    main()
