"""One file in, one anonymised file out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

from av.packet import Packet
from av.stream import Stream

from anonymizer import settings
from anonymizer.assembly import pipeline, replaces
from anonymizer.config import Config
from anonymizer.errors import ConfigError, PublishError
from anonymizer.frame import Frame
from anonymizer.gops import GopSource
from anonymizer.ingest.file import FileSource
from anonymizer.policy import Policy, RuleSet
from anonymizer.publish.file import FileSink, container_of
from anonymizer.report import Report
from anonymizer.splice import Splice, Unlike
from anonymizer.threads import Behind, ahead

_AHEAD = 2  # pictures between two threads

Item: TypeAlias = "Frame | Packet[Stream]"


@dataclass
class Summary:
    """What became of a file. problems: what of it could not be read or judged, a sentence each; empty where all was.

    covered_whole: pictures that could not be judged; doubt: why the first of them could not, or "".
    gops, copied_gops, copied_frames: where clean GOPs are copied, how many there are, and how much was copied;
    nothing_copied: why nothing of the file could be, or "".
    """

    frames: int = 0
    faces: int = 0
    tracks: set[int] = field(default_factory=set)
    methods: dict[str, int] = field(default_factory=dict)
    covered_whole: int = 0
    doubt: str = ""
    gops: int = 0
    copied_gops: int = 0
    copied_frames: int = 0
    nothing_copied: str = ""
    problems: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, frame: Frame) -> None:
        self.frames += 1
        self.faces += len(frame.faces)
        self.covered_whole += bool(frame.uncertain)
        self.doubt = self.doubt or frame.uncertain
        for face in frame.faces:
            self.tracks.add(face.track)
            self.methods[face.method] = self.methods.get(face.method, 0) + 1

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {
            "frames": self.frames,
            "faces": self.faces,
            "tracks": len(self.tracks),
            "methods": self.methods,
            "covered_whole": self.covered_whole,
            "problems": self.problems,
            "seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()},
        }
        if self.gops or self.nothing_copied:
            told |= {"gops": self.gops, "copied_gops": self.copied_gops, "copied_frames": self.copied_frames}
        return told | ({"nothing_copied": self.nothing_copied} if self.nothing_copied else {})


def _nothing(frame: Frame) -> None:
    pass


def redact(
    source: Path,
    target: Path,
    config: Config,
    rules: RuleSet,
    *,
    camera: str = "",
    start: float | None = None,
    report: Path | None = None,
    audio: bool = False,
    copy: bool = False,
    parallel: bool = True,
    also: Callable[[Frame], None] = _nothing,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Summary:
    """Anonymise source into target; both appear whole or not at all, the report too.

    rules say what happens to each face. camera: the name that they know the source by, its file name where none is
    given. start: when the video begins, seconds since 1970; without it they have no wall clock. copy: keep the camera's
    own packets of GOPs in which there is nothing to cover, every frame looked at as faces.look says. parallel: a thread
    each for decoding, the stages and encoding. also: is shown each painted frame before it is encoded. progress is told
    frames done and expected. Raises SourceError, ConfigError, ModelError, PublishError; then nothing is left behind.
    """
    container_of(target)
    _apart({"source": source, "output": target, "report": report})

    def once(reader: FileSource) -> Summary:
        name = camera or source.stem.encode(errors="backslashreplace").decode()  # names of files need not be text
        policy = Policy(rules, name, epoch=start)
        summary = Summary()
        with reader, _Written(target, reader, config, report) as written:
            stages = pipeline(config, policy, camera=name, replace=replaces(rules), every=copy)

            def write(item: Item) -> None:
                if isinstance(item, Frame):
                    also(item)
                written.put(item)
                if isinstance(item, Frame):
                    summary.count(item)
                    progress(summary.frames, reader.frames_expected)

            # The codecs have one thread alone: x264 and the decoder would keep many more pictures, and spend more time
            # in all, if they divided the work themselves.
            with _items(reader, parallel) as items, _writer(write, parallel) as put:
                for item in items:
                    for done in stages.push(item) if isinstance(item, Frame) else [item]:
                        put(done)
                for done in stages.flush():
                    put(done)
            written.close()
            written.tell(summary)
        summary.problems, summary.seconds = list(reader.problems), dict(stages.seconds)
        if summary.covered_whole:
            told = f"{summary.covered_whole} pictures could not be judged and are covered whole"
            summary.problems.append(f"{told} ({summary.doubt})")
        return summary

    if not copy:
        return once(FileSource(source, audio=audio))
    try:
        return once(GopSource(source, audio=audio))
    except Unlike as error:
        summary = once(FileSource(source, audio=audio))
        summary.nothing_copied = str(error)
        return summary


def _apart(files: dict[str, Path | None]) -> None:
    """ConfigError where two of the files are one, PublishError where one to be written is a folder."""
    named = [(role, path) for role, path in files.items() if path is not None]
    for (role, path), (other, written) in combinations(named, 2):
        if path.resolve() == written.resolve() or (path.exists() and written.exists() and path.samefile(written)):
            raise ConfigError(f"{written}: {role} and {other} are the same file; name another {other}")
    for role, path in named[1:]:
        if path.is_dir():
            raise PublishError(f"{path}: the {role} cannot be written, there is a folder of that name")


@contextmanager
def _items(reader: FileSource, parallel: bool) -> Iterator[Iterator[Item]]:
    if not parallel:
        yield iter(reader)
        return
    with closing(ahead(reader, _AHEAD)) as items:
        yield items


@contextmanager
def _writer(write: Callable[[Item], None], parallel: bool) -> Iterator[Callable[[Item], None]]:
    if not parallel:
        yield write
        return
    writer = Behind(write, _AHEAD)
    try:
        yield writer.put
    except BaseException:
        with suppress(BaseException):
            writer.close()
        raise
    writer.close()


class _Written:
    """Output and report, which appear together when all is done, or not at all."""

    def __init__(self, target: Path, reader: FileSource, config: Config, report: Path | None) -> None:
        self._reader = reader
        self._notes = Report(report, str(reader.path), settings.plain(config)) if report is not None else None
        try:
            if isinstance(reader, GopSource) and not reader.whole_file:
                self._sink: FileSink = Splice(target, reader, config.encoder)
            else:
                self._sink = FileSink(target, reader.video, config.encoder, reader.audio)
        except BaseException:
            if self._notes:
                self._notes.abort()
            raise

    def put(self, item: Item) -> None:
        if not isinstance(item, Frame):
            self._sink.write_audio(item)
            return
        if self._notes:
            self._notes.add(item)
        self._sink.write(item)

    def close(self) -> None:
        self._sink.finish()
        if self._notes:
            self._notes.finish(self._sink.gops if isinstance(self._sink, Splice) else None)
        self._sink.place()
        if self._notes:
            try:
                self._notes.place()
            except BaseException:
                self._sink.path.unlink(missing_ok=True)
                raise

    def tell(self, summary: Summary) -> None:
        """What became of the GOPs."""
        if isinstance(self._reader, GopSource):
            summary.nothing_copied = self._reader.whole_file
        if isinstance(self._sink, Splice):
            summary.gops = len(self._sink.gops)
            summary.copied_gops = sum(gop.copied for gop in self._sink.gops)
            summary.copied_frames = sum(gop.frames for gop in self._sink.gops if gop.copied)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._sink.abort()
            if self._notes:
                self._notes.abort()
