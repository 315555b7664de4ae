"""``evaluate cost``: what anonymising costs over decoding and encoding alone, and where the time goes.

Each variant runs in a process of its own, in turn, so that a change of the machine's speed meets all alike; figures are
medians over the rounds. CPU seconds are the process's, user and system, all threads, from the first picture to the
finished file: imports and loading of models are left out. PSS is read when the last picture has been taken. The floor
decodes and encodes with the same settings and writes nothing.

    python -m anonymizer.evaluate.cost VARIANT CLIP OUT PRESET CRF [CONFIG]

is what one of these processes runs; it prints its figures as JSON.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from anonymizer.errors import AnonymizerError, SourceError
from anonymizer.evaluate import plot
from anonymizer.evaluate.figure import Section
from anonymizer.frame import Frame
from anonymizer.publish.encoder import EncoderSettings

VARIANTS = ("floor", "solid", "pixelate", "replace")
STAGES = ("detect and track", "landmarks", "decide", "paint", "encode (wall)")

Figures = dict[str, float]


def pss() -> float:
    """Proportional set size of this process in MB; 0 where the system does not tell."""
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def floor(clip: Path, settings: EncoderSettings) -> Figures:
    """PyAV's own decoding and libx264, the same settings, nothing between."""
    import av

    from anonymizer.ingest.file import FileSource
    from anonymizer.publish.encoder import configure, prepare

    frames = 0
    with FileSource(clip) as source:
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        configure(context, source.video, settings)
        start = time.process_time()
        for item in source:
            if isinstance(item, Frame):
                assert item.picture is not None and item.pts is not None
                context.encode(prepare(item.picture.finish(), item.pts, source.video.time_base))
                frames += 1
        memory = pss()
        context.encode(None)
    return {"frames": frames, "cpu": time.process_time() - start, "pss": memory}


def ours(clip: Path, out: Path, settings: EncoderSettings, method: str, config: Path | None) -> Figures:
    """The stages of ``redact``, timed one by one as well. config: of which file, the defaults without one."""
    from anonymizer.assembly import pipeline
    from anonymizer.config import Config, load
    from anonymizer.ingest.file import FileSource
    from anonymizer.policy import Action, Policy, RuleSet, Treatment
    from anonymizer.publish.file import FileSink

    rules = RuleSet(default=Treatment(action=Action[method.upper()]))
    reader = FileSource(clip)
    stages = pipeline(
        load(config) if config else Config(), Policy(rules, "bench", None), camera="bench", replace=method == "replace"
    )
    sink = FileSink(out, reader.video, settings)
    counts = {"frames": 0, "faces": 0, "swapped": 0}
    encoding = 0.0
    start = time.process_time()

    def write(frames: list[Frame]) -> None:
        nonlocal encoding
        before = time.perf_counter()
        for frame in frames:
            sink.write(frame)
            counts["frames"] += 1
            counts["faces"] += len(frame.faces)
            counts["swapped"] += sum(face.method == "replace" for face in frame.faces)
        encoding += time.perf_counter() - before

    try:
        for item in reader:
            if isinstance(item, Frame):
                write(stages.push(item))
        memory = pss()
        write(stages.flush())
        sink.close()
    except BaseException:
        sink.abort()
        raise
    cpu = time.process_time() - start
    reader.close()
    return {**counts, "cpu": cpu, "pss": memory, "encode (wall)": encoding, **stages.seconds}


def measure(variant: str, clip: Path, out: Path, settings: EncoderSettings, config: Path | None = None) -> Figures:
    """One variant in a process of its own, on one thread. SourceError where it fails, with what it said."""
    command = [sys.executable, "-m", "anonymizer.evaluate.cost", variant, str(clip), str(out)]
    command += [settings.preset, str(settings.crf), *([str(config)] if config else [])]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SourceError(f"{clip}: {variant} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def rounds(clip: Path, settings: EncoderSettings, count: int, config: Path | None = None) -> dict[str, list[Figures]]:
    """All variants in turn, so many times."""
    out: dict[str, list[Figures]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            for variant in VARIANTS:
                out[variant].append(measure(variant, clip, Path(folder) / "out.mp4", settings, config))
    return out


def median(measured: list[Figures], key: str) -> float:
    return statistics.median(figures.get(key, 0.0) for figures in measured)


def section(clip: Path, settings: EncoderSettings, measured: dict[str, list[Figures]]) -> Section:
    """The figures of ``rounds``."""
    frames = int(median(measured["floor"], "frames"))
    count = len(measured["floor"])
    out = Section(
        "Cost",
        f"{clip.name}, {frames} frames, x264 {settings.preset}, CRF {settings.crf}; medians of {count} "
        f"{'round' if count == 1 else 'rounds'}, each variant in a process of its own.",
    )
    ground = max(median(measured["floor"], "cpu"), 1e-9)
    rows = []
    for variant in VARIANTS:
        cpu = median(measured[variant], "cpu")
        each = 1000 * cpu / max(1, frames)
        rows.append((variant, each, each, each))
        how = "CPU time of the whole process, user and system, without start-up."
        out.figure("CPU", variant, each, "ms a frame", frames, how)
        out.figure("CPU", f"{variant} over the floor", cpu / ground, "×", frames, how)
        out.figure("memory", variant, median(measured[variant], "pss"), "MB", frames, "PSS after the last picture.")
    swapped = median(measured["replace"], "swapped")
    if swapped:
        extra = 1000 * (median(measured["replace"], "cpu") - median(measured["solid"], "cpu")) / swapped
        out.figure(
            "a replaced face over a solid one", "replace", extra, "ms a face", int(swapped), "Difference of CPU."
        )
    for stage in STAGES:
        for variant in ("solid", "replace"):
            value = 1000 * median(measured[variant], stage) / max(1, frames)
            out.figure(f"stage: {stage}", variant, value, "ms a frame", frames, "Wall time.")
    out.plots.append(plot.bars("CPU, ms a frame", rows, 0, max(row[1] for row in rows)))
    return out


def main(arguments: list[str]) -> int:
    """One variant, for ``measure``."""
    variant, clip, out, preset, crf, *more = arguments
    config = Path(more[0]) if more else None
    settings = EncoderSettings(preset=preset, crf=int(crf))  # type: ignore[arg-type]
    start = time.perf_counter()
    try:
        if variant == "floor":
            figures = floor(Path(clip), settings)
        else:
            figures = ours(Path(clip), Path(out), settings, variant, config)
    except AnonymizerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps({**figures, "wall": time.perf_counter() - start}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
