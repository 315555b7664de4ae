"""The work folder of an export: steps that are done stay done, whatever ends the process, and are told by their hashes.

    job = Job.open(state, "export", order)
    made = job.step("video gate", make)  # make(folder) writes files and returns JSON data; run once

A step's files get their place together, and count only once its note is on disk. Nothing in the folder is an original.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from anonymizer.errors import ConfigError, PublishError
from anonymizer.statedir import StateDir

BEGUN = "begun.json"
"""The note that the audit has been told of the order: from then on it can be gone on with."""
_ORDER, _GONE = "order.json", ".gone-"


class Job:
    """One order's work folder, held by one process at a time."""

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        self.folder, self.order = folder, order

    @classmethod
    @contextlib.contextmanager
    def open(cls, state: StateDir, kind: str, order: dict[str, Any]) -> Iterator[Job]:
        """The folder of an order, made or found again. kind: a word that names its parent. ConfigError where another
        process works on the same order."""
        text = json.dumps(order, sort_keys=True).encode()
        for gone in (state.path / f"{kind}s").glob(f"{_GONE}*"):
            shutil.rmtree(gone, ignore_errors=True)
        folder = state.path / f"{kind}s" / hashlib.sha256(text).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ConfigError(f"{folder}: another process works on this {kind}") from error
        job = cls(folder, order)
        try:
            job.note(_ORDER, order)
            yield job
        except BaseException:
            if job.noted(BEGUN) is None:  # refused: nothing is to be gone on with
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            os.close(lock)

    @classmethod
    def orders(cls, state: StateDir, kind: str) -> list[dict[str, Any]]:
        """The orders that are not finished."""
        return [json.loads(path.read_bytes()) for path in sorted((state.path / f"{kind}s").glob(f"[!.]*/{_ORDER}"))]

    def step(self, name: str, make: Callable[[Path], Any]) -> Any:
        """What make returned, now or in an earlier life. Its files lie in ``place(name)``. A step whose files are not
        as they were noted is made again. PublishError where writing fails."""
        note = f"{_slug(name)}.step"
        known = self.noted(note)
        folder = self.place(name)
        if known is not None and _hashes(folder) == known["files"]:
            return known["said"]
        part = folder.with_name(f".{folder.name}.part")
        try:
            (self.folder / note).unlink(missing_ok=True)
            for old in (part, folder):
                shutil.rmtree(old, ignore_errors=True)
            part.mkdir(mode=0o700)
            said = json.loads(json.dumps(make(part)))
            os.replace(part, folder)
            self.note(note, {"name": name, "files": _hashes(folder), "said": said})
        except OSError as error:
            raise PublishError(f"{folder}: cannot be written: {error.strerror}") from error
        return said

    def place(self, name: str) -> Path:
        return self.folder / _slug(name)

    def note(self, name: str, value: Any) -> None:
        """Put JSON into a file of the folder: whole, and on disk. PublishError where that fails."""
        part = self.folder / f".{name}.part"
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(value, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.folder / name)
        except OSError as error:
            raise PublishError(f"{self.folder / name}: cannot be written: {error.strerror}") from error

    def noted(self, name: str) -> Any:
        """What a note says; None where there is none."""
        try:
            return json.loads((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """The order is done: its folder goes, at once as far as any later life can tell."""
        gone = self.folder.with_name(f"{_GONE}{self.folder.name}")
        os.replace(self.folder, gone)
        shutil.rmtree(gone)


def place(source: Path, target: Path) -> None:
    """Give a finished file its name, in another folder too: whole or not at all. PublishError where that fails."""
    part = target.with_name(f".{target.name}.part")
    try:
        try:
            os.replace(source, target)
            return
        except OSError:  # another file system
            shutil.copyfile(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise PublishError(f"{target}: cannot be written: {error.strerror}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)
