"""What a package says to people, in plain words: one text, from which the page and the PDF are made. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from anonymizer.export.contents import Completeness, Contents, Kind, Notice, Redaction, Request
from anonymizer.record import label
from anonymizer.record.chain import Entry

_ROWS = 200
"""Rows of a table at most; the JSON beside it has all."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

_KINDS: dict[Kind, str] = {
    "access": "Access to one's own data (Art. 15 GDPR)",
    "erasure": "Erasure (Art. 17 GDPR)",
    "police": "Request of an authority",
    "litigation": "Legal claim",
    "incident": "Documentation of an incident",
}
_METHODS = {
    "keep": "left as it was",
    "blur": "blurred",
    "pixelate": "made coarse",
    "replace": "replaced by a face that belongs to nobody",
    "solid": "covered",
    "silhouette": "head and shoulders covered",
    "privacy": "the whole picture covered",
}
_HOW = {
    "blanked": "the whole picture was covered",
    "away": "no picture came from the camera, a notice was shown",
    "thinned": "every second picture was left out",
    "reduced": "faces were looked for in a smaller picture, or covered instead of replaced",
}
_SOUND = {"removed": "The sound was removed", "kept": "The sound was kept", "none": "There was no sound"}
_CLOCKS = {
    "camera": "the camera's clock",
    "arrival": "the clock of this system, when the pictures came",
    "arrival, the camera's clock is wrong": "the clock of this system, when the pictures came; the camera's was wrong",
    "": "not known",
}
_BOOKKEEPING = ("case", "trail", "files", "order", "digest")
"""What the audit says for machines, or of the case, which all these lines are about."""
_RIGHTS = (
    "To have wrong data put right (Art. 16 GDPR), to have data erased (Art. 17) and its use restricted (Art. 18), and "
    "to object to its use (Art. 21): write to the controller.",
    "To complain to a supervisory authority (Art. 77).",
    "The software decides only which faces in a picture are hidden. It takes no decision about a person (Art. 22).",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what holds of them."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Player:
    """A video: path in the package, and what to know of it."""

    path: str
    title: str


Block = str | Facts | Table | Player
"""A str is a paragraph."""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


def sections(contents: Contents, now: float) -> tuple[Section, ...]:
    """The whole text. now: UTC seconds, when the package is made."""
    return (
        _about(contents, now),
        _videos(contents),
        _hidden(contents),
        _doubts(contents),
        _missing(contents.completeness),
        _audit(contents),
        _processing(contents),
        _identifiability(contents),
        _notice(contents.notice, contents.completeness),
        _retention(contents),
        _checking(),
    )


def when(seconds: float | None) -> str:
    if seconds is None:
        return "does not apply"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(start: float, stop: float) -> str:
    first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(stop, UTC)
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    return f"{first:%Y-%m-%d %H:%M:%S} to {day}{last:%H:%M:%S} UTC"


def exact(start: float, stop: float) -> str:
    """As ``span``, in tenths of a second, for the lines of a table whose head says UTC."""
    first, last = datetime.fromtimestamp(round(start, 1), UTC), datetime.fromtimestamp(round(stop, 1), UTC)
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    return f"{first:%Y-%m-%d %H:%M:%S.%f}"[:-5] + f" to {day}{last:%H:%M:%S.%f}"[:-5]


def _about(contents: Contents, now: float) -> Section:
    request, asked = contents.request, contents.completeness
    rows = [
        ("Case", request.case),
        ("Kind", _KINDS[request.kind]),
        ("Reason", request.reason),
        ("Lawful basis", request.lawful_basis),
        *_requester(request),
        ("For", request.recipient),
        ("Delivery", request.delivery),
        ("Approved by", request.approver),
        ("Cameras", ", ".join(asked.cameras)),
        ("Time asked for", span(asked.start, asked.stop)),
        ("Package", contents.id),
        ("Made", f"{when(now)}, by {contents.software}"),
    ]
    return Section("What this is", (label.NOTICE, Facts(tuple(rows))))


def _requester(request: Request) -> Iterable[tuple[str, str]]:
    if request.verification is not None:
        yield "Identity checked", request.verification
    if request.received is not None:
        yield "Request received", when(request.received)
    if request.deadline is not None:
        yield "To be answered by", when(request.deadline)


def _videos(contents: Contents) -> Section:
    players = [
        Player(f"videos/{video.name}", f"{video.camera}, {span(video.start, video.stop)}") for video in contents.videos
    ]
    return Section("The videos", tuple(players) or ("There are no videos in this package.",))


def _hidden(contents: Contents) -> Section:
    blocks: list[Block] = [
        "Each line is one person's face for as long as the camera saw it without a break and the same was done to it; "
        "the same person may stand in several lines."
    ]
    if contents.redactions:
        counts = Counter(_done(one) for one in contents.redactions)
        blocks.append(Facts(tuple((done, f"{count} {_of(count, 'time')}") for done, count in counts.most_common())))
        rows = (
            (one.video, exact(one.start, one.stop), one.track, _done(one), one.reason, one.rule)
            for one in sorted(contents.redactions, key=lambda one: (one.video, one.start))
        )
        blocks += _by_video(contents, ("Video", "Time (UTC)", "Track", "What was done", "Why", "Rule"), rows)
    else:
        blocks.append("No face was found.")
    if contents.covered:
        blocks.append("When the software could not be sure of a whole picture, or did less than it usually does:")
        covered = (
            (one.video, exact(one.start, one.stop), _count(one.frames), _HOW[one.how], one.reason)
            for one in contents.covered
        )
        blocks += _by_video(contents, ("Video", "Time (UTC)", "Pictures", "What was done", "Why"), covered)
    return Section("What was hidden", tuple(blocks))


def _by_video(contents: Contents, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[Block]:
    """A table whose first column is the video, which is left out where there is only one."""
    first = 1 if len(contents.videos) == 1 else 0
    return _table(head[first:], (row[first:] for row in rows), "redactions.json")


def _done(one: Redaction) -> str:
    said = _METHODS.get(one.method, one.method)
    return f"{said} (the person who asks)" if one.subject else said


def _count(pictures: int | None) -> str:
    return "not counted" if pictures is None else str(pictures)


def _doubts(contents: Contents) -> Section:
    blocks: list[Block] = []
    if contents.doubts:
        blocks.append("In these moments the software was not sure, and hid what was there.")
        rows = (
            (one.video, exact(one.start, one.stop), one.track, one.reason, one.reviewed or "nobody yet")
            for one in sorted(contents.doubts, key=lambda one: (one.video, one.start))
        )
        blocks += _by_video(contents, ("Video", "Time (UTC)", "Track", "Doubt", "Reviewed"), rows)
    else:
        blocks.append("There was no moment in which the software noted a doubt.")
    if (signed := contents.signoff) is None:
        blocks.append("Nobody has reviewed the pictures.")
    else:
        blocks.append(
            f"{signed.reviewer} looked at the redacted pictures ({signed.moments} {_of(signed.moments, 'moment')}) and "
            f"signed them off on {when(signed.at)}."
        )
        if signed.changes:
            blocks += ["What the review changed:", Table(("Change",), tuple((one,) for one in signed.changes))]
    return Section("Doubts and review", tuple(blocks))


def _missing(said: Completeness) -> Section:
    blocks: list[Block] = []
    if said.gaps:
        blocks.append("These times were asked for and are not in the package:")
        rows = ((gap.camera, when(gap.start), when(gap.stop), gap.reason) for gap in said.gaps)
        blocks += _table(("Camera", "From", "To", "Why"), rows, "completeness.json")
    else:
        blocks.append("Nothing of the time asked for is missing.")
    if said.clocks:
        blocks.append("How right the times are:")
        rows_of_clocks = ((one.camera, _CLOCKS.get(one.source, one.source), _offset(one.offset)) for one in said.clocks)
        blocks += _table(("Camera", "Times come from", "Offset"), rows_of_clocks, "completeness.json")
    blocks.append(f"{_SOUND[said.sound.decision]}. {said.sound.reason}".strip())
    return Section("What is missing, and how right the times are", tuple(blocks))


def _offset(seconds: float | None) -> str:
    return "not measured" if seconds is None else f"{seconds:+.3f} s to be added"


def _audit(contents: Contents) -> Section:
    """Who did what. The trail's own bookkeeping is left out."""
    entries = [Entry.parse(line) for line in contents.trail.lines]
    rows = ((_told(entry.time), entry.kind, _said(entry.said)) for entry in entries)
    return Section(
        "Who looked at, opened or handed out what",
        (
            "From the controller's audit, the lines of this case:",
            *_table(("Time", "What", "Particulars"), rows, "audit.jsonl"),
        ),
    )


def _said(said: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: {_value(value)}"
        for name, value in said.items()
        if name not in _BOOKKEEPING and value not in ("", None, [])
    )


def _value(value: Any) -> str:
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else _told(str(value))


def _told(text: str) -> str:
    """A moment of the audit as the rest of the page has it; any other text as it is."""
    if not _MOMENT.fullmatch(text):
        return text
    return f"{text[:10]} {text[11:19]} UTC"


def _processing(contents: Contents) -> Section:
    said = contents.processing
    rows = [
        ("Software", contents.software),
        ("Rules", ", SHA-256 ".join(filter(None, (said.policy_version, said.policy_sha256)))),
        ("Rules that decided", ", ".join(said.rules) or "none"),
        *((f"Threshold: {name}", f"{value:g}") for name, value in said.thresholds.items()),
        *(
            (f"Setting: {name}", "; ".join(value) if isinstance(value, list) else str(value))
            for name, value in said.settings.items()
        ),
    ]
    models = tuple((model.name, model.role, model.sha256) for model in said.models)
    now = "As configured when this package was made."
    return Section("How it was done", (now, Facts(tuple(rows)), Table(("Model", "Role", "SHA-256"), models)))


def _identifiability(contents: Contents) -> Section:
    said = contents.identifiability
    blocks: list[Block] = [
        "A hidden face can still belong to a person who is known by clothes, gait, place or company. The pictures "
        "therefore stay personal data. How well the faces are hidden was measured:"
    ]
    if said.figures:
        rows = tuple((figure.what, figure.value, figure.how) for figure in said.figures)
        blocks.append(Table(("What", "Measured", "How"), rows))
    else:
        blocks.append("No figures were given with this package.")
    blocks.append(f"Impact assessment (Art. 35 GDPR): {said.dpia or 'no reference was given'}.")
    return Section("Who could still be recognised", tuple(blocks))


def _notice(said: Notice, asked: Completeness) -> Section:
    sound = " and sound" if asked.sound.decision == "kept" else ""
    rows = [
        ("Controller", said.controller),
        ("Contact", said.contact),
        *([("Data protection officer", said.officer)] if said.officer else []),
        ("Purposes", "; ".join(said.purposes)),
        ("Kinds of data", f"moving pictures{sound}, with time and place"),
        ("Recipients", "; ".join(said.recipients)),
        ("Kept for", said.storage),
        ("Where the data comes from", said.source),
        ("Transfers to other countries", said.transfers),
        ("Supervisory authority", said.authority),
    ]
    return Section("Your data and your rights (Art. 15 GDPR)", (Facts(tuple(rows)), "Your rights:", *_RIGHTS))


def _retention(contents: Contents) -> Section:
    said = contents.retention
    blocks: list[Block] = [f"This package must be deleted by {when(said.expires)}. {said.rule}".strip()]
    if said.holds:
        blocks += [
            "A legal hold keeps the recordings it was made from:",
            Table(("Hold",), tuple((h,) for h in said.holds)),
        ]
    else:
        blocks.append("The recordings it was made from are under no legal hold.")
    if said.deletions:
        blocks.append("What has been deleted in this case:")
        blocks += _table(("Certificate",), ((_said(dict(one)),) for one in said.deletions), "retention.json")
    return Section("How long it is kept", tuple(blocks))


def _checking() -> Section:
    return Section(
        "How to check this package",
        (
            "Every file is listed with its hash in manifest.json, and manifest.sig is the signature over it. Whoever "
            "has the software and the controller's public key, given by another way than this package, runs:",
            "anonymizer verify PACKAGE --trust KEY",
            "It needs no network. It says 'valid' only where nothing was changed and the signer is the one trusted.",
        ),
    )


def _table(head: tuple[str, ...], rows: Iterable[Sequence[str]], file: str) -> list[Block]:
    """A table, cut where it gets too long to read."""
    rest = iter(rows)
    shown = tuple(tuple(row) for row in islice(rest, _ROWS))
    more = sum(1 for _ in rest)
    return [Table(head, shown), *([f"{more} more {_of(more, 'line')} in {file}."] if more else [])]


def _of(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
