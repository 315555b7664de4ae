"""``make bench``: what anonymising costs over decoding and encoding alone, and where the time goes.

Variants run in turn in processes of their own, so that a change of the machine's speed meets all alike; figures are
medians over the rounds. Reference: deface, in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anonymizer.errors import AnonymizerError
from anonymizer.evaluate.cost import STAGES, VARIANTS, median, rounds
from anonymizer.publish.encoder import EncoderSettings

ROOT = Path(__file__).resolve().parent.parent.parent


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
    try:
        measured = rounds(given.clip, EncoderSettings(preset=given.preset, crf=given.crf), given.rounds)
    except AnonymizerError as error:
        raise SystemExit(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        other = None
        if not given.no_deface:
            short = first_picture(given.clip, Path(folder) / "short.mp4")
            other = deface(given.clip, Path(folder) / "out.mp4", short, given.preset, given.crf)
    frames = measured["floor"][0]["frames"]
    floor = median(measured["floor"], "cpu") / frames
    table = Table(
        "variant", "CPU ms a frame", "× floor", "frames/s", "faces", "swapped", "ms a swap over solid", "PSS MB",
        title=f"{given.clip.name}, {given.preset}, CRF {given.crf}, {frames:.0f} frames, {given.rounds} rounds",
    )  # fmt: skip
    solid = median(measured["solid"], "cpu")
    for variant in VARIANTS:
        cpu, swapped = median(measured[variant], "cpu"), median(measured[variant], "swapped")
        each = f"{1000 * (cpu - solid) / swapped:.2f}" if swapped else ""
        faces = median(measured[variant], "faces")
        table.add_row(
            variant, f"{1000 * cpu / frames:.2f}", f"{cpu / frames / floor:.2f}",
            f"{frames / median(measured[variant], 'wall'):.1f}", f"{faces:.0f}" if faces else "",
            f"{swapped / faces:.0%}" if swapped else "", each, f"{median(measured[variant], 'pss'):.0f}",
        )  # fmt: skip
    if other is not None:
        cpu = other["cpu"] / frames
        table.add_row("deface", f"{1000 * cpu:.2f}", f"{cpu / floor:.2f}", f"{frames / other['wall']:.1f}")
    console = Console(width=130)
    console.print(table)
    stages = Table("stage", "ms a frame, solid", "ms a frame, replace", title="wall time of the stages")
    for stage in STAGES:
        each = [f"{1000 * median(measured[v], stage) / frames:.2f}" for v in ("solid", "replace")]
        stages.add_row(stage, *each)
    console.print(stages)


if __name__ == "__main__":
    main()
