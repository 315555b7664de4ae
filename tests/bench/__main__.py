"""``make bench``: what anonymising costs over decoding and encoding alone, and where the time goes.

Variants run in turn in processes of their own, so that a change of the machine's speed meets all alike; figures are
medians over the rounds. Reference: deface, in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent.parent
VARIANTS = ("floor", "solid", "pixelate", "replace")
STAGES = ("detect and track", "landmarks", "decide", "paint", "encode (wall)")


def run(variant: str, clip: Path, out: Path, preset: str, crf: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.probe", variant, str(clip), str(out), preset, str(crf)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{variant} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def deface(clip: Path, out: Path, short: Path, preset: str, crf: int) -> dict[str, float] | None:
    """deface with the same encoder settings; None where it cannot be installed. Its start-up is measured on a clip of
    one picture and taken away."""
    home = ROOT / ".bench" / "deface"
    if not (home / "bin" / "deface").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = [str(home / "bin" / "pip"), "install", "-q", "deface", "onnxruntime"]
        if subprocess.run(install, check=False).returncode:
            return None
    encoder = json.dumps({"codec": "libx264", "output_params": ["-preset", preset, "-crf", str(crf)]})
    spent = []
    for source in (short, clip):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [str(home / "bin" / "deface"), str(source), "-o", str(out), "--ffmpeg-config", encoder]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent.append((cpu, time.perf_counter() - start))
    return {"cpu": spent[1][0] - spent[0][0], "wall": spent[1][1] - spent[0][1]}


def first_picture(clip: Path, target: Path) -> Path:
    import av

    with av.open(str(clip)) as source, av.open(str(target), "w") as sink:
        video = source.streams.video[0]
        stream = sink.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        sink.mux(stream.encode(next(source.decode(video))))
        sink.mux(stream.encode(None))
    return target


def median(rounds: list[dict[str, float]], key: str) -> float:
    return statistics.median(figures.get(key, 0.0) for figures in rounds)


def main() -> None:
    shared = Path(os.environ.get("ANONYMIZER_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=shared / "footage" / "video" / "street_operahouse_1080p.mp4")
    parser.add_argument("--preset", default="superfast")
    parser.add_argument("--crf", type=int, default=23)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-deface", action="store_true")
    given = parser.parse_args()
    if not given.clip.is_file():
        raise SystemExit(f"no clip at {given.clip}; give one by --clip")
    rounds: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        for _ in range(given.rounds):
            for variant in VARIANTS:
                rounds[variant].append(run(variant, given.clip, out, given.preset, given.crf))
        other = (
            None
            if given.no_deface
            else deface(given.clip, out, first_picture(given.clip, Path(folder) / "short.mp4"), given.preset, given.crf)
        )
    frames = rounds["floor"][0]["frames"]
    floor = median(rounds["floor"], "cpu") / frames
    table = Table(
        "variant", "CPU ms a frame", "× floor", "frames/s", "faces", "swapped", "ms a swapped face over solid", "PSS MB",
        title=f"{given.clip.name}, {given.preset}, CRF {given.crf}, {frames:.0f} frames, {given.rounds} rounds",
    )  # fmt: skip
    solid = median(rounds["solid"], "cpu")
    for variant in VARIANTS:
        cpu, swapped = median(rounds[variant], "cpu"), median(rounds[variant], "swapped")
        each = f"{1000 * (cpu - solid) / swapped:.2f}" if swapped else ""
        faces = median(rounds[variant], "faces")
        table.add_row(
            variant, f"{1000 * cpu / frames:.2f}", f"{cpu / frames / floor:.2f}",
            f"{frames / median(rounds[variant], 'wall'):.1f}", f"{faces:.0f}" if faces else "",
            f"{swapped / faces:.0%}" if swapped else "", each, f"{median(rounds[variant], 'pss'):.0f}",
        )  # fmt: skip
    if other is not None:
        cpu = other["cpu"] / frames
        table.add_row("deface", f"{1000 * cpu:.2f}", f"{cpu / floor:.2f}", f"{frames / other['wall']:.1f}")
    console = Console(width=130)
    console.print(table)
    stages = Table("stage", "ms a frame, solid", "ms a frame, replace", title="wall time of the stages")
    for stage in STAGES:
        each = [f"{1000 * median(rounds[v], stage) / frames:.2f}" for v in ("solid", "replace")]
        stages.add_row(stage, *each)
    console.print(stages)


if __name__ == "__main__":
    main()
