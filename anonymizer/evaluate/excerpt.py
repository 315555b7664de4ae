"""The first frames of a clip, redacted as the whole would be, or encoded and not touched otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from anonymizer import assembly
from anonymizer.config import Config
from anonymizer.frame import Frame
from anonymizer.ingest.file import FileSource
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Policy, RuleSet
from anonymizer.publish.encoder import EncoderSettings
from anonymizer.publish.file import FileSink
from anonymizer.report import Report


def frames(source: FileSource) -> Iterator[Frame]:
    """Its pictures alone."""
    return (item for item in source if isinstance(item, Frame))


def redacted(source: Path, target: Path, config: Config, rules: RuleSet, report: Path, most: int) -> None:
    """At most so many frames through the stages of ``redact``, and the report of them."""
    with FileSource(source) as reader, _sink(target, reader, config.encoder) as sink:
        policy = Policy(rules, source.stem, epoch=None)
        stages = assembly.pipeline(config, policy, camera=source.stem, replace=assembly.replaces(rules))
        notes = Report(report, str(source), {})
        try:
            for frame in _through(stages, islice(frames(reader), most)):
                sink.write(frame)
                notes.add(frame)
        except BaseException:
            notes.abort()
            raise
        notes.close()


def encoded(source: Path, target: Path, settings: EncoderSettings, most: int | None) -> Path:
    """At most so many frames as they are: what encoding alone does to them."""
    with FileSource(source) as reader, _sink(target, reader, settings) as sink:
        for frame in islice(frames(reader), most):
            sink.write(frame)
    return target


def _through(stages: Pipeline, items: Iterator[Frame]) -> Iterator[Frame]:
    for frame in items:
        yield from stages.push(frame)
    yield from stages.flush()


@contextmanager
def _sink(target: Path, reader: FileSource, settings: EncoderSettings) -> Iterator[FileSink]:
    """A file that appears when all went well."""
    sink = FileSink(target, reader.video, settings)
    try:
        yield sink
        sink.close()
    except BaseException:
        sink.abort()
        raise
