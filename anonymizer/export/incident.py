"""What cameras recorded over a time, as it was recorded: anonymised already, cut and joined without a second encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from anonymizer.config import Config
from anonymizer.export import particulars, redraw
from anonymizer.export.contents import Clock, Covered, Gap, How, Redaction, Sound, Source, Video
from anonymizer.export.deliver import Made
from anonymizer.export.job import Job
from anonymizer.export.join import join
from anonymizer.export.marks import Mark
from anonymizer.load import Level
from anonymizer.record import audit
from anonymizer.record.catalogue import Catalogue, File, Track
from anonymizer.statedir import StateDir

_AWAY, _DEGRADED = "camera away", "picture degraded"  # what the service tells the audit of
_RULES, _OVER_MQTT = "rules in force", "set over MQTT"
_STATE_EVERY = 1.0  # seconds between two looks of the service at a camera's state
_LESS: dict[str, How] = {
    Level.SMALL_DETECTOR.meaning: "reduced",
    Level.NO_REPLACEMENT.meaning: "reduced",
    Level.HALF_RATE.meaning: "thinned",
}
"""What overload does, short of covering the picture whole."""

Progress = Callable[[str, float], None]
"""Told what is done, and which share of it, 0 to 1."""


def make(
    job: Job, state: StateDir, config: Config, cameras: Sequence[str], start: float, stop: float, *, sound: bool,
    marks: dict[str, list[Mark]], progress: Progress,
) -> Made:  # fmt: skip
    """The videos and what is to be said of them. marks: by video, what a reviewer wants covered. CatalogueError,
    ConfigError, ModelError, PublishError."""
    gaps: list[Gap] = []
    clocks: list[Clock] = []
    videos: list[Video] = []
    redactions: list[Redaction] = []
    heard = False
    with Catalogue(state.path) as catalogue:
        for number, camera in enumerate(cameras):
            progress(camera, number / len(cameras))
            files = catalogue.files("segment", camera, start, stop)

            def joined(folder: Path, files: Sequence[File] = files, camera: str = camera) -> Any:
                result = join(files, start, stop, folder, sound=sound)
                missing = result.gaps if files else [Gap(camera, start, stop, "nothing is recorded")]
                return {
                    "videos": [asdict(video) | {"path": ""} for video in result.videos],
                    "gaps": [asdict(gap) for gap in missing], "heard": result.heard,
                }  # fmt: skip

            name = f"joined {camera}"
            said = job.step(name, joined)
            gaps += [Gap(**gap) for gap in said["gaps"]]
            clocks += [Clock(camera, clock) for clock in sorted({file.clock for file in files})]
            heard |= said["heard"]
            for one in said["videos"]:
                video = video_of(one, job.place(name))
                videos.append(redraw.covered(job, video, marks.get(video.name, []), config))
                redactions += [_redaction(video, track) for track in catalogue.tracks(camera, video.start, video.stop)]
    record = particulars.processing(
        config, cameras, [one.rule for one in redactions], {}, particulars.drawers(config, cameras),
        **{"rules in force": [text for camera in cameras for text in _in_force(state, camera, start, stop)]},
    )  # fmt: skip
    covered = [one for video in videos for one in _covered(state, video)]
    silence = Sound("none", "Only pictures were recorded.")
    return Made(
        tuple(cameras), start, stop, record, _sound(sound) if heard else silence, videos, redactions, covered, [],
        gaps, clocks,
    )  # fmt: skip


def video_of(said: dict[str, Any], folder: Path) -> Video:
    """A video as a step noted it."""
    sources = tuple(Source(**source) for source in said["sources"])
    return Video(**{**said, "path": folder / said["name"], "sources": sources})


def _sound(kept: bool) -> Sound:
    if kept:
        return Sound("kept", "It was asked for; voices were recorded because the camera's settings pass them on.")
    return Sound("removed", "Voices tell on people, and cannot be told apart.")


def _redaction(video: Video, track: Track) -> Redaction:
    start, stop = max(video.start, track.start), min(video.stop, track.stop)
    frames = round(max(0.0, stop - start) / max(video.stop - video.start, 1e-3) * video.frames)
    why = "anonymised as it was recorded"
    return Redaction(video.name, track.id, start, stop, frames, track.action, track.method, track.rule, why)


def _in_force(state: StateDir, camera: str, start: float, stop: float) -> list[str]:
    """Which rules held over a time, by the fingerprints that the audit has of them: what held at its start, and each
    change."""
    told: list[str] = []
    for entry in audit.entries(state.path):
        if entry.kind != _RULES and not entry.kind.endswith(_OVER_MQTT):
            continue
        digest = entry.said.get("hash")
        if isinstance(digest, dict):  # a profile's, for every camera
            digest = digest.get(camera)
        elif entry.said.get("camera") != camera:
            continue
        if digest is None or (at := _seconds(entry.time)) >= stop:
            continue
        if at <= start:
            told.clear()
        told.append(f"{camera} since {entry.time}: {digest or 'none that could be read; covered whole'}")
    return told


def _covered(state: StateDir, video: Video) -> list[Covered]:
    """What the audit says of times in which the camera's picture was covered whole, absent or made with less effort.

    The service tells of such a time when it begins, and once a minute from when to when it has lasted.
    """
    lasted: dict[tuple[str, str, float], float] = {}
    newest = 0.0
    for entry in audit.entries(state.path):
        newest = _seconds(entry.time)
        if entry.kind in (_AWAY, _DEGRADED) and entry.said.get("camera") == video.camera:
            first, last = (_seconds(str(entry.said.get(name) or entry.time)) for name in ("first", "last"))
            key = entry.kind, str(entry.said.get("reason", "")), first
            lasted[key] = max(last, lasted.get(key, first))
    found = []
    for (kind, reason, first), told in sorted(lasted.items(), key=lambda one: one[0][2]):
        last = newest if told == first and newest < first + audit.TOGETHER else told  # it may be going on
        if first < video.stop and last + _STATE_EVERY > video.start:
            start, stop = max(first, video.start), min(max(last, video.start), video.stop)
            how: How = "away" if kind == _AWAY else _LESS.get(reason, "blanked")
            found.append(Covered(video.name, start, stop, None, how, reason))
    return found


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
