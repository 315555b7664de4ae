"""Every labelled clip and photo redacted, and scored by the shared recall.py and leak.py.

    python -m tests.bench.bars [--config FILE] [--only NAME…] [--no-leak] [--out FOLDER]

recall.py reads the report; leak.py believes only the pixels. Still matching is pooled over all faces of the clips of
people: street, people-walking, asl and liveportrait.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anonymizer.boxes import iou

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("ANONYMIZER_SHARED", ROOT.parent / "shared"))
MOVING = ("street", "people-walking", "asl", "liveportrait")


def redact(label: Path, out: Path, extra: list[str]) -> tuple[Path, Path, Path]:
    """(source, result, report) of a label file's clip."""
    source = SHARED / "footage" / json.loads(label.read_text())["bundle_path"]
    result, report = out / f"{label.stem}.mp4", out / f"{label.stem}.json"
    command = [
        sys.executable,
        "-m",
        "anonymizer.cli",
        "redact",
        str(source),
        str(result),
        "--report",
        str(report),
        "--json",
    ]
    done = subprocess.run([*command, *extra], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{label.stem}: {done.stderr}")
    return source, result, report


def recall(labels: Path, reports: Path) -> dict[str, Any]:
    command = [sys.executable, str(SHARED / "labels" / "recall.py"), str(labels), str(reports), "--json"]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def leak(source: Path, result: Path, label: Path, report: Path) -> dict[str, Any]:
    command = [sys.executable, str(SHARED / "labels" / "leak.py"), str(source), str(result), str(label)]
    done = subprocess.run([*command, "--report", str(report), "--json"], capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"error": done.stderr.strip()}


def replaced(label: Path, report: Path) -> tuple[int, int, int, int]:
    """Frontal and half-profile faces of at least 48 px: all, replaced; all faces of at least 12 px: all, replaced."""
    known = {frame["index"]: frame["faces"] for frame in json.loads(label.read_text())["frames"]}
    near = near_replaced = every = every_replaced = 0
    for frame in json.loads(report.read_text())["frames"]:
        for face in known.get(frame["index"], []):
            if face["state"] != "face":
                continue
            swapped = any(one["method"] == "replace" and iou(one["box"], face["box"]) > 0.25 for one in frame["faces"])
            every += 1
            every_replaced += swapped
            if face["box"][3] >= 48 and face["pose"] in ("frontal", "half"):
                near += 1
                near_replaced += swapped
    return near, near_replaced, every, every_replaced


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config")
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--no-leak", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="anonymizer-bars-"))
    out.mkdir(parents=True, exist_ok=True)
    extra = ["--config", given.config] if given.config else []
    extra += ["--thorough"] if given.thorough else []
    labels = sorted((SHARED / "labels" / "dev").glob("*.json"))
    labels = [label for label in labels if not given.only or any(label.stem.startswith(one) for one in given.only)]
    chosen, reports = out / "labels", out / "reports"
    chosen.mkdir(exist_ok=True)
    reports.mkdir(exist_ok=True)
    leaks: dict[str, dict[str, Any]] = {}
    swaps = [0, 0, 0, 0]
    for label in labels:
        source, result, report = redact(label, out, extra)
        (chosen / label.name).write_text(label.read_text())
        (reports / label.name).write_text(report.read_text())
        if label.stem.startswith(MOVING):
            swaps = [a + b for a, b in zip(swaps, replaced(label, report), strict=True)]
            if not given.no_leak:
                leaks[label.stem] = leak(source, result, label, report)
    scores = recall(chosen, reports)
    show(scores, leaks, swaps)
    (out / "bars.json").write_text(json.dumps({"recall": scores, "leak": leaks, "replaced": swaps}))


def show(scores: dict[str, Any], leaks: dict[str, dict[str, Any]], swaps: list[int]) -> None:
    console = Console(width=150)
    table = Table("clip", "faces", "covered %", "12-20", "20-32", "32-64", "64+", "longest miss", "spill %", "fp/frame",
                  "untouched", "left", "found %", "outside dB")  # fmt: skip
    rows = {**scores["clips"], "total": scores["total"]}
    for name, row in rows.items():
        stem = name.removesuffix(".json")
        told = leaks.get(stem, {})
        bins = [f"{v:.1f}" if v == v else "" for v in row["cov_bins"]]  # noqa: PLR0124
        seen = [
            f"{told[key]:.2f}" if told.get(key) is not None else ""
            for key in ("untouched", "left", "found_replaced", "outside_psnr")
        ]
        if "error" in told:
            seen = ["leak.py failed", "", "", ""]
        table.add_row(stem, str(row["faces"]), f"{row['cov']:.1f}", *bins, str(row["longest"]), f"{row['spill']:.2f}",
                      f"{row['fp_per_frame']:.2f}", *seen)  # fmt: skip
    console.print(table)
    failed = {stem: told["error"] for stem, told in leaks.items() if "error" in told}
    for stem, error in failed.items():
        console.print(f"{stem}: leak.py failed: {error}", markup=False)
    lacking = f", without {', '.join(failed)}" if failed else ""
    for recogniser in ("y1", "omz"):
        told = [
            (leak["reid_faces"], leak["reid"][recogniser])
            for leak in leaks.values()
            if leak.get("reid", {}).get(recogniser)
        ]
        faces = sum(count for count, _ in told)
        if faces:
            match = sum(count * one["match"] for count, one in told) / faces
            control = sum(count * one["control"] for count, one in told) / faces
            console.print(
                f"{recogniser}: still matching {match:.2f} % of {faces} faces, control {control:.2f} %{lacking}"
            )
    near, near_swapped, every, every_swapped = swaps
    if near:
        shares = f"{near_swapped / near:.1%} of {near} frontal and half-profile faces of 48 px and more"
        console.print(f"replaced: {shares}; {every_swapped / every:.1%} of all {every}")


if __name__ == "__main__":
    main()
