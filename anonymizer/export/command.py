"""``anonymizer export``: packages for the police, for a court, for the person who asks."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from anonymizer import config
from anonymizer.config import Config
from anonymizer.errors import ConfigError
from anonymizer.export import deliver, incident, particulars, review, subject
from anonymizer.export.contents import Kind, Request, Signoff
from anonymizer.export.deliver import Case, Made
from anonymizer.export.eye import Eye
from anonymizer.export.job import Job, digest
from anonymizer.export.marks import Mark
from anonymizer.export.originals import Stretch, stretches
from anonymizer.record import keys, label, unseal
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import Catalogue
from anonymizer.record.command import at_state, moment
from anonymizer.statedir import StateDir, default_path

_NICE = 10
_MONTH = 30 * 86400.0  # seconds in which a request must be answered (Art. 12(3) GDPR), where no date is given


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = commands.add_parser("export", help="packages of recordings, for those who may have them").add_subparsers(
        metavar="VERB", required=True
    )
    of_incident = verbs.add_parser("incident", help="what cameras recorded over a time, as it is: anonymised")
    _common(of_incident, "incident")
    of_incident.add_argument("--audio", choices=("drop", "keep"), default="drop", help="voices tell on people")
    of_incident.set_defaults(command=_incident)
    of_subject = verbs.add_parser(
        "subject", help="for the person who asks: they see themselves, every third person is replaced"
    )
    _common(of_subject, "access")
    of_subject.add_argument("--photo", action="append", type=Path, default=[], metavar="FILE", help="of that person")
    of_subject.add_argument("--track", default="", metavar="ID", help="of that person in the anonymised stream")
    originals(of_subject)
    of_subject.set_defaults(command=_subject)
    delivered = verbs.add_parser("delivered", help="tell the audit that a package was handed over")
    delivered.add_argument("package", type=Path, metavar="PACKAGE")
    delivered.add_argument("--to", required=True, metavar="WHOM")
    delivered.add_argument("--how", required=True, metavar="TEXT", help="by courier, by a portal, …")
    at_state(delivered)
    delivered.set_defaults(command=_delivered)
    listing = verbs.add_parser("list", help="exports that are not finished")
    at_state(listing)
    listing.set_defaults(command=_list)
    discard = verbs.add_parser("discard", help="give up a case's exports that are not finished, and what they made")
    discard.add_argument("case", metavar="CASE")
    discard.add_argument("--reason", required=True, help="goes into the audit")
    at_state(discard)
    discard.set_defaults(command=_discard)


def _common(parser: argparse.ArgumentParser, kind: Kind) -> None:
    add = parser.add_argument
    add("--camera", action="append", required=True, metavar="NAME")
    add("--from", dest="start", type=moment, required=True, metavar="TIME", help="UTC: 2026-11-24T10:00:00Z")
    add("--to", dest="stop", type=moment, required=True, metavar="TIME")
    add("--out", type=Path, required=True, metavar="FILE", help="the package")
    add("--controller", type=Path, required=True, metavar="FILE", help="what the controller says of itself; see README")
    add("--case", required=True, help="the controller's reference")
    add("--kind", choices=get_args(Kind), default=kind)
    add("--basis", required=True, help="lawful basis, such as 'Art. 15 GDPR'")
    add("--reason", required=True, help="goes into the audit before anything is read")
    add("--recipient", required=True, metavar="WHOM")
    add("--delivery", required=True, metavar="HOW")
    add("--approver", required=True, metavar="WHO")
    add("--verification", metavar="REFERENCE", help="of how the requester's identity was checked; no copy of an ID")
    add("--received", type=moment, metavar="TIME", help="of the request")
    add("--deadline", type=moment, metavar="TIME", help="default: 30 days after it was received")
    add("--encrypt-to", action="append", default=[], metavar="AGE1…", help="the recipient's public key")
    add("--timestamp", default="", metavar="URL", help="of an authority (RFC 3161) that vouches for the time")
    add("--c2pa", action="store_true", help="content credentials in the videos (C2PA)")
    add("--review", action="store_true", help="serve a page on this machine, to look at it and sign it off")
    at_state(parser)


def originals(parser: argparse.ArgumentParser) -> None:
    """How originals are opened."""
    parser.add_argument("--identity", action="append", type=Path, default=[], metavar="FILE", help="officer's key")
    parser.add_argument("--share", action="append", type=Path, default=[], metavar="FILE", help="of the vault's key")


def place(given: argparse.Namespace) -> tuple[Config, StateDir]:
    """The configuration, and the state folder it names."""
    loaded = config.load(given.config) if given.config is not None else Config()
    named = given.state or (Path(loaded.state_dir) if loaded.state_dir else default_path())
    return loaded, StateDir(named, made=False)


Opener = Callable[[str, float, float], Generator[Stretch, None, None]]
"""Opens a camera's originals over a time."""


def opener(key: keys.Opening, state: StateDir, log: AuditFile, reason: str, case: str, damaged: list[str]) -> Opener:
    """Opens a camera's originals with what ``keys.opening`` gave; each time the audit is told first."""
    identity, told = key
    said = {"case": case, **told}

    def opened(camera: str, start: float, stop: float) -> Generator[Stretch, None, None]:
        with Catalogue(state.path) as catalogue:
            fragments = unseal.fragments(
                log, catalogue, camera, start, stop, identity, reason, time.time(), damaged, **said
            )
            with closing(stretches(fragments, damaged)) as found:
                yield from found

    return opened


@contextmanager
def bar() -> Iterator[incident.Progress]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda what, share: shown.update(task, description=what, completed=share)


def gently() -> None:
    """Behind the live streams, whatever this machine does."""
    os.nice(max(0, _NICE - os.nice(0)))


def _order(given: argparse.Namespace, what: str, **more: Any) -> dict[str, Any]:
    return {
        "what": what, "case": given.case, "cameras": given.camera, "from": label.utc(given.start),
        "to": label.utc(given.stop), "out": str(given.out.resolve()), "encrypt to": given.encrypt_to, **more,
    }  # fmt: skip


def _case(given: argparse.Namespace) -> Case:
    if given.stop <= given.start:
        raise ConfigError("--to must be later than --from")
    for text in given.encrypt_to:
        keys.recipient(text)
    deadline = given.deadline
    if deadline is None and given.received is not None:
        deadline = given.received + _MONTH
    request = Request(
        given.case, given.kind, given.basis, given.reason, given.recipient, given.delivery, given.approver,
        given.verification, given.received, deadline,
    )  # fmt: skip
    return Case(
        request, particulars.read(given.controller), given.out.resolve(), tuple(given.encrypt_to), given.timestamp,
        given.c2pa,
    )  # fmt: skip


def _incident(given: argparse.Namespace) -> int:
    loaded, state = place(given)
    case = _case(given)
    order = _order(given, "incident", audio=given.audio)
    gently()
    with Job.open(state, "export", order) as job, bar() as progress:
        log = deliver.begin(job, state, case, _said(given, "incident"))

        def make(marks: dict[str, list[Mark]]) -> tuple[Made, subject.Told]:
            made = incident.make(
                job, state, loaded, given.camera, given.start, given.stop, sound=given.audio == "keep", marks=marks,
                progress=progress,
            )  # fmt: skip
            return made, subject.Told({})

        return _finish(given, job, state, log, case, make, progress, [])


def _subject(given: argparse.Namespace) -> int:
    if bool(given.photo) == bool(given.track):
        raise ConfigError("show the person who asks: with --photo, or with --track")
    loaded, state = place(given)
    case = _case(given)
    key = keys.opening(given.identity, given.share)
    known = knowing(loaded, state, given.photo, given.track)
    order = _order(given, "subject", track=given.track, photos=[digest(photo) for photo in given.photo])
    damaged: list[str] = []
    gently()
    with Job.open(state, "export", order) as job, bar() as progress:
        log = deliver.begin(job, state, case, _said(given, "subject"))
        opened = opener(key, state, log, given.reason, given.case, damaged)

        def make(marks: dict[str, list[Mark]]) -> tuple[Made, subject.Told]:
            damaged.clear()
            return subject.make(
                job, loaded, given.camera, given.start, given.stop,
                eye=lambda: known(opened),
                opened=lambda camera: opened(camera, given.start, given.stop), marks=marks, progress=progress,
            )  # fmt: skip

        return _finish(given, job, state, log, case, make, progress, damaged)


def sightings(state: StateDir, track: str) -> list[tuple[float, tuple[int, int, int, int]]]:
    """When and where the anonymised stream's track was told of. ConfigError where it never was."""
    with Catalogue(state.path) as catalogue:
        told = catalogue.sightings(track)
    if not told:
        raise ConfigError(f"the catalogue knows no track {track!r}")
    return told


Knowing = Callable[[Opener], Eye]


def knowing(loaded: Config, state: StateDir, photos: list[Path], track: str) -> Knowing:
    """What gives an eye that knows the person, by photographs or by a track of the anonymised stream, for which
    originals are opened. At once: ConfigError where a photograph shows no face, or no such track was ever told of,
    SourceError where a photograph cannot be read, and ModelError where there is no recogniser."""
    told = [] if photos else sightings(state, track)
    eye = Eye(loaded)
    if photos:
        eye.from_photos(photos)
        return lambda opened: eye

    def by_track(opened: Opener) -> Eye:
        eye.from_track(opened(track.rsplit("-", 2)[0], told[0][0] - 1, told[-1][0] + 1), told)
        return eye

    return by_track


def _said(given: argparse.Namespace, what: str) -> dict[str, Any]:
    return {
        "what": what, "cameras": given.camera, "from": label.utc(given.start), "to": label.utc(given.stop),
        "delivery": given.delivery,
    }  # fmt: skip


Make = Callable[[dict[str, list[Mark]]], tuple[Made, subject.Told]]


def _finish(
    given: argparse.Namespace, job: Job, state: StateDir, log: AuditFile, case: Case, make: Make,
    progress: incident.Progress, damaged: list[str],
) -> int:  # fmt: skip
    marks = _marks(job)
    made, told = make(marks)
    if given.review:
        signed = review.serve(review.Session(job, make, made, told, marks), announce=_announce)
        made = signed.made
        made.signoff = signed.signoff
        job.note("signoff.json", asdict(signed.signoff) | {"videos": _hashes(made)})
    elif (noted := job.noted("signoff.json")) is not None and noted.pop("videos") == _hashes(made):
        made.signoff = Signoff(**{**noted, "changes": tuple(noted["changes"])})
    written = deliver.finish(job, state, log, case, made, lambda share: progress("writing the package", share))
    for gap in made.gaps:
        print(f"missing: {gap.camera} {label.utc(gap.start)} to {label.utc(gap.stop)}: {gap.reason}")
    for text in damaged:
        print(f"BAD: {text}")
    if made.doubts and made.signoff is None:
        print(f"{len(made.doubts)} moments are in doubt and were replaced; --review shows them")
    print(f"{case.target}: {written.bytes} bytes, SHA-256 {written.sha256}")
    return 3 if damaged else 0


def _marks(job: Job) -> dict[str, list[Mark]]:
    """The corrections of an earlier life."""
    return {video: [Mark.parse(mark) for mark in marks] for video, marks in (job.noted("marks.json") or {}).items()}


def _hashes(made: Made) -> str:
    """What the reviewer saw."""
    return hashlib.sha256("".join(digest(video.path) for video in made.videos).encode()).hexdigest()


def _announce(url: str) -> None:
    print(f"open {url} in a browser on this machine; the address works once", file=sys.stderr, flush=True)


def _delivered(given: argparse.Namespace) -> int:
    _, state = place(given)
    print(f"noted: {deliver.deliver(state, given.package, given.to, given.how)}")
    return 0


def _list(given: argparse.Namespace) -> int:
    _, state = place(given)
    print(f"reading {state.path}", file=sys.stderr)
    for order in Job.orders(state, "export"):
        print(
            f"{order['case']}: {order['what']} of {', '.join(order['cameras'])} from {order['from']} to {order['to']}"
        )
    return 0


def _discard(given: argparse.Namespace) -> int:
    _, state = place(given)
    orders = [order for order in Job.orders(state, "export") if order["case"] == given.case]
    if not orders:
        raise ConfigError(f"no export of case {given.case!r} is unfinished; `anonymizer export list` shows them")
    log = AuditFile(state)
    for order in orders:
        with Job.open(state, "export", order) as job:
            deliver.abandon(job, log, given.case, given.reason)
    print(f"{len(orders)} exports given up")
    return 0
