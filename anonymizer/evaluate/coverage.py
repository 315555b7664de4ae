"""``evaluate recall``: gathers what ``recall`` judges, from labels or an independent detector, and looks at pixels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from anonymizer.evaluate import pixels, plot
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.labels import Done
from anonymizer.evaluate.recall import COVERED, HEIGHTS, Looked, Score, Verdict, score
from anonymizer.evaluate.scene import Clip, Reference, Scene
from anonymizer.evaluate.statistics import rate, ratio

_PIXELS_FROM = 20  # pixels of height from which fine structure says something


class Coverage:
    """Sees scenes, tells the section on recall. independent: the reference detector's name, for the words."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._looked: dict[str, list[Looked]] = defaultdict(list)
        self._clips: dict[str, tuple[Clip, tuple[int, int]]] = {}
        self._left: list[tuple[str, float, float]] = []  # who, correlation, changed

    def see(self, scene: Scene) -> None:
        if not scene.first:
            return
        clip = scene.clip
        self._clips[clip.name] = clip, (scene.original.width, scene.original.height)
        if scene.done is not None and clip.labels is None:
            self._looked[clip.name].append(_looked(scene.index, scene.time, scene, scene.done))
        for subject in scene.subjects:
            if not subject.known.required or subject.known.box[3] < _PIXELS_FROM:
                continue
            if subject.told is not None and not subject.told.hidden:
                continue  # left on purpose
            same = pixels.kept(scene.original.y, scene.anonymised.y, subject.known.box)
            if same is not None:
                self._left.append((subject.who, *same))

    def section(self, reference: Reference) -> Section:
        labelled = sum(clip.labels is not None for clip, _ in self._clips.values())
        judged_by = f"labels of {labelled} clips" if labelled else ""
        if labelled < len(self._clips):
            judged_by += "; else " if labelled else ""
            judged_by += (
                f"the detector {self._reference}, which may miss faces itself: what covers them counts as false"
            )
        out = Section(
            "Recall",
            f"Which faces were covered. Reference: {judged_by}. A face is covered when {COVERED:.0%} of its box is "
            "hidden by what the report says was painted; the untouched share is measured on the pixels, of all "
            "faces but those that the report says were kept on purpose.",
        )
        scores = {name: s for name, (clip, size) in self._clips.items() if (s := self._score(clip, size)) is not None}
        if scores:
            _tell(out, scores)
        who = np.array([one[0] for one in self._left])
        correlation = np.array([one[1] for one in self._left])
        changed = np.array([one[2] for one in self._left])
        out.share(
            "untouched", f"faces of {_PIXELS_FROM} px and more", rate(correlation > pixels.UNTOUCHED, who),
            "Fine structure of the face (luma, high-pass) still correlates by more than "
            f"{pixels.UNTOUCHED} with the original's, within shifts of a tenth of the face.",
        )  # fmt: skip
        out.share(
            "left", f"faces of {_PIXELS_FROM} px and more", rate((correlation > 0.6) & (changed < 0.5), who),
            f"Less than half of the pixels changed by more than {pixels.NOTICED} grey levels, and the correlation is "
            "above 0.6.",
        )  # fmt: skip
        return out

    def _score(self, clip: Clip, size: tuple[int, int]) -> Score | None:
        if clip.report is None:
            return None
        if clip.labels is None:
            return score(self._looked[clip.name], size)
        fps = clip.labels.fps or 25.0
        looked = [
            Looked(index, index / fps, known, [f.box for f in done.faces if f.hidden], done.whole)
            for index, known in clip.labelled()
            for done in [clip.report.get(index, Done([]))]
        ]
        return score(looked, (clip.labels.width, clip.labels.height))


def _looked(index: int, time: float, scene: Scene, done: Done) -> Looked:
    known = [subject.known for subject in scene.subjects]
    return Looked(index, time, known, [face.box for face in done.faces if face.hidden], done.whole)


def _tell(out: Section, scores: dict[str, Score]) -> None:
    every = [(f"{name}/{v.track}", v) for name, one in scores.items() for v in one.verdicts]

    def share(of: str, chosen: list[tuple[str, Verdict]]) -> None:
        value = rate(np.array([v.covered for _, v in chosen]), np.array([who for who, _ in chosen]))
        out.share("covered", of, value, "Share of the faces that had to be covered, in all judged frames.")

    share("all faces", every)
    heights = [_height_name(i) for i in range(len(HEIGHTS))]
    for i, name in enumerate(heights):
        share(f"{name} high", [(who, v) for who, v in every if v.height_class == i])
    for pose in sorted({v.pose for _, v in every if v.pose}):
        share(pose, [(who, v) for who, v in every if v.pose == pose])
    out.plots.append(plot.bars("Covered, %", out.rows("covered"), 0, 100))

    runs = [(miss.seconds, name, miss) for name, one in scores.items() for miss in one.misses]
    frames = sum(one.frames for one in scores.values())
    how = "A run is a track that stays uncovered in judged frames in a row. A count, without interval."
    out.figure("miss runs", "all clips", len(runs), "", frames, how)
    if runs:
        seconds, name, miss = max(runs, key=lambda run: run[0])
        where = f"{name}, track {miss.track}, from frame {miss.first} on, {miss.frames} frames."
        out.figure("longest miss", "all clips", seconds, "s", len(runs), where)
    clips, each = np.array(list(scores)), list(scores.values())
    judged = np.array([one.frames for one in each])
    false = ratio(np.array([one.false for one in each]), judged, clips, count=frames)
    out.number("false positives", "a frame", false, "Painted boxes that touch no known face.", over="clips")
    spill = ratio(np.array([one.spill * (one.frames - one.whole) for one in each]),
                  np.array([one.frames - one.whole for one in each]), clips, count=frames)  # fmt: skip
    how = "Painted area away from every known face, mean over frames that were not covered whole."
    out.number("spill", "share of the picture", spill, how, "%", 100, over="clips")
    whole = sum(one.whole for one in each)
    out.figure("covered whole", "frames", whole, "", frames, "Frames in which nothing could be relied on. A count.")


def _height_name(i: int) -> str:
    return f"{HEIGHTS[i]}–{HEIGHTS[i + 1]} px" if i + 1 < len(HEIGHTS) else f"{HEIGHTS[i]} px and more"
