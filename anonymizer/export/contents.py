"""What goes into a package besides its videos: the case, what was done to the pictures, what is missing, who did it.

Plain data. A field of type ``Moment`` is UTC seconds since 1970 and becomes RFC 3339 text in the package's JSON.
Nothing here may hold an original, an embedding, a key, or a name of somebody in the picture who is not the requester.
"""

from __future__ import annotations

import dataclasses
import secrets
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from anonymizer.record import label

Moment = Annotated[float, "UTC"]
Kind = Literal["access", "erasure", "police", "litigation", "incident"]


def new_id() -> str:
    """A package's random name, which its audit entry and its manifest share."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Source:
    """A recorded file that a video was made from. kind: segment (anonymised), fragment (sealed original), file."""

    name: str
    kind: Literal["segment", "fragment", "file"]
    start: Moment
    stop: Moment
    sha256: str


@dataclass(frozen=True, slots=True)
class Video:
    """One redacted MP4. name: its file name in the package's ``videos`` folder: letters, digits, ``. _ -``. path:
    where it lies now; it is read, not moved. sources: in the order of time."""

    name: str
    path: Path
    camera: str
    start: Moment
    stop: Moment
    frames: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Why the package is made. case: the controller's reference. verification: reference of how the requester's
    identity was checked, never a copy of a document. reason, delivery: in the exporter's words. None: does not apply.
    """

    case: str
    kind: Kind
    lawful_basis: str
    reason: str
    recipient: str
    delivery: str
    approver: str
    verification: str | None = None
    received: Moment | None = None
    deadline: Moment | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """role: as in models/manifest.yaml: detector, landmarks, face-model, recogniser."""

    name: str
    role: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Processing:
    """The record of the processing (Art. 30). policy_sha256: of the rule file's bytes, empty where there is none.
    rules: names of those that decided about a face here. thresholds: numbers that decided what counts as a face or a
    match, by name. settings: others that matter, JSON data; "rules in force" are the fingerprints of the rules' content
    that the audit has, for the time that was recorded, where policy_sha256 is of what is configured now."""

    policy_version: str
    policy_sha256: str
    rules: tuple[str, ...]
    models: tuple[Model, ...]
    thresholds: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was done to one track. video: ``Video.name``. action: what the rule asked; method: what was painted; both
    as in the report of ``anonymizer redact``. reason: in plain words. subject: whether it is the requester's own."""

    video: str
    track: str
    start: Moment
    stop: Moment
    frames: int
    action: str
    method: str
    rule: str
    reason: str
    subject: bool = False


How = Literal["blanked", "away", "thinned", "reduced"]


@dataclass(frozen=True, slots=True)
class Covered:
    """A time in which the picture was not what it usually is. how: blanked (covered whole), away (a notice instead of a
    picture), thinned (every second picture left out), reduced (faces hidden with less effort). frames: how many
    pictures; None where they were not counted."""

    video: str
    start: Moment
    stop: Moment
    frames: int | None
    how: How
    reason: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A moment in which the software was not sure, for a person to look at. It was redacted. reviewed: what the
    reviewer decided, or empty."""

    video: str
    start: Moment
    stop: Moment
    track: str
    reason: str
    reviewed: str = ""


@dataclass(frozen=True, slots=True)
class Signoff:
    """A reviewer's word that they looked at the redacted pictures. changes: what they changed, one line each."""

    reviewer: str
    at: Moment
    moments: int
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A time that was asked for and is not in the package. camera: as configured."""

    camera: str
    start: Moment
    stop: Moment
    reason: str


@dataclass(frozen=True, slots=True)
class Clock:
    """source: who said what time it was: ``camera`` (RTCP sender reports), ``arrival``, ``unknown`` …, as the
    catalogue has it. offset: seconds to be added to the times given, None where nobody measured it."""

    camera: str
    source: str
    offset: float | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """decision: removed, kept, or none (there was no sound)."""

    decision: Literal["removed", "kept", "none"]
    reason: str


@dataclass(frozen=True, slots=True)
class Completeness:
    """start, stop, cameras: what was asked for."""

    start: Moment
    stop: Moment
    cameras: tuple[str, ...]
    gaps: tuple[Gap, ...]
    clocks: tuple[Clock, ...]
    sound: Sound


@dataclass(frozen=True, slots=True)
class Notice:
    """What Art. 15(1) and (2) GDPR ask to be told; the controller writes it. The rights are stated by ``statement``.
    authority: the supervisory authority that takes complaints. transfers: to countries outside the EEA, or that there
    are none. officer: how the data protection officer is reached."""

    controller: str
    contact: str
    purposes: tuple[str, ...]
    recipients: tuple[str, ...]
    storage: str
    source: str
    authority: str
    transfers: str
    officer: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure. how: what was measured, on what, so that it can be measured again."""

    what: str
    value: str
    how: str


@dataclass(frozen=True, slots=True)
class Identifiability:
    """How well the redaction hides people, as measured; and where the impact assessment (Art. 35) says more."""

    figures: tuple[Figure, ...]
    dpia: str = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """expires: when the package must be deleted. holds: legal holds on what it was made from. deletions: certificates
    (``record.retention.certificate``) of what has been erased in this case."""

    expires: Moment
    rule: str
    holds: tuple[str, ...] = ()
    deletions: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit's part, as ``trail.record`` makes it: lines of the chain, and a head signed over the last."""

    lines: tuple[bytes, ...]
    head: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that ``package.write`` needs. id: from ``new_id``. software: ``label.TOOL``."""

    id: str
    request: Request
    videos: tuple[Video, ...]
    processing: Processing
    redactions: tuple[Redaction, ...]
    covered: tuple[Covered, ...]
    doubts: tuple[Doubt, ...]
    completeness: Completeness
    notice: Notice
    identifiability: Identifiability
    retention: Retention
    trail: Trail
    signoff: Signoff | None = None
    software: str = label.TOOL


def plain(value: Any) -> Any:
    """Data of this module as JSON data: dataclasses become objects, moments RFC 3339 text; paths are left out."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        if isinstance(value, tuple | list):
            return [plain(one) for one in value]
        return {name: plain(one) for name, one in value.items()} if isinstance(value, Mapping) else value
    kinds = typing.get_type_hints(type(value), include_extras=True)
    return {
        f.name: _moment(kinds[f.name], getattr(value, f.name))
        for f in dataclasses.fields(value)
        if kinds[f.name] is not Path
    }


def _moment(kind: Any, value: Any) -> Any:
    if value is not None and (kind is Moment or Moment in typing.get_args(kind)):
        return label.utc(value)
    return plain(value)
