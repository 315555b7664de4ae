"""Covering more of what is anonymised already: what a reviewer boxed, or what must be erased. Encodes again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from anonymizer.config import Config
from anonymizer.export.contents import Video
from anonymizer.export.job import Job
from anonymizer.export.join import join
from anonymizer.export.marks import Mark
from anonymizer.frame import Frame
from anonymizer.ingest.file import FileSource
from anonymizer.publish.live import LiveEncoder, LiveSettings
from anonymizer.record.catalogue import File
from anonymizer.record.segments import Segmenter
from anonymizer.synthesis import cover

_MARGIN = 0.15
"""Share of a box's sides by which a cover reaches beyond it."""


def segments(
    path: Path, camera: str, start: float, clock: str, marks: Sequence[Mark], config: Config, folder: Path
) -> list[File]:
    """A recorded video again, with solid covers over the marks, as segments in a folder. start: UTC of its first
    picture. SourceError, PublishError."""
    made: list[File] = []
    with FileSource(path) as source:
        video = source.video
        settings = LiveSettings(preset=config.encoder.preset, crf=config.encoder.crf)
        aspect = float(video.aspect or 1)
        encoder = LiveEncoder(video.width, video.height, video.full_range, float(video.rate), settings, aspect)
        segmenter = Segmenter(camera, folder, 1e9, made.append)
        segmenter.clock = clock
        first: float | None = None
        for item in source:
            if not isinstance(item, Frame):
                continue
            assert item.picture is not None
            first = item.time if first is None else first
            wall = start + item.time - first
            boxes = [box for mark in marks if (box := mark.box(wall)) is not None]
            if boxes:
                planes = item.picture.edit()
                for box in boxes:
                    cover.solid(planes, box, _MARGIN)
            for unit in encoder.encode(item.picture.finish(), item.time, wall):
                segmenter.take(unit)
        segmenter.close()
    return made


def covered(job: Job, video: Video, marks: Sequence[Mark], config: Config) -> Video:
    """The video with the marks covered; itself where there are none."""
    if not marks:
        return video
    text = json.dumps([asdict(mark) for mark in marks]).encode()
    name = f"covered {video.name} {hashlib.sha256(text).hexdigest()[:8]}"

    def make(folder: Path) -> Any:
        (file,) = segments(video.path, video.camera, video.start, "", marks, config, folder)
        (again,) = join([file], file.start - 1, file.stop + 1, folder, sound=False).videos
        again.path.rename(folder / video.name)
        Path(file.path).unlink()
        return {"frames": again.frames, "stop": again.stop}

    said = job.step(name, make)
    return replace(video, path=job.place(name) / video.name, frames=said["frames"], stop=said["stop"])
