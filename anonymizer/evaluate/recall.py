"""Which faces were covered, which were not and for how long, and what was covered without need. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from anonymizer import boxes
from anonymizer.frame import Box

HEIGHTS = (12, 20, 32, 64)
"""Lower ends of the height classes in pixels; smaller faces belong to the first."""

COVERED = 0.8
"""A face is covered when this share of its box is hidden by the union of all painted boxes."""

_GRID = 4  # pixels to a cell of the maps from which spill is counted


@dataclass(frozen=True, slots=True)
class Known:
    """A face that is there, as labels or an independent detector say.

    track: who it is in this clip. required: whether it has to be covered; the others excuse a box that touches them.
    pose: a rough word, such as frontal, half or profile.
    """

    track: int
    box: Box
    required: bool = True
    pose: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """One frame that was judged. time in seconds; painted: what was covered, and whole: whether all of it was."""

    index: int
    time: float
    known: Sequence[Known]
    painted: Sequence[Box]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """One required face of one frame."""

    track: int
    height: float
    pose: str
    share: float

    @property
    def covered(self) -> bool:
        return self.share >= COVERED

    @property
    def height_class(self) -> int:
        """Position in HEIGHTS."""
        return max(0, int(np.searchsorted(HEIGHTS, self.height, side="right")) - 1)


@dataclass(frozen=True, slots=True)
class Miss:
    """A track left uncovered in frames in a row. seconds: from the first to the next judged frame after the last."""

    track: int
    first: int
    frames: int
    seconds: float


@dataclass(slots=True)
class Score:
    """What became of one clip's faces.

    false: painted boxes that touch no known face. spill: mean share of the picture that is painted away from every
    known face (required ones grown by half their size, others by a quarter). whole: frames covered whole.
    """

    frames: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    false: int = 0
    spill: float = 0.0
    whole: int = 0


def score(looked: Iterable[Looked], size: tuple[int, int]) -> Score:
    """Judge the frames, in order. size: width and height of the picture."""
    out = Score()
    frames = sorted(looked, key=lambda one: one.index)
    steps = np.diff([frame.time for frame in frames])
    step = float(np.median(steps)) if len(steps) else 0.0
    open_runs: dict[int, tuple[int, float, int]] = {}  # track: first index, its time, frames
    last: dict[int, float] = {}

    def end(track: int) -> None:
        first, began, count = open_runs.pop(track)
        out.misses.append(Miss(track, first, count, last[track] - began + step))

    for frame in frames:
        out.frames += 1
        out.whole += frame.whole
        missed = set()
        for face in frame.known:
            if not face.required:
                continue
            share = 1.0 if frame.whole else boxes.covered(face.box, frame.painted)
            verdict = Verdict(face.track, face.box[3], face.pose, share)
            out.verdicts.append(verdict)
            if not verdict.covered:
                missed.add(face.track)
        for track in missed:
            first, began, count = open_runs.get(track, (frame.index, frame.time, 0))
            open_runs[track] = first, began, count + 1
            last[track] = frame.time
        for track in [track for track in open_runs if track not in missed]:
            end(track)
        if frame.whole:
            continue  # there is nothing left that could be false
        out.false += sum(
            not any(boxes.intersection(box, face.box) > 0 for face in frame.known) for box in frame.painted
        )
        near = [boxes.grown(face.box, 0.5 if face.required else 0.25) for face in frame.known]
        away = boxes.mask(frame.painted, *size, _GRID) & ~boxes.mask(near, *size, _GRID)
        out.spill += float(away.mean())
    for track in list(open_runs):
        end(track)
    out.spill /= max(1, out.frames - out.whole)
    return out
