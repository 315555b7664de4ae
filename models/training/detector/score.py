"""Score detectors with YuNet's contract: labelled clips and masked photographs, at equal false positives.

``python score.py TEACHER.onnx STUDENT.onnx --work WORK [--sizes 640 960]`` prints coverage (margin 0.15) by height
through labels/recall.py. The student's threshold is the one that gives the teacher's false positives per frame.
Frames are resized so that the long side is SIZE (never enlarged) and padded to multiples of 32.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from teacher import Runner, aside, labels, overlaps, shared

LOW = 0.04
CLOSE = ("liveportrait_d", "liveportrait_s18", "group_5.")
Frame = NDArray[np.uint8]


def recall() -> ModuleType:
    """The shared scorer as a module."""
    spec = importlib.util.spec_from_file_location("recall", shared() / "labels" / "recall.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fit(picture: Frame, size: int, enlarge: bool) -> tuple[Frame, float]:
    """The picture with its long side at most (or exactly) ``size``, and the scale."""
    scale = size / max(picture.shape[:2])
    if scale >= 1 and not enlarge:
        return picture, 1.0
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=kind).astype(np.uint8), scale


def frames(source: Path, wanted: set[int]) -> list[tuple[int, Frame]]:
    """The wanted frames (BGR) of a clip or a photograph, by number in decoding order."""
    if source.suffix.lower() in (".jpg", ".jpeg", ".png"):
        picture = cv2.imread(str(source))
        assert picture is not None, source
        return [(0, picture.astype(np.uint8))]
    out = []
    with av.open(str(source)) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index in wanted:
                out.append((index, frame.to_ndarray(format="bgr24").astype(np.uint8)))
            if index >= max(wanted):
                break
    return out


def truth(most: int = 0) -> dict[str, Any]:
    """The label files of labels/dev; at most ``most`` frames of each (0: all), spread over the clip."""
    out = {}
    for path in sorted((shared() / "labels" / "dev").glob("*.json")):
        label = json.loads(path.read_text())
        if most:
            label["frames"] = label["frames"][:: -(-len(label["frames"]) // most)]
        out[path.name] = label
    return out


def shown(label: dict[str, Any], name: str, size: int, enlarge: bool, store: Path) -> list[tuple[int, Frame, float]]:
    """The labelled frames as the detectors get them, and their scale; decoded once and kept in ``store``."""
    kept = store / f"{name}-{size}-{int(enlarge)}-{len(label['frames'])}.npz"
    if kept.exists():
        with np.load(kept) as data:
            return list(zip(data["index"].tolist(), data["frames"], data["scale"].tolist(), strict=True))
    wanted = {f["index"] for f in label["frames"]}
    out = []
    for index, picture in frames(shared() / "footage" / label["bundle_path"], wanted):
        small, scale = fit(picture, size, enlarge)
        out.append((index, small, scale))
    store.mkdir(parents=True, exist_ok=True)
    arrays = {"index": [o[0] for o in out], "frames": np.stack([o[1] for o in out]), "scale": [o[2] for o in out]}
    np.savez(kept, **arrays)  # type: ignore[arg-type]
    return out


def predict(
    runners: list[Runner], labelled: dict[str, Any], size: int, enlarge: bool, store: Path
) -> list[dict[str, Any]]:
    """For each detector, predictions by label file; boxes carry their score."""
    out: list[dict[str, Any]] = [{} for _ in runners]
    for name, label in labelled.items():
        found: list[list[Any]] = [[] for _ in runners]
        for index, small, scale in shown(label, name, size, enlarge, store):
            for k, runner in enumerate(runners):
                rows = runner.find(small, LOW)
                boxes = np.concatenate([rows[:, :4] / scale, rows[:, 14:]], 1)
                found[k].append({"index": index, "boxes": boxes.tolist()})
        for k in range(len(runners)):
            out[k][name] = {"frames": found[k]}
    return out


def total(
    scorer: ModuleType, labelled: dict[str, Any], found: dict[str, Any], threshold: float, margin: float, keep: Any
) -> Any:
    """Merged score of the label files that ``keep`` accepts."""
    return scorer.merge([scorer.score(labelled[n], found[n], margin, threshold) for n in labelled if keep(n)])


def over20(row: Any) -> float:
    """Share of faces at least 20 px high that are covered, percent."""
    return float(100 * row["cov"][1:].sum() / max(1, row["n"][1:].sum()))


def equal(scorer: ModuleType, labelled: dict[str, Any], found: dict[str, Any], wanted: float, margin: float) -> float:
    """The lowest threshold with at most ``wanted`` false positives per frame over all files."""
    low, high = LOW, 0.95
    for _ in range(9):
        middle = (low + high) / 2
        row = total(scorer, labelled, found, middle, margin, lambda _: True)
        if row["fp"] / row["frames"] > wanted:
            low = middle
        else:
            high = middle
    return high


SETS = {
    "all": lambda n: True,
    "street": lambda n: n.startswith("street"),
    "people-walking": lambda n: n.startswith("people-walking"),
    "groups": lambda n: n.startswith("group"),
    "asl": lambda n: n.startswith("asl"),
    "close": lambda n: n.startswith(CLOSE),
    "all but close": lambda n: not n.startswith(CLOSE),
}


def clips(
    runners: list[Runner], labelled: dict[str, Any], size: int, margin: float, enlarge: bool, detail: bool, store: Path
) -> float:
    """Print the table of the clips at one size; returns the last detector's threshold."""
    scorer = recall()
    found = predict(runners, labelled, size, enlarge, store)
    base = total(scorer, labelled, found[0], 0.3, margin, lambda _: True)
    wanted = base["fp"] / base["frames"]
    limits = [0.3] + [equal(scorer, labelled, f, wanted, margin) for f in found[1:]]
    shown = " ".join(f"{limit:.3f}" for limit in limits)
    print(f"long side {size}: thresholds {shown}, {wanted:.3f} false positives a frame", flush=True)
    for name, keep in SETS.items():
        rows = [total(scorer, labelled, f, limit, margin, keep) for f, limit in zip(found, limits, strict=True)]
        cells = []
        for row in rows:
            bins = " ".join(f"{100 * c / n:5.1f}" if n else "    -" for c, n in zip(row["cov"], row["n"], strict=True))
            cells.append(f"{over20(row):5.1f} [{bins}]")
        faces = rows[0]["n"].tolist()
        print(f"  {name:15s} {' | '.join(cells)}  faces {faces} fp {' '.join(str(r['fp']) for r in rows)}", flush=True)
    if detail:
        for name, label in labelled.items():
            row = scorer.score(label, found[-1][name], margin, limits[-1])
            for miss in row["misses"]:
                if miss[3][3] >= 20:
                    print("   miss", name, *miss)
    return limits[-1]


def masked(runners: list[Runner], work: Path, seed: int = 7) -> None:
    """Print the share of held-out masked people found, pasted over held-out scenes at three sizes.

    The first detector at 0.3, the others where they give at most as many other boxes at all sizes together.
    """
    known = labels(work / "labels.npz")
    photos = [p for p in sorted((shared() / "photos" / "masked").glob("*.jpg")) if aside(p)]
    scenes = [p for p in sorted((shared() / "photos" / "scenes").glob("*.jpg")) if aside(p)]
    rng = np.random.default_rng(seed)
    sides = (40, 64, 110)
    hits = np.zeros((len(runners), len(sides), len(photos)))
    wrong: list[list[list[float]]] = [[[] for _ in sides] for _ in runners]
    for s, side in enumerate(sides):
        for p, path in enumerate(photos):
            scene = cv2.imread(str(scenes[int(rng.integers(len(scenes)))]))
            photo = cv2.imread(str(path))
            assert scene is not None and photo is not None
            canvas = cv2.resize(scene, (320, 320)).astype(np.uint8)
            scale = side / max(photo.shape[:2])
            small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            y, x = (int(rng.integers(320 - v)) for v in small.shape[:2])
            canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
            _, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 70])
            seen = cv2.imdecode(data, cv2.IMREAD_COLOR)
            assert seen is not None
            rows = known[f"photos/masked/{path.name}"]
            if len(rows):
                want = rows[np.argmax(rows[:, 14])][:4] * scale + np.array([x, y, 0, 0], np.float32)
            else:
                want = np.array([x, y, small.shape[1], small.shape[0]], np.float32)
            for k, runner in enumerate(runners):
                found = runner.find(seen.astype(np.uint8), LOW)
                good = overlaps(want, found) > 0.3 if len(found) else np.zeros(0, bool)
                hits[k, s, p] = found[good, 14].max(initial=0)
                wrong[k][s] += found[~good, 14].tolist()
    allowed = sum(v >= 0.3 for w in wrong[0] for v in w)
    limits = [0.3]
    for w in wrong[1:]:
        scores = sorted((v for per in w for v in per), reverse=True)
        limits.append(scores[allowed] + 1e-6 if len(scores) > allowed else LOW)
    print("  masked: thresholds " + " ".join(f"{limit:.3f}" for limit in limits))
    for s, side in enumerate(sides):
        cells = []
        for k, limit in enumerate(limits):
            cells.append(f"{100 * (hits[k, s] >= limit).mean():.1f} ({sum(v >= limit for v in wrong[k][s])})")
        print(f"  masked {side} px: {' | '.join(cells)} % of {len(photos)} (other boxes)", flush=True)


def people(runners: list[Runner], limits: list[float], work: Path) -> None:
    """Print recall on the held-out photographs of people against the best-scale labels, at 1024 and smaller."""
    known = labels(work / "labels.npz")
    held = [p for p in sorted((shared() / "photos" / "people").glob("*.jpg")) if aside(p)]
    for size in (1024, 512, 320):
        hits = np.zeros(len(runners), int)
        wrong = np.zeros(len(runners), int)
        count = 0
        for path in held:
            picture = cv2.imread(str(path))
            assert picture is not None
            small, scale = fit(picture.astype(np.uint8), size, False)
            rows = known[f"photos/people/{path.name}"].copy()
            rows[:, :14] *= scale
            sure = rows[(rows[:, 15] > 0) & (rows[:, 3] >= 7)]
            count += len(sure)
            for k, (runner, limit) in enumerate(zip(runners, limits, strict=True)):
                found = runner.find(small, limit)
                if not len(found):
                    continue
                hits[k] += sum(overlaps(r, found).max() > 0.3 for r in sure)
                wrong[k] += sum(overlaps(f, rows).max(initial=0) < 0.1 for f in found)
        share = " | ".join(f"{100 * h / max(1, count):.1f} ({w})" for h, w in zip(hits, wrong, strict=True))
        print(f"  people {size}: {share} % of {count} (other boxes)", flush=True)


def cost(runners: list[Runner]) -> None:
    """Print process CPU time of one frame, one thread, the detectors taking turns."""
    for high, wide in ((384, 640), (544, 960)):
        picture = np.random.default_rng(0).integers(0, 255, (1, 3, high, wide)).astype(np.float32)
        spent: list[list[float]] = [[] for _ in runners]
        for _ in range(60):
            for k, runner in enumerate(runners):
                start = time.process_time()
                runner.session.run(None, {"input": picture})
                spent[k].append(time.process_time() - start)
        print(f"  {wide}x{high}: " + " | ".join(f"{1e3 * np.median(s[10:]):.2f} ms" for s in spent), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="the teacher first")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[640, 960])
    parser.add_argument("--margin", type=float, default=0.15)
    parser.add_argument("--most", type=int, default=0, help="at most so many frames of each clip")
    parser.add_argument("--enlarge", action="store_true", help="enlarge smaller pictures to the size")
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--quick", action="store_true", help="clips only")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    runners = [Runner(path) for path in args.models]
    labelled = truth(args.most)
    limit = 0.3
    for size in args.sizes:
        limit = clips(runners, labelled, size, args.margin, args.enlarge, args.misses, args.work / "frames")
    if not args.quick:
        limits = [0.3] + [limit] * (len(runners) - 1)
        masked(runners, args.work)
        people(runners, limits, args.work)
        cost(runners)


if __name__ == "__main__":
    main()
