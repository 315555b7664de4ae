"""The second pass over originals: the ordinary way of a frame, on what the first pass found.

The rule keeps only the person who asks; whom that is, the first pass has concluded. Everybody else is replaced.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np

from anonymizer import assembly, recognition, registry
from anonymizer.config import Config
from anonymizer.export.eye import GROUP, Looked, Seen
from anonymizer.export.marks import Mark
from anonymizer.export.originals import Stretch
from anonymizer.faces.finder import Finder, Ready
from anonymizer.faces.landmarks import Landmarker
from anonymizer.frame import Face, Frame
from anonymizer.ingest.file import FileSource
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Policy, Recognition, RuleSet, Treatment, Verdict
from anonymizer.policy.actions import Action
from anonymizer.policy.decision import KEEP_FRESH
from anonymizer.policy.rules import Area, Certainty, Rule, When
from anonymizer.publish.live import LiveEncoder, LiveSettings
from anonymizer.record.catalogue import File
from anonymizer.record.segments import Segmenter
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.synthesis.cast import Cast
from anonymizer.synthesis.embedded import EmbeddedSwapper

_HAND = 1_000_000  # track numbers from here on were drawn by a reviewer
_LONGEST = 1e9  # seconds: a stretch is one segment


def rules(masks: dict[str, Area]) -> RuleSet:
    """Keep whom the verdict names, replace everybody else. masks: of the camera, which stay covered."""
    person = Rule(name=GROUP, when=When(group=(GROUP,)), then=Treatment(action=Action.KEEP))
    return RuleSet(rules=(person,), masks=masks, recognition=Certainty(sightings=1, fresh=0.05))


def bank_key() -> bytes:
    """A new one for every package: nothing links its faces to those of the stream."""
    return secrets.token_bytes(32)


class _Policy(Policy):
    """The ordinary policy, but: beside another face the person is kept where the first pass says so, since it looked
    at this very picture; and what a reviewer drew is covered solid."""

    shown: frozenset[tuple[int, int]] | set[tuple[int, int]] = frozenset()

    def decide(self, frame: Frame) -> Verdict:
        decided = super().decide(frame)
        faces = list(decided.faces)
        for i, face in enumerate(frame.faces):
            fresh = abs(frame.time - face.seen_at) <= KEEP_FRESH
            if (face.track, frame.index) in self.shown and fresh and faces[i].action is Action.REPLACE:
                faces[i] = replace(faces[i], rule=GROUP, action=Action.KEEP)
                face.action, face.rule = str(Action.KEEP), GROUP
            if face.track >= _HAND:
                faces[i] = replace(faces[i], rule="reviewer", action=Action.SOLID, margin=0.15)
                face.action, face.rule = str(Action.SOLID), "reviewer"
        return replace(decided, faces=tuple(faces))


class _Verdicts:
    """In the place of ``Recognition``: what the first pass concluded. Every face is told in every picture."""

    def __init__(self, shown: set[tuple[int, int]]) -> None:
        self._shown = shown

    def look(self, frame: Frame, policy: Policy) -> None:
        for face in frame.faces:
            theirs = (face.track, frame.index) in self._shown
            told = Recognition(GROUP, frozenset([GROUP]), 1.0, frame.time)
            policy.recognised(face.track, told if theirs else Recognition("", frozenset(), -1.0, frame.time))


class _Replay:
    """In the place of the finder: what the first pass found, and what a reviewer drew."""

    def __init__(self, pictures: Sequence[Seen], marks: Sequence[Mark]) -> None:
        self._pictures, self._marks = pictures, marks

    def push(self, frame: Frame) -> list[Ready]:
        if frame.index >= len(self._pictures):
            return [Ready(frame, "this picture was not looked at")]
        seen = self._pictures[frame.index]
        frame.faces = [
            Face(track, box, score, face, None if points is None else np.array(points, np.float32), seen_at=at)
            for track, box, face, points, score, at in seen.faces
        ]
        for number, mark in enumerate(self._marks):
            box = mark.box(frame.wall)
            if box is not None:
                frame.faces.append(Face(_HAND + number, box, 1.0, seen_at=frame.time))
        return [Ready(frame, seen.blind)]

    def flush(self) -> list[Ready]:
        return []


@dataclass(slots=True)
class Drawn:
    """What the second pass made. log: by track, action, method and rule the first and last UTC and the number of
    pictures. covered: (UTC, reason) of pictures that were covered whole."""

    files: list[File] = field(default_factory=list)
    log: dict[tuple[int, str, str, str], list[float]] = field(default_factory=dict)
    covered: list[tuple[float, str]] = field(default_factory=list)
    frames: int = 0

    def blanked(self) -> list[tuple[float, float, int, str]]:
        """Runs of covered pictures: first and last UTC, their number, why."""
        runs: list[tuple[float, float, int, str]] = []
        for wall, why in self.covered:
            start, stop, count, before = runs[-1] if runs else (0.0, 0.0, 0, "")
            if before == why and wall - stop < 0.5:
                runs[-1] = start, wall, count + 1, why
            else:
                runs.append((wall, wall, 1, why))
        return runs


def draw(
    stretch: Stretch, looked: Looked, marks: Sequence[Mark], config: Config, ruleset: RuleSet, folder: Path,
    progress: Callable[[int, int | None], None],
) -> Drawn:  # fmt: skip
    """The second pass: redacted segments in a folder. ModelError, SourceError, PublishError."""
    drawn = Drawn()
    released = [mark for mark in marks if mark.what == "release"]
    faces = config.faces
    model = FaceModel.load(registry.resolve("face-model", config.identity.model))
    policy = _Policy(ruleset, stretch.camera, epoch=None)
    replay = cast(Finder, _Replay(looked.pictures, [mark for mark in marks if mark.what == "cover"]))
    landmarker = Landmarker(registry.resolve("landmarks", faces.landmarks), threads=faces.threads)
    people = Cast(Bank(model, bank_key()), stretch.camera, 0)
    stages = Pipeline(replay, landmarker, policy, EmbeddedSwapper(model, refiner=assembly.refiner(faces)), people)
    shown = set(looked.shown)
    policy.shown = shown
    stages.recognition = cast(recognition.Recognition, _Verdicts(shown))
    with FileSource(stretch.path) as source:
        video = source.video
        settings = LiveSettings(preset=config.encoder.preset, crf=config.encoder.crf)
        aspect = float(video.aspect or 1)
        encoder = LiveEncoder(video.width, video.height, video.full_range, float(video.rate), settings, aspect)
        segmenter = Segmenter(stretch.camera, folder, _LONGEST, drawn.files.append)
        segmenter.clock = ", ".join(sorted({file.clock for file in stretch.files}))
        for item in source:
            if not isinstance(item, Frame):
                continue
            item.wall, seconds = stretch.wall(item.time), item.time
            if item.index < len(looked.pictures):
                for face in looked.pictures[item.index].faces:
                    if any(mark.track == face[0] and mark.start <= item.wall <= mark.stop for mark in released):
                        shown.add((face[0], item.index))
            for done in stages.push(item):
                assert done.picture is not None
                _note(drawn, done)
                for unit in encoder.encode(done.picture.finish(), seconds, done.wall):
                    segmenter.take(unit)
            progress(drawn.frames, source.frames_expected)
        segmenter.close()
    return drawn


def _note(drawn: Drawn, frame: Frame) -> None:
    drawn.frames += 1
    if frame.uncertain:
        drawn.covered.append((frame.wall, frame.uncertain))
    for face in frame.faces:
        method = face.method or face.action  # nothing is painted in a picture in which every face is kept
        entry = drawn.log.setdefault((face.track, face.action, method, face.rule), [frame.wall, frame.wall, 0.0])
        entry[1] = frame.wall
        entry[2] += 1
