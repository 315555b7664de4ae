"""What is too old, or too much, is deleted; the audit certifies it with the hashes of what was there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from anonymizer.record import holds, label
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import Catalogue, File, Kind
from anonymizer.record.settings import RecordSettings
from anonymizer.statedir import StateDir

DELETED = "deleted"
_BATCH = 500


def run(state: StateDir, cameras: Mapping[str, RecordSettings], now: float) -> int:
    """Delete what the settings say, and finish deletions that a crash interrupted; the number of files. Files of
    cameras that are not configured any more stay. AuditError, CatalogueError, ConfigError; then the rest stays.

    A file under a legal hold stays, and counts towards the size.
    """
    count = 0
    audit = AuditFile(state)
    with Catalogue(state.path) as catalogue:
        count += finish(state, catalogue, audit)
        for camera, settings in cameras.items():
            limits: list[tuple[Kind, float, float]] = [("segment", settings.retention_days, settings.retention_gb)]
            if settings.vault is not None:
                limits.append(("fragment", settings.vault.retention_days, settings.vault.retention_gb))
            for kind, days, gigabytes in limits:
                old = catalogue.files(kind, camera, stop=now - days * 86400)
                old = [file for file in old if file.stop <= now - days * 86400]
                count += delete(state, catalogue, audit, old, f"older than {days:g} days")
                if gigabytes:
                    over = _over(catalogue, kind, camera, gigabytes * 1e9, holds.read(state))
                    count += delete(state, catalogue, audit, over, f"more than {gigabytes:g} GB")
            left = catalogue.files("segment", camera)
            oldest = left[0].start if left else now - settings.retention_days * 86400
            catalogue.forget_tracks(camera, oldest)
    return count


def _over(
    catalogue: Catalogue, kind: Kind, camera: str, limit: float, held: Sequence[holds.Hold]
) -> list[File]:  # fmt: skip
    """The oldest files that lie under no hold, until the rest fits."""
    excess = catalogue.size(kind, camera) - limit
    chosen = []
    for file in catalogue.files(kind, camera):
        if excess <= 0:
            break
        if not any(hold.covers(file.camera, file.start, file.stop) for hold in held):
            chosen.append(file)
            excess -= file.bytes
    return chosen


def delete(
    state: StateDir, catalogue: Catalogue, audit: AuditFile, files: Sequence[File], why: str, **more: Any
) -> int:
    """Delete files but those under a legal hold, certified in the audit; how many. more: for the audit, such as the
    case. A crash leaves no file half deleted: what had begun is finished by the next ``run``."""
    count, rest = 0, iter(files)
    while batch := list(islice(rest, _BATCH)):
        with holds.locked(state):
            held = holds.read(state)
            free = [f for f in batch if not any(hold.covers(f.camera, f.start, f.stop) for hold in held)]
            if free:
                catalogue.begin_deleting(free)
                _finish(catalogue, audit, free, why, more)
        count += len(free)
    return count


def finish(state: StateDir, catalogue: Catalogue, audit: AuditFile) -> int:
    """Finish deletions that were interrupted."""
    kinds: tuple[Kind, Kind] = "segment", "fragment"
    count = 0
    with holds.locked(state):
        for kind in kinds:
            rest = iter(catalogue.files(kind, deleting=True))
            while batch := list(islice(rest, _BATCH)):
                _finish(catalogue, audit, batch, "a deletion that was interrupted", {})
                count += len(batch)
    return count


def _finish(catalogue: Catalogue, audit: AuditFile, files: Sequence[File], why: str, more: Mapping[str, Any]) -> None:
    folders = set()
    for file in files:
        path = Path(file.path)
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for camera, kind in sorted({(file.camera, file.kind) for file in files}):
        gone = [file for file in files if (file.camera, file.kind) == (camera, kind)]
        audit.append((time.time(), DELETED, {**certificate(gone), "camera": camera, "why": why, **more}))
    catalogue.forget(files)
    for folder in folders:
        _prune(folder)


def certificate(files: Sequence[File]) -> dict[str, Any]:
    """What the audit says of files that are gone. digest: SHA-256 over their hashes in the order of time; segments are
    named one by one, sealed fragments, of which there are thousands, together."""
    digest = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()
    said: dict[str, Any] = {
        "what": files[0].kind, "count": len(files), "bytes": sum(file.bytes for file in files), "digest": digest,
        "from": label.utc(files[0].start), "to": label.utc(max(file.stop for file in files)),
    }  # fmt: skip
    if files[0].kind == "segment":
        said["files"] = [[Path(file.path).name, file.sha256] for file in files]
    return said


def _prune(folder: Path) -> None:
    """Remove folders of days and hours that are empty now."""
    for place in (folder, folder.parent):
        if place.name[:2].isdigit():
            try:
                place.rmdir()
            except OSError:
                return
