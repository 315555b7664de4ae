"""``anonymizer enroll`` and ``anonymizer revoke``: who may be recognised."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

from anonymizer import registry
from anonymizer.assembly import detectors
from anonymizer.config import FacesSettings
from anonymizer.enrolment import Enrolment
from anonymizer.errors import ConfigError, SourceError
from anonymizer.faces.detectors import Detector
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import Frame, Planes
from anonymizer.groups import Member
from anonymizer.ingest.file import FileSource
from anonymizer.record.audit import AuditFile
from anonymizer.statedir import StateDir, default_path

_LONGEST = 1280


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    enroll = commands.add_parser("enroll", help="let a person who agreed be recognised")
    enroll.add_argument("name", metavar="NAME")
    enroll.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="one face in each")
    enroll.add_argument("--group", required=True, help="as rules name it")
    enroll.add_argument("--consent", required=True, help="where the written consent is filed")
    enroll.add_argument("--expires", required=True, type=date.fromisoformat, help="the consent's last day, 2027-12-31")
    enroll.add_argument("--recogniser", default="auto", help="a name from `anonymizer models list` or an ONNX file")
    enroll.set_defaults(command=_enroll)
    revoke = commands.add_parser("revoke", help="delete an enrolled person's data")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(command=_revoke)
    enrolled = commands.add_parser("enrolled", help="who is enrolled, and until when")
    enrolled.set_defaults(command=_list)
    for one in (enroll, revoke, enrolled):
        one.add_argument("--state", type=Path, metavar="FOLDER", help="the service's state folder; default: its own")


def _state(given: argparse.Namespace, *, made: bool = False) -> StateDir:
    return StateDir(given.state or default_path(), made=made)


def _enroll(given: argparse.Namespace) -> int:
    recogniser = Recogniser(registry.resolve("recogniser", given.recogniser))
    detector, _ = detectors(FacesSettings())
    embeddings = [embedding(photo, detector, recogniser) for photo in given.photos]
    member = Member(given.name, given.group, given.consent, given.expires, recogniser.name, tuple(embeddings))
    state = _state(given, made=True)
    Enrolment(state).enroll(member)
    said = {"member": given.name, "group": given.group, "consent": given.consent, "expires": str(given.expires)}
    AuditFile(state).append((time.time(), "enrolled", said))
    print(f"{given.name} is enrolled in {given.group} until {given.expires}; reload the service to make it known")
    return 0


def embedding(photo: Path, detector: Detector, recogniser: Recogniser) -> tuple[float, ...]:
    """The embedding of the one face in a photograph. ConfigError where there are none, or several; SourceError where
    it cannot be read."""
    planes = _picture(photo)
    scale = min(1.0, _LONGEST / max(planes.width, planes.height))
    (found,) = detector.detect([planes.bgr((round(planes.width * scale), round(planes.height * scale)))], 0.5)
    if len(found) != 1:
        raise ConfigError(f"{photo}: {len(found)} faces were found; a photograph of one face is due")
    result = recogniser.embed(planes, found.points[0] / scale)
    if result is None:
        raise ConfigError(f"{photo}: the face cannot be aligned; take another photograph")
    return tuple(map(float, result))


def _picture(photo: Path) -> Planes:
    with FileSource(photo) as source:
        for item in source:
            if isinstance(item, Frame):
                return item.planes.copy()
    raise SourceError(f"{photo}: no picture can be read")


def _revoke(given: argparse.Namespace) -> int:
    state = _state(given)
    Enrolment(state).revoke(given.name)
    AuditFile(state).append((time.time(), "enrolment revoked", {"member": given.name}))
    print(f"{given.name}'s data are deleted; reload the service to make it forget them")
    return 0


def _list(given: argparse.Namespace) -> int:
    folder = _state(given)
    print(f"reading {folder.path}", file=sys.stderr)
    for member in Enrolment(folder).members():
        state = "expired" if member.expires < date.today() else "valid"
        print(f"{member.name}\t{member.group}\tuntil {member.expires} ({state})\tconsent {member.consent}")
    return 0
