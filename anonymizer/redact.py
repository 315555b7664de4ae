"""One file in, one anonymised file out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from av.packet import Packet
from av.stream import Stream

from anonymizer import settings
from anonymizer.assembly import pipeline, replaces
from anonymizer.config import Config
from anonymizer.errors import ConfigError
from anonymizer.frame import Frame
from anonymizer.ingest.file import FileSource
from anonymizer.policy import Policy, RuleSet
from anonymizer.publish.file import FileSink, container_of
from anonymizer.report import Report
from anonymizer.threads import Behind, ahead

_AHEAD = 2  # pictures between two threads


@dataclass
class Summary:
    """What became of a file. problems: what of it could not be read, a sentence each; empty where all was."""

    frames: int = 0
    faces: int = 0
    tracks: set[int] = field(default_factory=set)
    methods: dict[str, int] = field(default_factory=dict)
    covered_whole: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, frame: Frame) -> None:
        self.frames += 1
        self.faces += len(frame.faces)
        self.covered_whole += bool(frame.uncertain)
        for face in frame.faces:
            self.tracks.add(face.track)
            self.methods[face.method] = self.methods.get(face.method, 0) + 1


def redact(
    source: Path,
    target: Path,
    config: Config,
    rules: RuleSet,
    *,
    report: Path | None = None,
    audio: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Summary:
    """Anonymise source into target; both appear whole or not at all, the report too.

    rules say what happens to each face; they have no wall clock here. progress is told frames done and expected.
    Raises SourceError, ConfigError, ModelError, PublishError; then nothing is left behind.
    """
    container_of(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"{target}: source and output are the same file; name another output")
    summary = Summary()
    with FileSource(source, audio=audio) as reader:
        policy = Policy(rules, source.stem, epoch=None)
        stages = pipeline(config, policy, camera=source.stem, replace=replaces(rules))
        notes = Report(report, str(source), _settings(config)) if report is not None else None
        try:
            sink = FileSink(target, reader.video, config.encoder, reader.audio)
        except BaseException:
            if notes:
                notes.abort()
            raise

        def write(item: Frame | Packet[Stream]) -> None:
            if not isinstance(item, Frame):
                sink.write_audio(item)
                return
            sink.write(item)
            summary.count(item)
            if notes:
                notes.add(item)
            progress(summary.frames, reader.frames_expected)

        # Decoding, the stages and encoding in a thread each. Their codecs have one thread alone: x264 and the decoder
        # would keep many more pictures, and spend more time in all, if they divided the work themselves.
        writer = Behind(write, _AHEAD)
        try:
            with closing(ahead(reader, _AHEAD)) as items:
                for item in items:
                    for done in stages.push(item) if isinstance(item, Frame) else [item]:
                        writer.put(done)
            for done in stages.flush():
                writer.put(done)
            writer.close()
            sink.close()
            if notes:
                notes.close()
        except BaseException:
            with suppress(BaseException):
                writer.close()
            sink.abort()
            if notes:
                notes.abort()
            raise
        summary.problems, summary.seconds = reader.problems, dict(stages.seconds)
    return summary


def _settings(config: Config) -> dict[str, Any]:
    """What the report says of the configuration; secrets stay redacted."""
    shown: dict[str, Any] = settings.plain(config)
    return shown
