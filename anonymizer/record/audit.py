"""The audit on disk: who changed rules, opened originals, exported, deleted, logged in; and when the picture was worse.

Several processes may write to one audit: each append holds a lock, continues what is there, and is on disk, with its
signed head, before the lock goes. See ``chain`` for the format.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.errors import AnonymizerError, ConfigError
from anonymizer.record import chain, keys
from anonymizer.record.chain import Broken, Entry, Head, Report
from anonymizer.statedir import StateDir, keep_owner

log = logging.getLogger(__name__)

FILE, HEAD = "audit.jsonl", "audit.head"
CHECKPOINT_EVERY = 100
"""Every so many entries one is a checkpoint."""
LONGEST = 1 << 20
"""Bytes of one line at most."""
_SAID = 64 << 10  # bytes of an entry's particulars from ``note``
_WAITING = 10_000  # entries that may wait for the disk
_RETRY = 2.0
TOGETHER = 60.0
"""Seconds over which equal things are told once."""

Said = tuple[float, str, dict[str, Any]]


class AuditError(AnonymizerError):
    """An entry cannot be written; what it would have told of must not happen."""

    exit_code = 6


class AuditFile:
    """Appends to the audit in a state folder, one caller at a time. Its signing key is made where there is none.

    AuditError where nothing can be written.
    """

    def __init__(self, state: StateDir, clock: Callable[[], float] = time.time) -> None:
        self.path = state.path / FILE
        self._state = state
        self._clock = clock
        self._seen: tuple[int, int] | None = None  # inode and size after our last append
        self._count, self._newest = 0, chain.START
        self._key: Ed25519PrivateKey | None = None
        self._last_time = 0.0
        with _disk(self.path), self._locked() as file:
            self._continue(file)

    def append(self, *entries: Said) -> None:
        """Write (time, kind, particulars) each; on disk when this returns. AuditError: then none of them is."""
        with _disk(self.path), self._locked() as file:
            self._continue(file)
            assert self._key is not None
            self._write(file, [self._entry(*said) for said in self._with_checkpoints(entries)])

    def rotate(self) -> str:
        """Put a new signing key in force; its public text. The old private key is gone afterwards."""
        with _disk(self.path), self._locked() as file:
            self._continue(file)
            assert self._key is not None
            new = keys.prepare_signing(self._state)
            said = chain.rotated(self._key, new, self._count, self._newest)
            entry = self._entry(self._clock(), chain.ROTATED, said)
            self._key = new
            self._write(file, [entry])
            keys.finish_signing(self._state)
            return chain.public_text(new)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+b") as file:
            keep_owner(self.path)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _continue(self, file: BinaryIO) -> None:
        """Learn where the chain stands, where another process wrote or we have just started; heal a torn end."""
        stat = os.fstat(file.fileno())
        if self._seen == (stat.st_ino, stat.st_size):
            return
        try:
            self._count, self._newest, unsigned, torn = self._read_end(file)
        except Broken as error:
            self._begin(file, set_aside=self._set_aside(file, str(error)))
            return
        if self._count == 0:
            self._begin(file)
        if torn or unsigned:
            log.warning("%s: %d bytes of a torn line are removed, %d entries unsigned", self.path, len(torn), unsigned)
            said = {"torn_bytes": len(torn), "torn_sha256": chain.sha256(torn), "unsigned_entries": unsigned}
            self._write(file, [self._entry(self._clock(), chain.HEALED, said)])
        self._seen = _identity(file)

    def _read_end(self, file: BinaryIO) -> tuple[int, str, int, bytes]:
        """(entries, newest hash, entries after the head, torn last line, now cut off). Broken where end and head do
        not fit. A crash between a line and its head leaves entries unsigned, and so does a forger."""
        whole, torn, last = _end(file)
        newest = Entry.parse(last) if last else None
        count = newest.number + 1 if newest else 0
        text = newest.hash if newest else chain.START
        rotated = str(newest.said.get("key")) if newest and newest.kind == chain.ROTATED else ""
        self._key = keys.signing(self._state, rotated)
        if (head := self._read_head()) is None:
            if count > 1:
                raise Broken("the head is missing")
            signed = count
        elif head.count > count or (head.count == count and head.hash != text):
            raise Broken(f"{head.count} entries are signed, and the end is not the signed one")
        else:
            signed = head.count
        if torn:
            os.ftruncate(file.fileno(), whole)
        return count, text, count - signed, torn

    def _read_head(self) -> Head | None:
        try:
            return Head.parse((self._state.path / HEAD).read_bytes())
        except FileNotFoundError:
            return None

    def _set_aside(self, file: BinaryIO, why: str) -> str:
        """Keep a broken audit under another name: it is evidence. Returns that name and why."""
        name = f"audit.{datetime.fromtimestamp(self._clock(), UTC):%Y%m%dT%H%M%S%fZ}.broken"
        log.error("%s: %s; it is kept as %s.jsonl, and a new audit begins", self.path, why, name)
        file.seek(0)
        self._state.write_bytes(f"{name}.jsonl", file.read())
        with contextlib.suppress(FileNotFoundError):
            self._state.write_bytes(f"{name}.head", (self._state.path / HEAD).read_bytes())
            (self._state.path / HEAD).unlink()
        os.ftruncate(file.fileno(), 0)
        self._key = keys.signing(self._state)
        return f"{name}.jsonl ({why})"

    def _begin(self, file: BinaryIO, **more: str) -> None:
        assert self._key is not None
        self._count, self._newest = 0, chain.START
        self._write(file, [self._entry(self._clock(), chain.BEGUN, chain.begun(self._key, **more))])

    def _with_checkpoints(self, entries: Iterable[Said]) -> Iterator[Said]:
        assert self._key is not None
        for said in entries:
            if self._count % CHECKPOINT_EVERY == 0:
                yield said[0], chain.CHECKPOINT, chain.checkpoint(self._key, self._count, self._newest)
            yield said

    def _entry(self, at: float, kind: str, said: dict[str, Any]) -> Entry:
        """The next entry; the count goes on, and comes back in ``_write`` where the disk refuses."""
        text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            entry = Entry.make(self._count, text, kind, said, self._newest)
            if len(entry.line()) > LONGEST:
                raise ValueError("it is too long")
        except (TypeError, ValueError) as error:
            raise AuditError(f"an audit entry {kind!r} cannot be written: {error}") from error
        self._count, self._newest = entry.number + 1, entry.hash
        return entry

    def _write(self, file: BinaryIO, entries: list[Entry]) -> None:
        assert self._key is not None
        size = file.seek(0, os.SEEK_END)
        try:
            with memoryview(b"".join(entry.line() for entry in entries)) as data:
                written = 0
                while written < len(data):
                    written += os.write(file.fileno(), data[written:])
            os.fsync(file.fileno())
            self._state.write_bytes(HEAD, Head.sign(self._key, self._count, self._newest).line())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise
        finally:
            self._seen = None
        self._seen = _identity(file)


class Audit:
    """The audit of a running service: ``note`` and ``often`` return at once, a thread writes; ``close`` waits for it.

    Entries wait in memory while the disk takes none; of more than 10,000 only kind and number are told later. After a
    failed write ``note`` raises AuditError until the disk takes entries again, so that what must be on record is not
    done meanwhile. A disk that is full at the start is no different.
    """

    def __init__(self, state: StateDir, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock
        self._file: AuditFile | None = None
        self._waiting: deque[Said] = deque()
        self._lost: Counter[str] = Counter()
        self._repeats: OrderedDict[tuple[str, str], _Repeat] = OrderedDict()
        self._changed = threading.Condition()
        self._closing = False
        self.problem = ""
        """Why entries cannot be written now, or empty."""
        try:
            self._open()
        except AuditError as error:
            log.error("%s", error)
            self.problem = str(error)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def note(self, kind: str, **said: Any) -> None:
        """Tell of something. said: JSON data; no secrets, nothing of the person in the picture.

        ValueError, TypeError where it is no JSON, or longer than 64 KiB.
        """
        with self._changed:
            if self.problem:
                raise AuditError(self.problem)
            self._put((self._clock(), kind, said))

    def often(self, kind: str, **said: Any) -> None:
        """As ``note``, for what may happen many times: told at once, then equal ones once a minute with their number.
        While the disk takes none they wait."""
        with self._changed:
            now, key = self._clock(), (kind, repr(sorted(said.items())))
            repeat = self._repeats.get(key)
            if repeat is not None:
                repeat.times += 1
                repeat.last = now
                return
            self._repeats[key] = _Repeat(kind, said, time.monotonic() + TOGETHER, now, now)
            if len(self._repeats) > 1000:
                self._tell(self._repeats.popitem(last=False)[1])
            self._put((now, kind, said))

    def record(self, kind: str, **said: Any) -> None:
        """Tell of something, and return when it is on disk. AuditError where it is not."""
        self._open().append((self._clock(), kind, said))

    def close(self, patience: float = 3.0) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)

    def _open(self) -> AuditFile:
        if self._file is None:
            self._file = AuditFile(self._state, self._clock)
        return self._file

    def _put(self, said: Said) -> None:
        if len(json.dumps(said[2], allow_nan=False)) > _SAID:
            raise ValueError(f"what is told of {said[1]!r} is longer than {_SAID} bytes")
        if len(self._waiting) >= _WAITING:
            self._lost[said[1]] += 1
        else:
            self._waiting.append(said)
            self._changed.notify()

    def _tell(self, repeat: _Repeat) -> None:
        if repeat.times > 1:
            times = {"times": repeat.times - 1, "first": _text(repeat.first), "last": _text(repeat.last)}
            self._put((self._clock(), repeat.kind, {**repeat.said, **times}))

    def _due(self, everything: bool) -> None:
        """Repeats are kept in the order in which they began, and so fall due."""
        now = time.monotonic()
        while self._repeats and (everything or next(iter(self._repeats.values())).due <= now):
            self._tell(self._repeats.popitem(last=False)[1])

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._closing and not self.problem:
                    self._changed.wait(1.0 if self._repeats else None)
                self._due(self._closing)
                batch = list(self._waiting)
                lost = dict(self._lost)
                closing = self._closing
            if batch or self.problem:
                self._flush(batch, lost)
            if closing:
                return

    def _flush(self, batch: list[Said], lost: dict[str, int]) -> None:
        told: list[Said] = [(self._clock(), "audit overflowed", {"lost": lost})] if lost else []
        try:
            self._open().append(*batch, *told)
        except AuditError as error:
            if not self.problem:
                log.error("%s", error)
            with self._changed:
                self.problem = str(error)
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing, _RETRY)
            return
        with self._changed:
            for _ in batch:
                self._waiting.popleft()
            self._lost -= Counter(lost)
            self.problem = ""


@dataclass(slots=True)
class _Repeat:
    kind: str
    said: dict[str, Any]
    due: float
    first: float
    last: float
    times: int = 1


def verify(folder: Path, trust: Iterable[str] = (), expect: tuple[int, str] | None = None) -> Report:
    """Check the audit in a state folder, or a copy of its two files; while others write, too. ConfigError where there
    is none."""
    data, head = _snapshot(folder)
    return chain.verify(data.splitlines(keepends=True), head, trust, expect)


def entries(folder: Path) -> Iterator[Entry]:
    """The entries of an audit, oldest first. ConfigError at the first that does not hold, or where there is none."""
    data, _ = _snapshot(folder)
    try:
        yield from chain.read(data.splitlines(keepends=True))
    except Broken as error:
        raise ConfigError(f"{folder / FILE}: {error}; see `anonymizer audit verify`") from error


def _snapshot(folder: Path) -> tuple[bytes, bytes | None]:
    """The lines and the head, between two appends."""
    try:
        with (folder / FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            try:
                return file.read(), (folder / HEAD).read_bytes()
            except FileNotFoundError:
                file.seek(0)
                return file.read(), None
    except OSError as error:
        raise ConfigError(f"{folder / FILE}: there is no audit to read: {error.strerror}") from error


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditError(f"{path} cannot be written: {error.strerror}") from error


def _end(file: BinaryIO) -> tuple[int, bytes, bytes]:
    """(bytes of whole lines, what follows the last of them, the last whole line). Broken where a line is endless."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * LONGEST))
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    if not whole and len(tail) > LONGEST:
        raise Broken("the last line has no end")
    last = tail[tail.rfind(b"\n", 0, whole - 1) + 1 : whole] if whole else b""
    return size - len(tail) + whole, tail[whole:], last


def _identity(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_size


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
