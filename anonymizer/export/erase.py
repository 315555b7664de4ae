"""Erasing a person from what is kept here (Art. 17 GDPR): recordings covered or cut, originals deleted, all certified.

Whatever ends the process, a recording is as it was or erased, never half: the new files are made first, then the old
ones are deleted and certified, then the new ones get their names; the next run goes on where this one ended.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from anonymizer.config import Config
from anonymizer.errors import ConfigError
from anonymizer.export import job as work
from anonymizer.export import redraw
from anonymizer.export.eye import Looked
from anonymizer.export.job import Job
from anonymizer.export.join import Writer, describe
from anonymizer.export.marks import Mark
from anonymizer.export.originals import Stretch
from anonymizer.frame import Box
from anonymizer.record import holds, label, mp4, retention
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.record.mp4 import CLOCK, Part
from anonymizer.statedir import StateDir, keep_owner

ERASED, BEGUN, ABANDONED = "erased", "erasure begun", "erasure abandoned"
OUTSIDE = (
    "What the network video recorder and others have already stored or copied lies outside this system, and so do "
    "packages that were exported before: they are not erased by this."
)
_STEP = 0.2  # seconds between two boxes that a cover follows
_AROUND = 0.5  # seconds before and after a track that are erased too
_WIDER = 0.25  # share of its size by which a box of the catalogue grows: it is told once a second only


def of_sightings(told: Sequence[tuple[float, Box]]) -> Mark:
    """The erasure of a track of the anonymised stream. told: (UTC, box), as the catalogue has them."""
    boxes = tuple((at, _grown(box)) for at, box in told)
    return Mark("cover", told[0][0] - _AROUND, told[-1][0] + _AROUND, 0, boxes)


def of_looked(stretch: Stretch, looked: Looked, times: Sequence[float]) -> list[Mark]:
    """The erasure of the person who was recognised in originals. times: of the pictures in the stretch, seconds."""
    theirs = {track for track, _ in looked.shown}
    marks = []
    for track in sorted(theirs):
        indices = [index for one, index in looked.shown if one == track]
        boxes: list[tuple[float, Box]] = []
        for index in range(min(indices), max(indices) + 1):
            box = next((face[1] for face in looked.pictures[index].faces if face[0] == track), None)
            wall = stretch.wall(times[index])
            last = index == max(indices)
            if box is not None and (not boxes or last or wall - boxes[-1][0] >= _STEP):
                boxes.append((wall, box))
        marks.append(Mark("cover", boxes[0][0] - _AROUND, boxes[-1][0] + _AROUND, track, tuple(boxes)))
    return marks


def check_holds(state: StateDir, files: Sequence[File]) -> None:
    """ConfigError where one of the files lies under a legal hold: then nothing is erased."""
    for hold in holds.read(state):
        if any(hold.covers(file.camera, file.start, file.stop) for file in files):
            raise ConfigError(f"hold {hold.id} ({hold.reason}) keeps what is to be erased; release it first")


def touched(catalogue: Catalogue, marks: dict[str, list[Mark]]) -> list[File]:
    """Segments and sealed fragments that hold anything of the marks, by camera."""
    found: dict[str, File] = {}
    for camera, these in marks.items():
        for mark in these:
            for file in [
                *catalogue.files("segment", camera, mark.start, mark.stop),
                *catalogue.files("fragment", camera, mark.start, mark.stop),
            ]:
                found[file.path] = file
    return sorted(found.values(), key=lambda file: (file.camera, file.kind, file.start))


def run(
    job: Job, state: StateDir, log: AuditFile, config: Config, marks: dict[str, list[Mark]], *, cover: bool,
    said: dict[str, Any], doubts: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Erase; what the certificate says. cover: cover the person in the recordings, else cut the time out of them.
    said: for the audit: case, reason, approver. doubts: what may be the person too, and stays. ConfigError where a hold
    refuses; AuditError, CatalogueError, PublishError, SourceError; then the next run goes on.
    """
    with Catalogue(state.path) as catalogue:
        plan = job.noted("plan.json")
        if plan is None:
            files = touched(catalogue, marks)
            check_holds(state, files)
            plan = {
                "date": label.utc(time.time()),
                "segments": [
                    _planned(job, file, marks[file.camera], config, cover) for file in files if file.kind == "segment"
                ],
                "fragments": [asdict(file) for file in files if file.kind == "fragment"],
            }  # fmt: skip
            job.note("plan.json", plan)
        fragments = [_file(one) for one in plan["fragments"]]
        everything = [*fragments, *(_file(one["old"]) for one in plan["segments"])]
        check_holds(state, [file for file in everything if _kept(catalogue, file)])
        for one in plan["segments"]:
            _swap(state, catalogue, log, one, said)
        left = [file for file in fragments if _kept(catalogue, file)]
        retention.delete(state, catalogue, log, left, ERASED, **said)
        for file in everything:
            if _kept(catalogue, file):
                raise ConfigError(f"{file.path} could not be erased: a legal hold was placed on it meanwhile")
    certificate = _certificate(plan, marks, cover, said, doubts)
    if job.noted("told.json") is None:
        log.append((time.time(), ERASED, certificate))
        job.note("told.json", True)
    return certificate


def _kept(catalogue: Catalogue, file: File) -> bool:
    """Whether the catalogue has a file as it was when the erasure began."""
    there = catalogue.files(file.kind, file.camera, file.start, file.stop)
    return (file.path, file.sha256) in {(one.path, one.sha256) for one in there}


def _planned(job: Job, file: File, marks: Sequence[Mark], config: Config, cover: bool) -> dict[str, Any]:
    """What takes a segment's place: files in the order's folder, as File data."""
    name = f"segment {file.camera} {Path(file.path).name} {file.sha256[:8]}"

    def make(folder: Path) -> Any:
        data = Path(file.path).read_bytes()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise ConfigError(f"{file.path} is not as it was recorded; it cannot be erased in part: delete it")
        front, parts = mp4.parts(data)
        made: list[File] = []
        for hit, group in _groups(parts, marks):
            if hit and not cover:
                continue
            writer = Writer(folder, file.camera, describe(data, front, parts[0]), group[0].wall)
            writer.add(file, data, group)
            video = writer.finish()
            if not hit:
                made.append(_measured(video.path, file))
                continue
            again = redraw.segments(video.path, file.camera, video.start, file.clock, marks, config, folder / "covered")
            video.path.unlink()
            made += again
        return [{**asdict(one), "path": str(Path(one.path).relative_to(folder))} for one in made]

    new = job.step(name, make)
    return {"old": asdict(file), "new": new, "place": str(job.place(name))}


def _groups(parts: Sequence[Part], marks: Sequence[Mark]) -> list[tuple[bool, list[Part]]]:
    """Runs of whole GOPs, and whether a mark lies in them."""
    gops: list[list[Part]] = []
    for part in parts:
        if part.keys[0] or not gops:
            gops.append([])
        gops[-1].append(part)
    groups: list[tuple[bool, list[Part]]] = []
    for gop in gops:
        start, stop = gop[0].wall, gop[-1].wall + sum(gop[-1].durations) / CLOCK
        hit = any(mark.start < stop and mark.stop > start for mark in marks)
        if groups and groups[-1][0] == hit:
            groups[-1][1].extend(gop)
        else:
            groups.append((hit, list(gop)))
    return groups


def _measured(path: Path, like: File) -> File:
    """A part of a segment as a file of the catalogue."""
    data = path.read_bytes()
    _, parts = mp4.parts(data)
    keys, at = [], 0.0
    for part in parts:
        at = part.start / CLOCK
        for last, key in zip(part.durations, part.keys, strict=True):
            keys += [at] if key else []
            at += last / CLOCK
    return replace(
        like, path=str(path), start=parts[0].wall, stop=parts[-1].wall + sum(parts[-1].durations) / CLOCK,
        bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), frames=sum(len(part.keys) for part in parts),
        keys=tuple(keys), id=0,
    )  # fmt: skip


def _swap(
    state: StateDir, catalogue: Catalogue, log: AuditFile, planned: dict[str, Any], said: dict[str, Any]
) -> None:  # fmt: skip
    """Delete a segment, and give what replaces it its place."""
    old = _file(planned["old"])
    there = [f for f in catalogue.files("segment", old.camera) if (f.path, f.sha256) == (old.path, old.sha256)]
    if there and not retention.delete(state, catalogue, log, there, ERASED, **said):
        return
    retention.finish(state, catalogue, log)
    for number, one in enumerate(planned["new"], 1):
        source = Path(planned["place"]) / one["path"]
        target = Path(old.path).with_name(f"{Path(old.path).stem}-{old.sha256[:6]}-{number}.mp4")
        if not (target.exists() and work.digest(target) == one["sha256"]):
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            catalogue.add(
                _file({**one, "path": str(target)})
            )  # before it has its name: no recorder takes it for a stray
            work.place(source, target)
        keep_owner(target)


def _certificate(
    plan: dict[str, Any], marks: dict[str, list[Mark]], cover: bool, said: dict[str, Any], doubts: Sequence[str]
) -> dict[str, Any]:
    fragments = plan["fragments"]
    return {
        **said,
        "date": plan["date"],
        "how": "the person was covered in the recordings" if cover else "the time was cut out of the recordings",
        "times": [
            [camera, label.utc(mark.start), label.utc(mark.stop)] for camera, these in marks.items() for mark in these
        ],
        "recordings": [
            [Path(one["old"]["path"]).name, one["old"]["sha256"], [new["sha256"] for new in one["new"]]]
            for one in plan["segments"]
        ],
        "originals": len(fragments),
        "originals digest": hashlib.sha256("".join(one["sha256"] for one in fragments).encode()).hexdigest(),
        "in doubt, and not erased": list(doubts),
        "outside": OUTSIDE,
    }


def _file(data: dict[str, Any]) -> File:
    return File(**{**data, "keys": tuple(data["keys"])})


def _grown(box: Box) -> Box:
    x, y, w, h = box
    return x - _WIDER * w, y - _WIDER * h, w * (1 + 2 * _WIDER), h * (1 + 2 * _WIDER)
