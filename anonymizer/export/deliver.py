"""Begin and end of every export: the audit is told first, and the package gets its name last."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.errors import ConfigError, SourceError
from anonymizer.export import credential, package, timestamp, trail
from anonymizer.export import job as work
from anonymizer.export.contents import (
    Clock,
    Completeness,
    Contents,
    Covered,
    Doubt,
    Gap,
    Processing,
    Redaction,
    Request,
    Retention,
    Signoff,
    Sound,
    Trail,
    Video,
    new_id,
)  # fmt: skip
from anonymizer.export.job import Job
from anonymizer.export.particulars import Particulars
from anonymizer.record import audit, chain, holds, keys, label
from anonymizer.record.audit import AuditFile
from anonymizer.statedir import StateDir

BEGUN, ABANDONED, FINISHED, DELIVERED = "export begun", "export abandoned", "export finished", "export delivered"


@dataclass(slots=True)
class Made:
    """What an export has to say. cameras, start, stop: what was asked for."""

    cameras: tuple[str, ...]
    start: float
    stop: float
    processing: Processing
    sound: Sound
    videos: list[Video] = field(default_factory=list)
    redactions: list[Redaction] = field(default_factory=list)
    covered: list[Covered] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    clocks: list[Clock] = field(default_factory=list)
    signoff: Signoff | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """request: as the package says it. target: the package's file. recipients: age public keys, or empty. timestamp:
    URL of an authority (RFC 3161), or empty. credentials: whether the videos get C2PA content credentials."""

    request: Request
    particulars: Particulars
    target: Path
    recipients: tuple[str, ...]
    timestamp: str = ""
    credentials: bool = False


def begin(job: Job, state: StateDir, case: Case, said: dict[str, Any]) -> AuditFile:
    """Tell the audit who wants what, why and for whom, before anything is read; once for each order. said: what is
    exported. ConfigError without a reason, without an extra that the case needs, or where the target is another file
    that is there; AuditError where the audit takes nothing: then nothing happens."""
    request = case.request
    if case.timestamp:
        timestamp.authority(case.timestamp)
    if case.credentials:
        credential.library()
    if not request.reason.strip():
        raise ConfigError("an export needs a reason")
    if not case.target.parent.is_dir():
        raise ConfigError(f"{case.target.parent} is no folder; make it, or name another file")
    if case.target.exists() and job.noted("trail.json") is None:
        raise ConfigError(f"{case.target} is there already; name another file")
    log = AuditFile(state)
    if job.noted(work.BEGUN) is None:
        told = {
            "case": request.case, "kind": request.kind, "reason": request.reason, "approver": request.approver,
            "recipient": request.recipient, "order": job.folder.name,
        }  # fmt: skip
        log.append((time.time(), BEGUN, {**told, **said}))
        job.note(work.BEGUN, True)
    return log


def finish(
    job: Job, state: StateDir, log: AuditFile, case: Case, made: Made, progress: Callable[[float], None]
) -> package.Written:  # fmt: skip
    """Write the package and end the order. The audit has the export before a byte of it has its name."""
    if not made.videos:
        times = f"from {label.utc(made.start)} to {label.utc(made.stop)}"
        abandon(job, log, case.request.case, "nothing can be exported")
        raise ConfigError(f"nothing of {', '.join(made.cameras)} {times} can be exported")
    key = keys.signing(state)
    videos = _credited(job, case, made.videos, key) if case.credentials else tuple(made.videos)
    identifier, now, told = _trail(job, state, log, case, made)
    settings: dict[str, Any] = {**made.processing.settings}
    if case.credentials:
        settings["content credentials"] = "C2PA, in every video, signed with the key of this package"
    stamp = None
    if case.timestamp:
        settings["timestamp"] = f"RFC 3161, of {case.timestamp}"
        stamp = partial(timestamp.ask, case.timestamp)
        now = time.time()  # as the authority will say, however long ago the order began
    processing = replace(made.processing, settings=settings)
    held = [
        f"{hold.id}: {hold.reason}" for hold in holds.read(state)
        if any(hold.covers(camera, made.start, made.stop) for camera in made.cameras)
    ]  # fmt: skip
    deletions = [
        entry.said for entry in audit.entries(state.path)
        if entry.kind in ("deleted", "erased") and entry.said.get("case") == case.request.case
    ]  # fmt: skip
    particulars = case.particulars
    contents = Contents(
        identifier, case.request, videos, processing, tuple(made.redactions), tuple(made.covered),
        tuple(made.doubts),
        Completeness(made.start, made.stop, made.cameras, tuple(made.gaps), tuple(made.clocks), made.sound),
        particulars.notice, particulars.identifiability,
        Retention(now + particulars.keep_days * 86400, "", tuple(held), tuple(deletions)), told, made.signoff,
    )  # fmt: skip
    path = job.folder / "package"
    written = package.write(path, contents, key, now, case.recipients, progress, stamp)
    work.place(path, case.target)
    log.append((time.time(), FINISHED, {
        "case": case.request.case, "package": identifier, "file": case.target.name, "sha256": written.sha256,
        "bytes": written.bytes, "sealed to": list(case.recipients),
    }))  # fmt: skip
    job.remove()
    return written


def abandon(job: Job, log: AuditFile, case: str, reason: str) -> None:
    """End an order without a package: the audit is told, and what was made for it goes."""
    log.append((time.time(), ABANDONED, {"case": case, "order": job.folder.name, "reason": reason}))
    job.remove()


def _credited(job: Job, case: Case, videos: Sequence[Video], key: Ed25519PrivateKey) -> tuple[Video, ...]:
    """The videos with content credentials, made once for these pictures and this key."""
    about = "".join([chain.public_text(key), *(work.digest(video.path) for video in videos)])
    name = f"credited {hashlib.sha256(about.encode()).hexdigest()[:8]}"

    def make(folder: Path) -> None:
        credential.credited(videos, folder, key, case.particulars.controller, time.time())

    job.step(name, make)
    return tuple(replace(video, path=job.place(name) / video.name) for video in videos)


def _trail(
    job: Job, state: StateDir, log: AuditFile, case: Case, made: Made
) -> tuple[str, float, Trail]:  # fmt: skip
    """The package's name, time and audit; the same in every life of the order."""
    noted = job.noted("trail.json")
    if noted is None:
        named = job.noted("package.json")
        if named is not None and any(
            entry.kind == trail.EXPORTED and entry.said.get("package") == named for entry in audit.entries(state.path)
        ):  # the process ended between the audit and its note: that package will never be
            log.append((time.time(), ABANDONED, {"case": case.request.case, "package": named}))
            named = None
        identifier, now = named or new_id(), time.time()
        job.note("package.json", identifier)
        request = case.request
        said = {
            "case": request.case, "kind": request.kind, "reason": request.reason, "recipient": request.recipient,
            "delivery": request.delivery, "approver": request.approver, "cameras": list(made.cameras),
            "from": label.utc(made.start), "to": label.utc(made.stop),
        }  # fmt: skip
        record = trail.record(
            log, keys.signing(state), identifier, now, said, lambda entry: entry.said.get("case") == request.case
        )
        lines = [line.decode() for line in record.lines]
        noted = {"package": identifier, "now": now, "lines": lines, "head": record.head.decode()}
        job.note("trail.json", noted)
    told = tuple(line.encode() for line in noted["lines"])
    return noted["package"], noted["now"], Trail(told, noted["head"].encode())


def deliver(state: StateDir, package_path: Path, to: str, how: str) -> str:
    """Tell the audit that a package left the house, and to whom; its SHA-256. SourceError where it cannot be read."""
    try:
        digest = work.digest(package_path)
    except OSError as error:
        raise SourceError(f"{package_path}: cannot be read: {error.strerror}") from error
    known: Sequence[Any] = [
        entry for entry in audit.entries(state.path)
        if entry.kind == FINISHED and entry.said.get("sha256") == digest
    ]  # fmt: skip
    if not known:
        raise ConfigError(f"{package_path} is no package that was exported here")
    said = {"case": known[-1].said["case"], "package": known[-1].said["package"], "sha256": digest}
    AuditFile(state).append((time.time(), DELIVERED, {**said, "to": to, "how": how}))
    return digest
