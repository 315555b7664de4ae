"""What one child process of the benchmark does: run one variant on a clip and print its figures as JSON.

    python -m tests.bench.probe VARIANT CLIP OUT PRESET CRF

CPU seconds are the process's, user and system, all threads, from the first picture to the finished file: imports and
loading of models are left out. PSS is read when the last picture has been taken.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import av

from anonymizer.config import Config
from anonymizer.frame import Frame
from anonymizer.publish.encoder import EncoderSettings


def pss() -> float:
    """Proportional set size of this process in MB."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def floor(clip: str, out: str, settings: EncoderSettings) -> dict[str, float]:
    """PyAV's own decoding and libx264, the same settings, nothing between."""
    frames = 0
    with av.open(clip) as source, av.open(out, "w") as sink:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        stream = sink.add_stream("libx264", rate=video.average_rate)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        stream.codec_context.time_base = video.time_base
        stream.codec_context.thread_count = settings.threads
        stream.options = {"preset": settings.preset, "crf": str(settings.crf)}
        start = time.process_time()
        for frame in source.decode(video):
            frame.pict_type = av.video.frame.PictureType.NONE
            sink.mux(stream.encode(frame))
            frames += 1
        memory = pss()
        sink.mux(stream.encode(None))
    return {"frames": frames, "cpu": time.process_time() - start, "pss": memory}


def ours(clip: str, out: str, settings: EncoderSettings, method: str) -> dict[str, float]:
    """The stages of ``redact``, timed one by one as well (CPU of all threads, so that the sums are right)."""
    from anonymizer.assembly import pipeline
    from anonymizer.ingest.file import FileSource
    from anonymizer.policy import Action, Policy, RuleSet, Treatment
    from anonymizer.publish.file import FileSink

    rules = RuleSet(default=Treatment(action=Action[method.upper()]))
    reader = FileSource(Path(clip))
    stages = pipeline(Config(), Policy(rules, "bench", None), camera="bench", replace=method == "replace")
    sink = FileSink(Path(out), reader.video, settings)
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

    for item in reader:
        if isinstance(item, Frame):
            write(stages.push(item))
    memory = pss()
    write(stages.flush())
    sink.close()
    cpu = time.process_time() - start
    reader.close()
    return {**counts, "cpu": cpu, "pss": memory, "encode (wall)": encoding, **stages.seconds}


def main() -> None:
    variant, clip, out, preset, crf = sys.argv[1:]
    settings = EncoderSettings(preset=preset, crf=int(crf))  # type: ignore[arg-type]
    start = time.perf_counter()
    figures = floor(clip, out, settings) if variant == "floor" else ours(clip, out, settings, variant)
    print(json.dumps({**figures, "wall": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
