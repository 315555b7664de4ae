"""Original and anonymised clip side by side: which faces are in a frame, where, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import cv2
import numpy as np

from anonymizer import boxes
from anonymizer.errors import ConfigError
from anonymizer.evaluate.excerpt import encoded, frames
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.labels import Done, Labels, Painted
from anonymizer.evaluate.recall import Known
from anonymizer.faces.detectors import Detections, Detector
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import F32, U8, Box, Planes
from anonymizer.ingest.file import FileSource
from anonymizer.publish.encoder import EncoderSettings

FLOOR = 0.5
"""Score from which the judging detector is believed."""

SAME_FACE = 0.4
"""IoU from which a detection on the original is a labelled face, whose five points it gives."""

STILL_THERE = 0.3
"""IoU from which a detection on the anonymised picture is the same face."""

REPORTED = 0.2
"""IoU from which a face of the report is meant: what is painted may be much larger than the face."""

MISSED, UNREPORTED = "missed", "unreported"
"""Methods of faces that a report does not name, and of those without a report."""

PADDED = 0.02
"""Clips whose sizes differ by less are brought to the original's: some tools pad to whole macroblocks by scaling."""


@dataclass(frozen=True, slots=True)
class Clip:
    """An original, its anonymised version, and what is known of both. most: how many of its frames are judged."""

    name: str
    original: Path
    anonymised: Path
    report: dict[int, Done] | None = None
    labels: Labels | None = None
    most: int | None = None

    def labelled(self) -> Iterator[tuple[int, list[Known]]]:
        """Number and faces of each labelled frame that is judged, in order."""
        frames = {} if self.labels is None else self.labels.frames
        for index in sorted(frames):
            if self.most is None or index < self.most:
                yield index, frames[index]


@dataclass(slots=True)
class Subject:
    """One face of the original. who: its track, with the clip's name. points: float32 (5, 2), None where the judging
    detector does not see it. told: what the report says of it. reported: whether there is a report."""

    who: str
    known: Known
    points: F32 | None
    detected: Box | None
    told: Painted | None
    reported: bool = True

    @property
    def method(self) -> str:
        """What was done to it; ``missed`` where the report has no such face, UNREPORTED where there is no report."""
        if self.told is None:
            return MISSED if self.reported else UNREPORTED
        return self.told.method


@dataclass
class Scene:
    """One frame of both clips. first: whether it is one of the regular samples; the frame after one is there for
    comparison in time only, and has no subjects. plain: the original encoded anew, which tells what encoding alone and
    the judges' own noise make of a figure. The planes are dead once the next scene is asked for."""

    clip: Clip
    index: int
    time: float
    first: bool
    original: Planes
    anonymised: Planes
    plain: Planes
    detector: Detector
    subjects: list[Subject] = field(default_factory=list)
    _embeddings: dict[tuple[str, str], F32] = field(default_factory=dict)

    def embeddings(self, recogniser: Recogniser, subject: Subject) -> F32:
        """float32 (2, d): of a face with points, before and after. Computed once."""
        key = recogniser.name, subject.who
        if key not in self._embeddings:
            assert subject.points is not None
            both = [recogniser(picture, subject.points[None]) for picture in (self.before, self.after)]
            self._embeddings[key] = np.concatenate(both)
        return self._embeddings[key]

    @cached_property
    def before(self) -> U8:
        """The original, BGR."""
        return self.original.bgr()

    @cached_property
    def after(self) -> U8:
        """The anonymised picture, BGR."""
        return self.anonymised.bgr()

    @cached_property
    def found(self) -> Detections:
        """Faces that the judging detector sees in the anonymised picture."""
        return self.detector.detect([self.after], FLOOR)[0]

    @cached_property
    def found_plain(self) -> Detections:
        """And in the original encoded anew."""
        return self.detector.detect([self.plain.bgr()], FLOOR)[0]

    @property
    def done(self) -> Done | None:
        """What the report says of the frame."""
        return None if self.clip.report is None else self.clip.report.get(self.index, Done([]))


def seen(box: Box, found: Detections) -> bool:
    """Whether a face is among the detections at the same place."""
    return boxes.best(box, [_box(b) for b in found.boxes], STILL_THERE) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """What natural faces tell of each recogniser. thresholds: at FAR 1e-3; portraits: embeddings (n, d), one person
    each."""

    thresholds: dict[str, float] = field(default_factory=dict)
    portraits: dict[str, F32] = field(default_factory=dict)


class Observer(Protocol):
    """Sees all scenes of all clips, then tells."""

    def see(self, scene: Scene) -> None: ...

    def section(self, reference: Reference) -> Section: ...


class Walk:
    """Every step-th frame of both clips and the one after it, with the original's faces.

    Faces come from the labels, or else from the detector on the original, linked over time; a frame without labels in a
    labelled clip is no sample, since nobody says which faces it has. encoder: how the original is encoded anew; the
    file is gone after the walk. frames: how many the original and the anonymised clip had so far; all of them after a
    walk to the end. judged: how many samples there were. Iterating raises SourceError where a clip cannot be read,
    ConfigError where their pictures have different sizes.
    """

    def __init__(self, clip: Clip, detector: Detector, encoder: EncoderSettings, *, step: int = 1) -> None:
        self._clip, self._detector, self._encoder, self._step = clip, detector, encoder, step
        self.frames = [0, 0]
        self.judged = 0

    def __iter__(self) -> Iterator[Scene]:
        clip, linker = self._clip, Linker()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            plain = encoded(clip.original, folder / "plain.mp4", self._encoder, clip.most)
            sources = [stack.enter_context(FileSource(path)) for path in (clip.original, clip.anonymised, plain)]
            for before, after, anew in zip_longest(*map(frames, sources)):
                if before is not None and clip.most is not None and before.index >= clip.most:
                    return
                self.frames[0] += before is not None
                self.frames[1] += after is not None
                if before is None or after is None or anew is None or not self._wanted(before.index):
                    continue
                size = before.planes.width, before.planes.height
                scene = Scene(
                    clip, before.index, before.time, before.index % self._step == 0, before.planes,
                    _fitted(after.planes, size, clip), anew.planes, self._detector,
                )  # fmt: skip
                if scene.first:
                    self.judged += 1
                    scene.subjects = _subjects(scene, linker)
                yield scene

    def _wanted(self, index: int) -> bool:
        """Whether a frame is a sample or the one after it."""
        labels, after = self._clip.labels, index % self._step
        return after <= 1 and (labels is None or index - after in labels.frames)


def _fitted(planes: Planes, size: tuple[int, int], clip: Clip) -> Planes:
    width, height = size
    if (planes.width, planes.height) == size:
        return planes
    if max(abs(planes.width / width - 1), abs(planes.height / height - 1)) > PADDED:
        raise ConfigError(
            f"{clip.anonymised}: its pictures are {planes.width} × {planes.height}, those of {clip.original} "
            f"{width} × {height}; are they the same clip?"
        )
    half = (width + 1) // 2, (height + 1) // 2
    y, u, v = (cv2.resize(p, s) for p, s in ((planes.y, size), (planes.u, half), (planes.v, half)))
    return Planes(np.asarray(y, np.uint8), np.asarray(u, np.uint8), np.asarray(v, np.uint8), planes.full_range)


def _subjects(scene: Scene, linker: Linker) -> list[Subject]:
    seen = scene.detector.detect([scene.before], FLOOR)[0]
    places = [_box(b) for b in seen.boxes]
    clip = scene.clip
    told = scene.done.faces if scene.done else []
    if clip.labels is None:
        tracks = linker(scene.time, places)
        known = [
            Known(track, box, pose=pose_word(points))
            for track, box, points in zip(tracks, places, seen.points, strict=True)
        ]
        which: list[int | None] = list(range(len(known)))
    else:
        known = clip.labels.frames.get(scene.index, [])
        which = [boxes.best(face.box, places, SAME_FACE) for face in known]
    out = []
    for face, i in zip(known, which, strict=True):
        j = boxes.best(face.box, [one.box for one in told], REPORTED)
        detected = None if i is None else places[i]
        points = None if i is None else seen.points[i]
        paint = None if j is None else told[j]
        out.append(Subject(f"{clip.name}/{face.track}", face, points, detected, paint, clip.report is not None))
    return out


class Linker:
    """Numbers for detections without labels: a box belongs to the track whose newest box overlaps it most."""

    KEPT = 1.0  # seconds for which a track is remembered

    def __init__(self) -> None:
        self._tracks: dict[int, tuple[float, Box]] = {}
        self._next = 0

    def __call__(self, time: float, found: list[Box]) -> list[int]:
        """The track of each box; times must not go back."""
        self._tracks = {t: (at, box) for t, (at, box) in self._tracks.items() if time - at <= self.KEPT}
        pairs = sorted(
            (
                (boxes.iou(box, old), i, track)
                for i, box in enumerate(found)
                for track, (_, old) in self._tracks.items()
            ),
            reverse=True,
        )
        chosen: dict[int, int] = {}
        for overlap, i, track in pairs:
            if overlap >= STILL_THERE and i not in chosen and track not in chosen.values():
                chosen[i] = track
        for i in range(len(found)):
            if i not in chosen:
                chosen[i] = self._next
                self._next += 1
        for i, box in enumerate(found):
            self._tracks[chosen[i]] = time, box
        return [chosen[i] for i in range(len(found))]


def pose_word(points: F32) -> str:
    """frontal, half or profile, roughly: how far the nose lies off the middle, in distances from eyes to mouth."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    length = max(float(np.hypot(*down)), 1e-6)
    across = np.array([down[1], -down[0]]) / length
    off = abs(float((points[2] - (eyes + mouth) / 2) @ across)) / length
    return "frontal" if off < 0.15 else "half" if off < 0.4 else "profile"


def _box(values: F32) -> Box:
    x, y, w, h = (float(v) for v in values)
    return x, y, w, h
