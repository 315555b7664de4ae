"""What lies on disk: segments, sealed fragments, and the tracks seen in them. SQLite in WAL mode, for many processes.

Everything here but the tracks can be made again from the files. Times are UTC seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anonymizer.errors import AnonymizerError
from anonymizer.statedir import keep_owner

FILE = "catalogue.sqlite"
Kind = Literal["segment", "fragment"]
_KEPT, _DELETING = 0, 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, camera TEXT NOT NULL, path TEXT NOT NULL UNIQUE,
    start REAL NOT NULL, stop REAL NOT NULL, clock TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,
    frames INTEGER NOT NULL, keys TEXT NOT NULL, healed INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS files_by_time ON files (camera, kind, start);
CREATE TABLE IF NOT EXISTS tracks (
    id TEXT PRIMARY KEY, camera TEXT NOT NULL, start REAL NOT NULL, stop REAL NOT NULL, ended INTEGER NOT NULL,
    action TEXT NOT NULL, method TEXT NOT NULL, rule TEXT NOT NULL, zones TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tracks_by_time ON tracks (camera, start);
CREATE TABLE IF NOT EXISTS sightings (
    track TEXT NOT NULL, time REAL NOT NULL, x INTEGER NOT NULL, y INTEGER NOT NULL, w INTEGER NOT NULL,
    h INTEGER NOT NULL, PRIMARY KEY (track, time)
) STRICT, WITHOUT ROWID;
"""


class CatalogueError(AnonymizerError):
    """The catalogue cannot be read or written."""

    exit_code = 6


@dataclass(frozen=True, slots=True)
class File:
    """A segment of the anonymised stream, or a sealed fragment of the original. clock: who says what time it was.
    sha256: of the file, hexadecimal. keys: times of the key frames from the start, seconds. healed: found after a
    crash, and cut or taken in then. deleting: its deletion has begun. id is 0 until it is in the catalogue."""

    kind: Kind
    camera: str
    path: str
    start: float
    stop: float
    clock: str
    bytes: int
    sha256: str
    frames: int = 0
    keys: tuple[float, ...] = ()
    healed: bool = False
    deleting: bool = False
    id: int = 0


@dataclass(frozen=True, slots=True)
class Track:
    """One face's track, as told over MQTT. ended: False while it goes on, or where its end was never told."""

    id: str
    camera: str
    start: float
    stop: float
    ended: bool
    action: str
    method: str
    rule: str
    zones: tuple[str, ...]


class Catalogue:
    """For one thread. reading: nothing is written, and the file must be there. CatalogueError where the disk takes or
    gives nothing."""

    def __init__(self, folder: Path, *, timeout: float = 10.0, reading: bool = False) -> None:
        self.path = folder / FILE
        with self._errors():
            if reading:
                address = f"{self.path.absolute().as_uri()}?mode=ro"
                self._db = sqlite3.connect(address, timeout=timeout, isolation_level=None, uri=True)
                return
            try:
                self._db = self._open(timeout)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # not a database any more; the files tell us all but the tracks
                aside = self.path.with_name(f"{FILE}.{time.time_ns()}.broken")
                os.replace(self.path, aside)
                for suffix in ("-wal", "-shm"):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                self._db = self._open(timeout)

    def _open(self, timeout: float) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=timeout, isolation_level=None)
        try:
            self.path.chmod(0o600)
            keep_owner(self.path)  # SQLite gives its other files to the same owner
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise CatalogueError(f"{self.path}: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    # Files

    def add(self, file: File) -> None:
        """Put a file in; one with the same path is replaced."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO files (kind, camera, path, start, stop, clock, bytes, sha256, frames, keys,"
                " healed, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    file.kind, file.camera, file.path, file.start, file.stop, file.clock, file.bytes, file.sha256,
                    file.frames, json.dumps([round(key, 3) for key in file.keys]), file.healed, _KEPT,
                ),
            )  # fmt: skip

    def files(
        self, kind: Kind, camera: str = "", start: float = float("-inf"), stop: float = float("inf"), *,
        deleting: bool = False,
    ) -> list[File]:  # fmt: skip
        """Files that overlap a time, the oldest first; of every camera where none is named. deleting: those whose
        deletion has begun, instead of those that are kept."""
        with self._errors():
            rows = self._db.execute(
                "SELECT kind, camera, path, start, stop, clock, bytes, sha256, frames, keys, healed, state, id"
                " FROM files WHERE kind = ? AND (? = '' OR camera = ?) AND start < ? AND stop > ? AND state = ?"
                " ORDER BY start, id",
                (kind, camera, camera, stop, start, _DELETING if deleting else _KEPT),
            ).fetchall()
        return [_file(row) for row in rows]

    def paths(self, kind: Kind, camera: str) -> set[str]:
        """Every path that is known, those being deleted too."""
        with self._errors():
            rows = self._db.execute("SELECT path FROM files WHERE kind = ? AND camera = ?", (kind, camera)).fetchall()
        return {row[0] for row in rows}

    def size(self, kind: Kind, camera: str) -> int:
        """Bytes on disk."""
        with self._errors():
            (total,) = self._db.execute(
                "SELECT coalesce(sum(bytes), 0) FROM files WHERE kind = ? AND camera = ? AND state = 0", (kind, camera)
            ).fetchone()
        return int(total)

    def cameras(self) -> list[str]:
        """All that files are known of, whether they are still configured or not."""
        with self._errors():
            return [row[0] for row in self._db.execute("SELECT DISTINCT camera FROM files ORDER BY camera")]

    def begin_deleting(self, files: Iterable[File]) -> None:
        """From here on the files count as gone, whatever happens."""
        with self._writing() as db:
            db.executemany("UPDATE files SET state = ? WHERE id = ?", [(_DELETING, file.id) for file in files])

    def forget(self, files: Iterable[File]) -> None:
        with self._writing() as db:
            db.executemany("DELETE FROM files WHERE id = ?", [(file.id,) for file in files])

    # Tracks

    def take_event(self, event: dict[str, Any]) -> None:
        """Note an event as ``events.tracks.TrackEvent.to_json`` gives it. CatalogueError for another."""
        try:
            now = event["after"]
            stop = float(now["end_time"] or now["last_time"])
            row = (
                str(now["id"]), str(now["camera"]), float(now["start_time"]), stop, int(event["type"] == "end"),
                str(now["action"]), str(now["method"]), str(now["rule"]), json.dumps(list(now["zones"])),
            )  # fmt: skip
            box = [int(value) for value in now["box"]]
            sighting = (row[0], float(now["last_time"]), *box)
            if len(box) != 4:
                raise ValueError("a box has four numbers")
        except (KeyError, TypeError, ValueError) as error:
            raise CatalogueError(f"this is no event of a track: {error}") from error
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("INSERT OR REPLACE INTO sightings VALUES (?, ?, ?, ?, ?, ?)", sighting)

    def tracks(self, camera: str, start: float, stop: float) -> list[Track]:
        """Tracks that overlap a time, by their start."""
        with self._errors():
            rows = self._db.execute(
                "SELECT id, camera, start, stop, ended, action, method, rule, zones FROM tracks"
                " WHERE camera = ? AND start < ? AND stop >= ? ORDER BY start",
                (camera, stop, start),
            ).fetchall()
        return [_track(row) for row in rows]

    def sightings(self, track: str) -> list[tuple[float, tuple[int, int, int, int]]]:
        """(time, box) of a track as it was told: at its start, about once a second while it moved, and at its end."""
        with self._errors():
            rows = self._db.execute(
                "SELECT time, x, y, w, h FROM sightings WHERE track = ? ORDER BY time", (track,)
            ).fetchall()
        return [(row[0], (row[1], row[2], row[3], row[4])) for row in rows]

    def forget_tracks(self, camera: str, before: float) -> None:
        """Remove tracks that ended before any file that is left."""
        with self._writing() as db:
            db.execute(
                "DELETE FROM sightings WHERE track IN (SELECT id FROM tracks WHERE camera = ? AND stop < ?)",
                (camera, before),
            )
            db.execute("DELETE FROM tracks WHERE camera = ? AND stop < ?", (camera, before))


def _file(row: Sequence[Any]) -> File:
    head, (keys, healed, state, number) = row[:9], row[9:]
    return File(*head, tuple(json.loads(keys)), bool(healed), state == _DELETING, number)  # type: ignore[call-arg]


def _track(row: Sequence[Any]) -> Track:
    identifier, camera, start, stop, ended, action, method, rule, zones = row
    return Track(identifier, camera, start, stop, bool(ended), action, method, rule, tuple(json.loads(zones)))
