"""``anonymizer erase``: a person is taken out of what is kept here (Art. 17 GDPR)."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anonymizer.errors import ConfigError, PublishError
from anonymizer.export import command, erase, manifest
from anonymizer.export.job import BEGUN, Job, digest
from anonymizer.export.marks import Mark
from anonymizer.export.originals import Stretch
from anonymizer.frame import Frame
from anonymizer.ingest.file import FileSource
from anonymizer.record import keys, label
from anonymizer.record.audit import AuditFile
from anonymizer.record.command import at_state, moment
from anonymizer.statedir import StateDir


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "erase", help="take a person out of recordings and originals, with a certificate; legal holds refuse"
    )
    add = parser.add_argument
    add("--camera", action="append", default=[], metavar="NAME")
    add("--from", dest="start", type=moment, metavar="TIME", help="UTC: 2026-11-24T10:00:00Z")
    add("--to", dest="stop", type=moment, metavar="TIME")
    add("--track", action="append", default=[], metavar="ID", help="of the person in the anonymised stream")
    add("--photo", action="append", type=Path, default=[], metavar="FILE", help="of the person; looks into originals")
    add("--how", choices=("cover", "cut"), default="cover", help="cover the person, or cut the time out")
    add("--case", required=True, help="the controller's reference")
    add("--reason", required=True, help="goes into the audit before anything is opened")
    add("--approver", required=True, metavar="WHO")
    add("--certificate", type=Path, required=True, metavar="FILE", help="JSON; its signature lies beside it, .sig")
    command.originals(parser)
    at_state(parser)
    parser.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> int:
    timed = given.start is not None and given.stop is not None and bool(given.camera)
    if bool(given.photo) and bool(given.track):
        raise ConfigError("name the person by --photo or by --track, not both")
    if not given.track and not timed:
        raise ConfigError("name --track, or --camera, --from and --to")
    if not given.track and not given.photo and given.how == "cover":
        raise ConfigError("a time alone can only be cut out: --how cut")
    if not given.reason.strip():
        raise ConfigError("erasing needs a reason")
    loaded, state = command.place(given)
    _check_place(given.certificate)
    key = keys.opening(given.identity, given.share) if given.photo else None
    known = command.knowing(loaded, state, given.photo, "") if given.photo else None
    order = {
        "case": given.case, "cameras": given.camera, "from": label.utc(given.start) if timed else "",
        "to": label.utc(given.stop) if timed else "", "tracks": given.track, "how": given.how,
        "photos": [digest(photo) for photo in given.photo],
    }  # fmt: skip
    said = {"case": given.case, "reason": given.reason.strip(), "approver": given.approver}
    command.gently()
    with Job.open(state, "erasure", order) as job:
        log = AuditFile(state)
        if job.noted(BEGUN) is None:
            for file in (given.certificate, _signature(given.certificate)):
                if file.exists():
                    raise ConfigError(f"{file} is there already; name another file")
            for track in given.track:
                command.sightings(state, track)
            log.append((time.time(), erase.BEGUN, {**said, **{k: v for k, v in order.items() if k != "photos"}}))
            job.note(BEGUN, True)
        noted = job.noted("marks.json")
        if noted is None:
            doubts: list[str] = []
            if known is None or key is None:
                marks = _named(given, state)
            else:
                marks, doubts = _recognised(given, known, key, state, log)
            if not any(marks.values()):
                log.append((time.time(), erase.ABANDONED, {**said, "why": "the person is not recognised anywhere"}))
                job.remove()
                raise ConfigError("the person is not recognised anywhere in these originals; nothing was erased")
            noted = {"marks": {c: [asdict(m) for m in these] for c, these in marks.items()}, "doubts": doubts}
            job.note("marks.json", noted)
        marks = {camera: [Mark.parse(one) for one in these] for camera, these in noted["marks"].items()}
        certificate = erase.run(
            job, state, log, loaded, marks, cover=given.how == "cover", said=said, doubts=noted["doubts"]
        )
        _certify(given.certificate, state, certificate)
        job.remove()
    for text in noted["doubts"]:
        print(f"in doubt, and not erased: {text}")
    print(f"{len(certificate['recordings'])} recordings and {certificate['originals']} originals: {certificate['how']}")
    print(erase.OUTSIDE)
    print(f"{given.certificate}: the certificate, signed")
    return 0


def _named(given: argparse.Namespace, state: StateDir) -> dict[str, list[Mark]]:
    """What is to be erased, by camera: tracks, or else a time."""
    if not given.track:
        whole = ((given.start, (0.0, 0.0, 1.0, 1.0)),)  # only its time counts: it is cut out
        return {camera: [Mark("cover", given.start, given.stop, 0, whole)] for camera in given.camera}
    marks: dict[str, list[Mark]] = {}
    for track in given.track:
        marks.setdefault(track.rsplit("-", 2)[0], []).append(erase.of_sightings(command.sightings(state, track)))
    return marks


def _recognised(
    given: argparse.Namespace, known: command.Knowing, key: keys.Opening, state: StateDir, log: AuditFile
) -> tuple[dict[str, list[Mark]], list[str]]:
    """Where the originals show the person, by camera, and what might be them too."""
    damaged: list[str] = []
    opened = command.opener(key, state, log, given.reason, given.case, damaged)
    eye = known(opened)
    marks: dict[str, list[Mark]] = {}
    doubts: list[str] = []
    with command.bar() as progress:
        for camera in given.camera:
            for stretch in opened(camera, given.start, given.stop):
                looked = eye.look(stretch, lambda done, total: progress("looking", done / total if total else 0.0))
                found = erase.of_looked(stretch, looked, _times(stretch))
                marks.setdefault(camera, []).extend(found)
                doubts += [
                    f"{camera} {label.utc(m.start)} to {label.utc(m.stop)}: {m.reason}" for m in looked.moments
                    if m.sure < 0.3
                ]  # fmt: skip
    return marks, doubts + damaged


def _times(stretch: Stretch) -> list[float]:
    with FileSource(stretch.path) as source:
        return [item.time for item in source if isinstance(item, Frame)]


def _check_place(certificate: Path) -> None:
    """PublishError where the certificate could not be written: then nothing may be erased."""
    try:
        tempfile.TemporaryFile(dir=certificate.absolute().parent).close()
    except OSError as error:
        raise PublishError(f"{certificate}: cannot be written: {error.strerror}") from error


def _signature(certificate: Path) -> Path:
    return certificate.with_name(f"{certificate.name}.sig")


def _certify(path: Path, state: StateDir, certificate: dict[str, Any]) -> None:
    """The certificate and its detached signature. PublishError where it cannot be written."""
    data = manifest.pretty(certificate)
    files = {path: data, _signature(path): manifest.sign(keys.signing(state), data)}
    try:
        for target, content in files.items():
            part = target.with_name(f".{target.name}.part")
            part.write_bytes(content)
            os.replace(part, target)
    except OSError as error:
        raise PublishError(f"{path}: cannot be written: {error.strerror}; run again") from error
