"""Legal holds: what lies under one is not deleted, however old."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from anonymizer.errors import ConfigError
from anonymizer.statedir import StateDir, keep_owner

_FILE, _LOCK = "holds.json", "retention.lock"


@dataclass(frozen=True, slots=True)
class Hold:
    """camera: empty for all. start, stop: UTC seconds."""

    id: str
    camera: str
    start: float
    stop: float
    reason: str

    def covers(self, camera: str, start: float, stop: float) -> bool:
        return self.camera in ("", camera) and start < self.stop and stop > self.start


def read(state: StateDir) -> list[Hold]:
    """ConfigError where they cannot be read: then nothing may be deleted."""
    try:
        return [Hold(**hold) for hold in state.read(_FILE) or []]
    except TypeError as error:
        raise ConfigError(f"{state.path / _FILE} holds no legal holds; nothing is deleted meanwhile") from error


def place(state: StateDir, camera: str, start: float, stop: float, reason: str) -> Hold:
    hold = Hold(secrets.token_hex(4), camera, start, stop, reason)
    with locked(state):
        _write(state, [*read(state), hold])
    return hold


def release(state: StateDir, name: str) -> Hold:
    """ConfigError where there is no such hold."""
    with locked(state):
        holds = read(state)
        found = next((hold for hold in holds if hold.id == name), None)
        if found is None:
            raise ConfigError(f"there is no hold {name!r}; `anonymizer retention holds` lists them")
        _write(state, [hold for hold in holds if hold is not found])
    return found


def _write(state: StateDir, holds: list[Hold]) -> None:
    try:
        state.write(_FILE, [asdict(hold) for hold in holds])
    except OSError as error:
        raise ConfigError(f"{state.path / _FILE} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def locked(state: StateDir) -> Iterator[None]:
    """Nothing is deleted while a hold is placed, and the other way round."""
    with os.fdopen(os.open(_path(state), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as file:
        keep_owner(_path(state))
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _path(state: StateDir) -> Path:
    return state.path / _LOCK
