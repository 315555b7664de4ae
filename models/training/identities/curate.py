"""Which portraits may give their skin and shape: by measurement first, then by eye.

    python models/training/identities/curate.py --shared ../shared --work WORK

Writes WORK/portraits.npz (points and textures of the portraits that passed the measurements), WORK/sheet_*.png to look
at, and the measured rows of curation.csv. The rows marked ``eye`` in curation.csv were written by somebody who looked
at those sheets; they are kept. Whatever curation.csv names is left out.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import geometry
import numpy as np
from nets import Detector, Mesh
from texture import SIDE, Layout

from anonymizer.faces import topology as T

CSV = Path(__file__).with_name("curation.csv")
AREAS = {
    "forehead": T.points(103, 10, 332, 105, 9, 334),
    "right cheek": T.points(50, 118, 205, 129),
    "left cheek": T.points(280, 347, 425, 358),
    "right temple": T.points(104, 54, 103, 108),
    "left temple": T.points(333, 284, 332, 337),
    "right side": T.points(123, 93, 147, 187),
    "left side": T.points(352, 323, 376, 411),
    "bridge": T.points(122, 351, 419, 196),
    "chin": T.points(18, 32, 175, 262),
}


def measure(shared: Path, limit: int | None = None) -> dict[str, np.ndarray]:
    """Mesh, presence and number of faces of every portrait in which a face is found."""
    detector, mesh = Detector(shared / "models"), Mesh(shared / "models")
    files = sorted((shared / "faces").glob("*.jpg"))
    if limit is not None:
        files = files[:: max(1, len(files) // limit)][:limit]
    names, points, presence, count = [], [], [], []
    for file in files:
        picture = cv2.imread(str(file))
        faces = detector(picture)
        names.append(file.name)
        count.append(len(faces))
        found = mesh(picture, faces[0]) if len(faces) else (np.zeros((468, 3), np.float32), 0.0)
        points.append(found[0])
        presence.append(found[1])
    return {
        "names": np.array(names),
        "points": geometry.points_200(np.array(points)),
        "presence": np.array(presence),
        "count": np.array(count),
    }


def opening(shapes: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """(n, 200, 3) → (n,) distance of the lids or lips as a share of the distance of the corners."""
    upper, lower, corners = pairs
    gap = np.linalg.norm(shapes[:, upper, :2] - shapes[:, lower, :2], axis=-1).mean(1)
    return gap / np.linalg.norm(shapes[:, corners[0], :2] - shapes[:, corners[1], :2], axis=-1)


def geometric(found: dict[str, np.ndarray]) -> list[str]:
    """For each portrait the first reason that its geometry gives to leave it out, or an empty string."""
    points = found["points"].astype(np.float64)
    seen = found["presence"] > 0.5
    shapes, rotations = np.zeros_like(points), np.tile(np.eye(3), (len(points), 1, 1))
    _, shapes[seen], rotations[seen] = geometry.frontal(points[seen])
    pose = np.abs(geometry.angles(rotations))
    eyes = np.linalg.norm(points[:, T.IRIS_RIGHT, :2] - points[:, T.IRIS_LEFT, :2], axis=1)
    with np.errstate(invalid="ignore"):
        lids = np.minimum(opening(shapes, T.EYELIDS_RIGHT), opening(shapes, T.EYELIDS_LEFT))
        lips = opening(shapes, T.MOUTH)
    tests = {
        "no face, or several": (found["count"] != 1) | (found["presence"] < 0.98),
        "small: eyes less than 36 px apart": eyes < 36,
        "turned: yaw beyond 16 degrees": pose[:, 0] > 16,
        "tilted: pitch beyond 15 degrees": pose[:, 1] > 15,
        "mouth open": lips > 0.085,
        "eyes shut": lids < 0.19,
    }
    return [next((reason for reason, bad in tests.items() if bad[i]), "") for i in range(len(points))]


def areas(uv: np.ndarray) -> dict[str, np.ndarray]:
    masks = {}
    for name, points in AREAS.items():
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.int32(uv[points] * SIDE)), 1)
        masks[name] = mask > 0
    return masks


def pictorial(textures: np.ndarray, uv: np.ndarray, part: np.ndarray) -> list[str]:
    """For each texture (n, s, s, 3) the first reason that its pixels give, or an empty string.

    Hats, fringes and glasses make foreheads, temples and the bridge of the nose unlike the cheeks or full of edges;
    hard light makes the two sides unlike.
    """
    masks = areas(uv)
    reasons = []
    for texture in textures:
        lab = cv2.cvtColor(texture, cv2.COLOR_BGR2LAB).astype(np.float32)
        luma = lab[..., 0]
        soft = cv2.GaussianBlur(luma, (0, 0), 2)
        middle = soft - cv2.GaussianBlur(luma, (0, 0), 8)
        mean = {name: lab[mask].mean(0) for name, mask in masks.items()}
        edges = {name: float(middle[mask].std()) for name, mask in masks.items()}
        cheek = (mean["right cheek"] + mean["left cheek"]) / 2

        def unlike(name: str, light: float, mean: dict[str, np.ndarray] = mean, cheek: np.ndarray = cheek) -> float:
            return float(np.linalg.norm((mean[name] - cheek) * [light, 1, 1]))

        def sides(name: str, mean: dict[str, np.ndarray] = mean, cheek: np.ndarray = cheek) -> float:
            return float(abs(mean[f"right {name}"][0] - mean[f"left {name}"][0]) / cheek[0])

        tests = {
            "too dark or too bright": not 60 < cheek[0] < 222,
            "hard light from one side": sides("cheek") > 0.4 or sides("side") > 0.8,
            "forehead covered": unlike("forehead", 0.6) > 30,
            "temples covered": max(unlike("right temple", 0.4), unlike("left temple", 0.4)) > 42,
            "edges at the temples": max(edges["right temple"], edges["left temple"]) > 20,
            "edges on the bridge of the nose: glasses": edges["bridge"] > 26,
            "chin covered": unlike("chin", 0.4) > 40,
            "out of focus": (luma - soft)[part >= 0].std() < 0.025 * cheek[0],
        }
        reasons.append(next((reason for reason, bad in tests.items() if bad), ""))
    return reasons


def read_csv(path: Path = CSV) -> dict[str, tuple[str, str]]:
    """Name of a portrait that is left out → who says so (measured or eye) and why."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["name"]: (row["by"], row["reason"]) for row in csv.DictReader(file)}


def write_csv(rows: dict[str, tuple[str, str]], path: Path = CSV) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "by", "reason"])
        writer.writerows([name, *rows[name]] for name in sorted(rows))


def sheet(textures: np.ndarray, labels: list[str], columns: int = 12) -> np.ndarray:
    """Textures side by side, each with its label, as uint8 BGR."""
    tiles = []
    for texture, label in zip(textures, labels, strict=True):
        tile = np.vstack([cv2.resize(texture, (128, 128)), np.zeros((14, 128, 3), np.uint8)])
        cv2.putText(tile, label, (2, 138), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (0, 255, 255), 1, cv2.LINE_AA)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def portraits(shared: Path, limit: int | None = None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Points and textures of the portraits that passed the measurements, and the others' reasons."""
    found = measure(shared, limit)
    reasons = np.array(geometric(found), object)
    at = np.flatnonzero(reasons == "")
    points = found["points"][at]
    mean, _, _ = geometry.frontal(points.astype(np.float64))
    uv = geometry.layout(mean)
    layout = Layout(uv, geometry.triangles(uv, mean))
    pictures = [cv2.imread(str(shared / "faces" / name)) for name in found["names"][at]]
    textures = np.array([layout.warp(picture, p) for picture, p in zip(pictures, points, strict=True)])
    reasons[at] = pictorial(textures, uv, layout.part)
    good = reasons[at] == ""
    out = {name: why for name, why in zip(found["names"].tolist(), reasons, strict=True) if why}
    return {"names": found["names"][at][good], "points": points[good], "textures": textures[good]}, out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    passed, left_out = portraits(options.shared)
    rows = {name: row for name, row in read_csv().items() if row[0] == "eye"}
    rows |= {name: ("measured", reason) for name, reason in left_out.items()}
    write_csv(rows)
    np.savez(options.work / "portraits.npz", **passed)
    for start in range(0, len(passed["names"]), 120):
        names = [name.removesuffix(".jpg")[-20:] for name in passed["names"][start : start + 120]]
        cv2.imwrite(
            str(options.work / f"sheet_{start // 120}.png"), sheet(passed["textures"][start : start + 120], names)
        )
    kept = sum(name not in rows for name in passed["names"])
    print(
        f"{len(passed['names']) + len(left_out)} portraits, {len(passed['names'])} passed the measurements, {kept} kept"
    )


if __name__ == "__main__":
    main()
