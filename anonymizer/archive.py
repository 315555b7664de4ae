"""A folder of recordings in, the same tree anonymised out: resumed where it stopped, a process for each file.

    outcomes = redact_folder(source, target, Work(config, rules))

What is done stands in ``RECORD`` in the output folder, a JSON object a line: the source's size, time and SHA-256, the
fingerprint of settings and models, the output's size. A file is done again when any of that changed. Outputs appear
under their names only when they are whole, and their lines after them: whatever kills a run, the next one goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Literal

import anonymizer
from anonymizer import registry, settings
from anonymizer.assembly import refines, replaces
from anonymizer.config import Config
from anonymizer.errors import AnonymizerError, ConfigError, PublishError, SourceError
from anonymizer.policy import RuleSet
from anonymizer.publish.file import CONTAINERS
from anonymizer.redact import redact
from anonymizer.threads import end_with_parent

RECORD = ".anonymizer.jsonl"
VIDEOS = frozenset(CONTAINERS) | {
    ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".webm", ".mpg", ".mpeg", ".mts", ".m2t", ".wmv", ".asf", ".flv",
    ".3gp", ".ogv", ".vob", ".mxf", ".dav",
}  # fmt: skip
"""Suffixes of what is taken for a video."""
EACH = 600 << 20
"""Bytes of memory that one file may take: 4K with half a second of look-ahead."""
PARTIAL = 3

_PART = re.compile(r"\..+\.(\d+)\.part")
_STALE = 600.0  # seconds without a write after which a part belongs to nobody, whatever process has its number now
_PATIENCE = 10.0  # seconds for a process to put its things away

Status = Literal["done", "skipped", "not a video", "failed"]


@dataclass(frozen=True)
class Work:
    """What is to be done with each file. reports: a folder for a report each, or None."""

    config: Config
    rules: RuleSet
    audio: bool = False
    copy: bool = False
    reports: Path | None = None
    camera: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one file, named relative to the folder. code: exit code, as of `redact` with that file alone."""

    file: str
    status: Status
    code: int = 0
    message: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    file: str
    source: Path
    target: Path
    work: Work
    parallel: bool = False

    @property
    def report(self) -> Path | None:
        return None if self.work.reports is None else self.work.reports / f"{self.file}.json"


class Watcher:
    """Is told what goes on. All of it may be left out."""

    def begin(self, files: int) -> None:
        """So many files are to be done."""

    def progress(self, file: str, done: int, total: int | None) -> None:
        """Frames of a file that is being done."""

    def end(self, outcome: Outcome) -> None:
        """A file is over with."""


def redact_folder(
    source: Path, target: Path, work: Work, *, jobs: int | None = None, watcher: Watcher | None = None
) -> list[Outcome]:
    """Anonymise every video under source into the same place under target. The worst code of the outcomes counts.

    jobs: most files at a time; by itself as many as cores and memory allow. Raises ConfigError, ModelError and
    PublishError for what concerns all files; what concerns one is its outcome.
    """
    watcher = watcher or Watcher()
    if target.is_file() or (target.suffix.lower() in CONTAINERS and not target.exists()):
        raise ConfigError(f"{target}: {source} is a folder, and what becomes of it is one too; name no file")
    if target.exists() and source.samefile(target):
        raise ConfigError(f"{target}: source and output are the same folder; name another output")
    planned = list(_plan(source, target, work))
    _spare_sources(planned, source, target)
    fingerprint = _fingerprint(work)
    try:
        target.mkdir(parents=True, exist_ok=True)
        record = (target / RECORD).open("a+", encoding="utf-8")
    except OSError as error:
        raise PublishError(f"{target}: cannot be written ({error.strerror})") from error
    with record:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{target}: another run is at work in it; wait for it to end") from None
        _clear(target)
        if work.reports is not None:
            _clear(work.reports)
        known = _read(record)
        outcomes: list[Outcome] = []
        waiting: list[_Job] = []
        for found in planned:
            over = _done(found, known.get(found.file), fingerprint) if isinstance(found, _Job) else found
            if over is not None:
                outcomes.append(over)
                watcher.end(over)
            elif isinstance(found, _Job):
                waiting.append(found)
        watcher.begin(len(waiting))
        with contextlib.closing(_all(waiting, jobs, watcher)) as results:
            for outcome, line in results:
                if line:
                    record.write(json.dumps({**line, "settings": fingerprint}) + "\n")
                    record.flush()
                    os.fsync(record.fileno())
                outcomes.append(outcome)
                watcher.end(outcome)
    return sorted(outcomes, key=lambda one: one.file)


def _plan(source: Path, target: Path, work: Work) -> Iterator[_Job | Outcome]:
    """What there is to do, in the order of names, and what is left out."""
    out, taken = target.resolve(), set[Path]()
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(source, onerror=unreadable.append):
        folders.sort()
        for name in list(folders):
            path = Path(folder, name)
            if path.resolve() == out:
                folders.remove(name)
            elif path.is_symlink():
                yield Outcome(
                    str(path.relative_to(source)), "not a video", message="a link to a folder is not followed"
                )
        for name in sorted(files):
            path = Path(folder, name)
            file = str(path.relative_to(source))
            if path.suffix.lower() not in VIDEOS or _PART.fullmatch(name):
                yield Outcome(file, "not a video", message="its name is no video's")
            elif path.exists() and not path.is_file():
                yield Outcome(file, "not a video", message="is no regular file")
            else:
                written = target / (file if path.suffix.lower() in CONTAINERS else f"{file}.mp4")
                if written in taken:
                    message = f"its output {written} is another file's; rename one of them"
                    yield Outcome(file, "failed", ConfigError.exit_code, message)
                else:
                    taken.add(written)
                    yield _Job(file, path, written, work)
    for error in unreadable:
        yield Outcome(str(error.filename), "failed", SourceError.exit_code, f"cannot be read: {error.strerror}")


def _spare_sources(planned: list[_Job | Outcome], source: Path, target: Path) -> None:
    """ConfigError where something would be written over a source, or where the next run would take it for one."""
    jobs = [one for one in planned if isinstance(one, _Job)]
    sources = {_inode(job.source) for job in jobs} - {None}
    read, written = source.resolve(), target.resolve()
    for job in jobs:
        for path in (job.target, job.report):
            if path is not None and _inode(path) in sources:
                raise ConfigError(f"{path}: would be written over a source; name another folder")
        place = job.target.resolve()
        # The output folder itself may lie in the source: it is left out when the source is gone through.
        if place.is_relative_to(read) and not (written.is_relative_to(read) and place.is_relative_to(written)):
            raise ConfigError(f"{job.target}: would be written among the sources; name another folder")


def _inode(path: Path) -> tuple[int, int] | None:
    """What is the same for all names of one file; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _done(job: _Job, line: dict[str, Any] | None, fingerprint: str) -> Outcome | None:
    """The outcome of a file that need not be done again."""
    try:
        state = job.source.stat()
        if line is None or line["settings"] != fingerprint or line["size"] != state.st_size:
            return None
        if line["written"] != job.target.stat().st_size or (job.report is not None and not job.report.is_file()):
            return None
        if line["mtime"] != state.st_mtime_ns and line["sha256"] != _sha256(job.source):
            return None
        return Outcome(job.file, "skipped", int(line["code"]), str(line["message"]))
    except (OSError, KeyError, TypeError, ValueError):
        return None


_Result = tuple[Outcome, dict[str, Any] | None]


def _all(waiting: list[_Job], jobs: int | None, watcher: Watcher) -> Generator[_Result, None, None]:
    """Do the jobs, several at a time; each file's outcome, and its line for the record where it was written."""
    if not waiting:
        return
    cores = len(os.sched_getaffinity(0))
    most = max(1, min(jobs or cores, len(waiting), _memory() // EACH))
    share = max(1, cores // most)
    context = multiprocessing.get_context("spawn")
    running: dict[connection.Connection, tuple[_Job, SpawnProcess]] = {}
    left = iter([_sized(job, share) for job in waiting])
    try:
        while True:
            while len(running) < most and (job := next(left, None)):
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = job, process
            if not running:
                return
            for ready in connection.wait(list(running)):
                assert isinstance(ready, connection.Connection)
                job, process = running[ready]
                try:
                    told = ready.recv()
                except EOFError:
                    process.join()
                    told = Outcome(job.file, "failed", SourceError.exit_code, _death(process.exitcode)), None
                    _clear_after(job, process.pid)
                if isinstance(told[0], Outcome):
                    process.join()
                    del running[ready]
                    ready.close()
                    yield told
                else:
                    watcher.progress(job.file, *told)
    finally:
        for _, process in running.values():
            process.terminate()
        for job, process in running.values():
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
            _clear_after(job, process.pid)


def _sized(job: _Job, share: int) -> _Job:
    """The job with no more threads than its share of the cores."""
    config = job.work.config
    parallel = share >= 3  # decoding, the stages, encoding
    encoder = replace(config.encoder, threads=1 if parallel else min(config.encoder.threads or share, share))
    faces = replace(config.faces, threads=min(config.faces.threads, share - 2 if parallel else share))
    return replace(job, parallel=parallel, work=replace(job.work, config=replace(config, encoder=encoder, faces=faces)))


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process that read it was ended by signal {-code}; the file may be damaged, or memory short"
    return f"the process that read it ended with code {code}"


def _work(job: _Job, pipe: connection.Connection) -> None:
    """In a process of its own: do the job, and tell about it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us says when to stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    end_with_parent()  # what we would write nobody would record
    told = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told > 0.2:
            told = time.monotonic()
            pipe.send((done, total))

    work = job.work
    try:
        state = job.source.stat()
        for path in (job.target, job.report):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        summary = redact(
            job.source, job.target, work.config, work.rules, camera=work.camera,
            report=job.report, audio=work.audio, copy=work.copy, parallel=job.parallel, progress=progress,
        )  # fmt: skip
        code, message = (PARTIAL, "; ".join(summary.problems)) if summary.problems else (0, "")
        line = {
            "file": job.file, "size": state.st_size, "mtime": state.st_mtime_ns, "sha256": _sha256(job.source),
            "written": job.target.stat().st_size, "code": code, "message": message,
        }  # fmt: skip
        pipe.send((Outcome(job.file, "done", code, message, summary.plain()), line))
    except AnonymizerError as error:
        pipe.send((Outcome(job.file, "failed", error.exit_code, str(error)), None))
    except OSError as error:
        code = SourceError.exit_code if error.filename == str(job.source) else PublishError.exit_code
        pipe.send((Outcome(job.file, "failed", code, f"{error.filename}: {error.strerror}"), None))
    except Exception as error:  # a fault of ours in one file must not end the others
        pipe.send((Outcome(job.file, "failed", AnonymizerError.exit_code, f"{job.source}: {error!r}"), None))


def _clear_after(job: _Job, pid: int | None) -> None:
    """Remove what a process that was killed has left."""
    for path in (job.target, job.report):
        if path is not None:
            path.with_name(f".{path.name}.{pid}.part").unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what killed runs have left."""
    for path in folder.rglob(".*.part"):
        match = _PART.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if match and not (_alive(int(match[1])) and time.time() - path.stat().st_mtime < _STALE):
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:  # one that has ended, and whose parent does not ask, as in many a container
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _read(record: Any) -> dict[str, dict[str, Any]]:
    """The record's lines by file, the last of each; a line torn by a crash counts for nothing, and is ended."""
    record.seek(0)
    text = record.read()
    if text and not text.endswith("\n"):
        record.write("\n")
    known = {}
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            known[entry["file"]] = entry
    return known


def _fingerprint(work: Work) -> str:
    """Changes with whatever changes the output: settings, rules, models, version."""
    faces = work.config.faces
    models = [registry.resolve("detector", faces.detector), registry.resolve("face-model", work.config.identity.model)]
    if faces.second_detector:
        models.append(registry.resolve("detector", faces.second_detector))
    if replaces(work.rules):
        models.append(registry.resolve("landmarks", faces.landmarks))
    if refines(work.rules):
        models.append(registry.resolve("refiner", "auto"))
    told = {
        "version": anonymizer.__version__,
        "config": settings.plain(work.config),
        "rules": settings.plain(work.rules),
        "audio": work.audio,
        "copy": work.copy,
        "camera": work.camera,
        "models": [_sha256(path) for path in models],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _memory() -> int:
    """Bytes that are free to be used."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(told["MemAvailable"].split()[0]) << 10
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        free = min(free, limit)
    return free
