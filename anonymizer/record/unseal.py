"""Opening originals: who, why and what goes into the audit first, and only then is anything opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyrage
from pyrage.x25519 import Identity

from anonymizer.errors import ConfigError, PublishError
from anonymizer.record import label, mp4
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import Catalogue, File

UNSEALED = "unsealed"


@dataclass(slots=True)
class Opened:
    """What came of an unsealing. damaged: sealed files that are missing, cut off or changed; they were not opened."""

    fragments: int = 0
    files: list[Path] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def fragments(
    audit: AuditFile, catalogue: Catalogue, camera: str, start: float, stop: float, identity: Identity, reason: str,
    now: float, damaged: list[str], **more: Any,
) -> Iterator[tuple[File, bytes]]:  # fmt: skip
    """Sealed fragments that overlap a time, opened one by one in memory: each an MP4. damaged: is added to.

    The audit has the entry, on disk, before the first is opened: ConfigError without a reason, AuditError where it
    takes none, and then nothing is opened. more: for the audit, such as case, officers, shares.
    """
    if not reason.strip():
        raise ConfigError("opening originals needs a reason")
    found = catalogue.files("fragment", camera, start, stop)
    if not found:
        raise ConfigError(f"no originals of {camera} from {label.utc(start)} to {label.utc(stop)} are kept")
    digest = hashlib.sha256("".join(file.sha256 for file in found).encode()).hexdigest()
    said = {
        "camera": camera, "from": label.utc(start), "to": label.utc(stop), "reason": reason.strip(),
        "fragments": len(found), "digest": digest, "key": str(identity.to_public()), **more,
    }  # fmt: skip
    audit.append((now, UNSEALED, said))
    return _opened(found, identity, damaged)


def _opened(found: Sequence[File], identity: Identity, damaged: list[str]) -> Iterator[tuple[File, bytes]]:
    for file in found:
        try:
            data = Path(file.path).read_bytes()
        except OSError:
            damaged.append(f"{file.path} cannot be read")
            continue
        if len(data) != file.bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            damaged.append(f"{file.path} was cut off or changed")
            continue
        try:
            yield file, pyrage.decrypt(data, [identity])
        except pyrage.DecryptError as error:
            raise ConfigError(f"{file.path} is sealed to another key") from error


def save(opened: Iterator[tuple[File, bytes]], folder: Path, result: Opened) -> None:
    """Write opened fragments into a folder, joined into as few MP4s as possible: a new one where the camera's format
    changed, or more than half a second is missing. Files appear when they are whole, for their owner only.

    PublishError where writing fails.
    """
    writer: _Joined | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file, data in opened:
            front, parts = mp4.parts(data)
            if not parts:
                result.damaged.append(f"{file.path} holds no video")
                continue
            if writer is None or not writer.fits(file, data[:front]):
                if writer is not None:
                    result.files.append(writer.finish())
                writer = _Joined(folder, file, data[:front], parts[0].start)
            writer.add(file, data[parts[0].at : parts[0].at + parts[0].size])
            result.fragments += 1
        if writer is not None:
            result.files.append(writer.finish())
            writer = None
    except OSError as error:
        raise PublishError(f"{folder}: originals cannot be written: {error.strerror}") from error
    finally:
        if writer is not None:
            writer.abort()


class _Joined:
    def __init__(self, folder: Path, first: File, header: bytes, start: int) -> None:
        stamp = label.utc(first.start).replace(":", "").replace("-", "")
        self._path = folder / f"{first.camera}-{stamp}-original.mp4"
        self._part = folder / f".{self._path.name}.part"
        handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._file.write(header)
        self._format = _format(header)
        self._rates = mp4.rates(header)
        self._shift = -start / mp4.CLOCK
        self._stop = first.start
        self._count = 0

    def fits(self, file: File, header: bytes) -> bool:
        return abs(file.start - self._stop) <= 0.5 and _format(header) == self._format

    def add(self, file: File, data: bytes) -> None:
        self._count += 1
        self._file.write(mp4.moved(data, self._count, self._shift, self._rates))
        self._stop = file.stop

    def finish(self) -> Path:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)
        return self._path

    def abort(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def _format(header: bytes) -> list[bytes]:
    """The descriptions of the tracks' samples, without the times that differ from fragment to fragment."""
    return [header[start:end] for start, end in mp4.descriptions(header)]
