"""The copy for the person who asks (Art. 15 GDPR): they see themselves, and every third person is replaced.

Each stretch of originals is opened in memory, looked at (``eye``) and drawn (``drawing``); what was drawn is kept in
the order's folder, so that an export that was interrupted goes on. Originals and embeddings are kept nowhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anonymizer.config import Config
from anonymizer.export import drawing, particulars
from anonymizer.export.contents import Clock, Covered, Doubt, Gap, Redaction, Sound, Source, Video
from anonymizer.export.deliver import Made
from anonymizer.export.evidence import Bounds
from anonymizer.export.eye import GROUP, Eye, Looked, Moment, Seen
from anonymizer.export.incident import Progress, video_of
from anonymizer.export.job import Job
from anonymizer.export.join import TOGETHER, join
from anonymizer.export.marks import Mark
from anonymizer.export.originals import Stretch

Stretches = Callable[[str], Iterable[Stretch]]
"""Opens a camera's originals: each call is told to the audit."""


@dataclass(slots=True)
class Told:
    """What a reviewer is shown: moments by video."""

    moments: dict[str, list[Moment]]


def make(
    job: Job, config: Config, cameras: Sequence[str], start: float, stop: float, *, eye: Callable[[], Eye],
    opened: Stretches, marks: dict[str, list[Mark]], progress: Progress,
) -> tuple[Made, Told]:  # fmt: skip
    """The videos and what is to be said of them. eye: one that knows the person, asked for when it is needed. marks: by
    video. AuditError, ConfigError, ModelError, PublishError, SourceError; then what is done stays done.
    """
    bounds = Bounds()
    thresholds = {
        "similarity that speaks for the person": bounds.alike, "similarity that speaks against": bounds.unlike,
        "looks that must speak for the person": float(bounds.looks), "majority": bounds.majority,
    }  # fmt: skip
    record = particulars.processing(
        config, cameras, ["default", GROUP], thresholds, ("detector", "landmarks", "face-model", "recogniser")
    )
    sound = Sound("removed", "Voices of third persons cannot be told from the requester's.")
    made, told = Made(tuple(cameras), start, stop, record, sound), Told({})
    known: list[Eye] = []

    def knowing() -> Eye:
        if not known:
            known.append(eye())
        return known[0]

    for camera in cameras:
        covered = start
        for stretch in opened(camera):
            begin, end = max(start, stretch.start), min(stop, stretch.stop)
            if begin - covered > TOGETHER:
                made.gaps.append(Gap(camera, covered, begin, "no originals are kept"))
            covered = max(covered, end)
            _add(job, config, stretch, (start, stop), knowing, marks, made, told, progress)
        if stop - covered > TOGETHER:
            made.gaps.append(Gap(camera, covered, stop, "no originals are kept"))
    return made, told


def _add(
    job: Job, config: Config, stretch: Stretch, times: tuple[float, float], eye: Callable[[], Eye],
    marks: dict[str, list[Mark]], made: Made, told: Told, progress: Progress,
) -> None:  # fmt: skip
    """One stretch."""
    name = f"{stretch.camera} {stretch.start:.3f}"

    def share(what: str) -> Callable[[int, int | None], None]:
        return lambda done, total: progress(f"{what} {name}", done / total if total else 0.0)

    looked = _looked(job.step(f"look {name}", lambda folder: _plain(eye().look(stretch, share("looking at")))))
    drawn = f"draw {name}"
    said = job.step(drawn, lambda folder: _draw(stretch, looked, [], config, folder, share("drawing"), times))
    corrections = [mark for one in said["videos"] for mark in marks.get(one["name"], [])]
    if corrections:
        text = json.dumps([asdict(mark) for mark in corrections]).encode()
        drawn = f"draw {name} {hashlib.sha256(text).hexdigest()[:8]}"
        said = job.step(
            drawn, lambda folder: _draw(stretch, looked, corrections, config, folder, share("drawing"), times)
        )
    videos = [video_of(one, job.place(drawn)) for one in said["videos"]]
    made.videos += videos
    made.gaps += [Gap(stretch.camera, stretch.start, stretch.stop, text) for text in looked.problems]
    clocks = {clock.source for clock in made.clocks if clock.camera == stretch.camera}
    made.clocks += [Clock(stretch.camera, c) for c in sorted({f.clock for f in stretch.files} - clocks)]
    for video in videos:
        _tell(video, said, looked, corrections, made, told)


def _tell(
    video: Video, said: Any, looked: Looked, corrections: Sequence[Mark], made: Made, told: Told
) -> None:  # fmt: skip
    """What was done in one video, and what in it is in doubt."""

    def within(start: float, stop: float) -> bool:
        return start < video.stop and stop >= video.start

    for track, action, method, rule, (start, stop, frames) in said["log"]:
        if not within(start, stop):
            continue
        theirs = action == "keep"
        why = "the person who asks" if theirs else "a reviewer's box" if rule == "reviewer" else "a third person"
        made.redactions.append(
            Redaction(video.name, str(track), start, stop, int(frames), action, method, rule, why, theirs)
        )
    made.covered += [Covered(video.name, a, b, n, "blanked", why) for a, b, n, why in said["covered"] if within(a, b)]
    told.moments[video.name] = [moment for moment in looked.moments if within(moment.start, moment.stop)]
    for moment in told.moments[video.name]:
        hit = next((m for m in corrections if m.start <= moment.stop and m.stop >= moment.start), None)
        reviewed = "" if hit is None else "covered by hand" if hit.what == "cover" else "said to be no third person"
        made.doubts.append(
            Doubt(video.name, moment.start, moment.stop, str(moment.track), moment.reason, reviewed)
        )  # fmt: skip


def _draw(
    stretch: Stretch, looked: Looked, marks: Sequence[Mark], config: Config, folder: Path,
    progress: Callable[[int, int | None], None], times: tuple[float, float],
) -> Any:  # fmt: skip
    """The video in a folder, cut to the times that were asked for, and what was done."""
    ruleset = drawing.rules(particulars.masks(config, stretch.camera))
    drawn = drawing.draw(stretch, looked, marks, config, ruleset, folder / "drawn", progress)
    videos = join(drawn.files, *times, folder, sound=False).videos
    for file in drawn.files:
        Path(file.path).unlink()
    sources = [Source(Path(f.path).name, "fragment", f.start, f.stop, f.sha256) for f in stretch.files]
    return {
        "videos": [{**asdict(one), "path": "", "sources": [asdict(source) for source in sources]} for one in videos],
        "log": [[*key, value] for key, value in drawn.log.items()],
        "covered": drawn.blanked(),
    }  # fmt: skip


def _plain(looked: Looked) -> Any:
    return {
        "pictures": [[seen.faces, seen.blind] for seen in looked.pictures],
        "shown": sorted(looked.shown), "moments": [asdict(m) for m in looked.moments], "problems": looked.problems,
    }  # fmt: skip


def _looked(said: Any) -> Looked:
    """As ``_plain`` wrote it. Every look is noted as JSON, so that both lives of an export draw the same."""
    pictures = [
        Seen([(t, tuple(box), tuple(face), points, score, at) for t, box, face, points, score, at in faces], blind)
        for faces, blind in said["pictures"]
    ]
    shown = {(track, index) for track, index in said["shown"]}
    moments = [Moment(**{**m, "box": tuple(m["box"])}) for m in said["moments"]]
    return Looked(pictures, shown, moments, said["problems"])


def released(marks: Sequence[Mark], moments: Sequence[Moment]) -> list[str]:
    """Which corrections may not be made: a track is released only where nothing says that it is a third person."""
    free = {(moment.track, moment.start, moment.stop) for moment in moments if moment.releasable}
    return [
        f"track {mark.track} may be a third person's and stays hidden"
        for mark in marks
        if mark.what == "release"
        and not any(mark.track == t and a - 1e-3 <= mark.start and mark.stop <= b + 1e-3 for t, a, b in free)
    ]
