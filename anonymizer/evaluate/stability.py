"""``evaluate stability``: whether anonymised faces are as calm as the originals, and stay the same person."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anonymizer import boxes
from anonymizer.evaluate import pixels, plot
from anonymizer.evaluate.figure import Goal, Section
from anonymizer.evaluate.labels import Done
from anonymizer.evaluate.scene import REPORTED, Clip, Reference, Scene
from anonymizer.evaluate.statistics import Rate, events, quantile, ratio
from anonymizer.evaluate.utility import ANEW, SIDE, upright, word
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import F32, U8

CALM = Goal(1.2)
"""Temporal energy of replaced faces, times the original's."""

SMALLEST = 32
"""Pixels of height from which faces are compared in time."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A face as it was in the regular sample, to be compared with the next frame."""

    method: str
    points: F32
    pictures: tuple[U8, U8, U8]  # of the original, the anonymised one, the original encoded anew


@dataclass(frozen=True, slots=True)
class _Pair:
    """One face in two frames in a row. energies: mean squares over the inner face: of the original, of the anonymised
    one by the original's motion, of that by its own, and of the original encoded anew by the original's. apart: mean
    difference of both motions, pixels."""

    who: str
    method: str
    energies: tuple[float, float, float, float]
    apart: float


class Stability:
    """Sees scenes, tells the section."""

    def __init__(self, recognisers: Sequence[Recogniser]) -> None:
        self._recognisers = recognisers
        self._held: dict[str, _Held] = {}
        self._held_at: tuple[str, int] = ("", -1)
        self._pairs: list[_Pair] = []
        self._along: dict[str, dict[str, list[tuple[F32, F32]]]] = {r.name: defaultdict(list) for r in recognisers}
        self._methods: dict[str, set[str]] = defaultdict(set)
        self._who: dict[str, Clip] = {}
        self._oval = pixels.oval(SIDE)
        self._seen: dict[str, list[tuple[float, str, int | None]]] = defaultdict(list)

    def see(self, scene: Scene) -> None:
        if self._held_at == (scene.clip.name, scene.index - 1):
            self._compare(scene)
        if not scene.first:
            return
        self._held = {}
        self._held_at = scene.clip.name, scene.index
        for subject in scene.subjects:
            if not subject.known.required or subject.points is None or subject.known.box[3] < SMALLEST:
                continue
            if subject.known.pose == "profile":
                continue
            self._held[subject.who] = _Held(subject.method, subject.points, _upright(scene, subject.points))
            self._methods[subject.who].add(subject.method)
            for recogniser in self._recognisers:
                old, new = scene.embeddings(recogniser, subject)
                self._along[recogniser.name][subject.who].append((old, new))
        self._who[scene.clip.name] = scene.clip
        if scene.clip.labels is None:
            for subject in scene.subjects:
                told = subject.told
                self._seen[subject.who].append((scene.time, subject.method, None if told is None else told.shown))

    def _compare(self, scene: Scene) -> None:
        inner = self._oval
        for who, held in self._held.items():
            # The same place in both frames: what moves is left to the flow.
            (before, after, plain), (old, new, anew) = _upright(scene, held.points), held.pictures
            flow, own = pixels.motion(old, before), pixels.motion(new, after)
            energies = (
                pixels.energy(old, before, flow, inner),
                pixels.energy(new, after, flow, inner),
                pixels.energy(new, after, own, inner),
                pixels.energy(anew, plain, flow, inner),
            )
            self._pairs.append(_Pair(who, held.method, energies, float(np.hypot(*(own - flow)[inner].T).mean())))

    def section(self, reference: Reference) -> Section:
        out = Section(
            "Stability",
            f"Two frames in a row, faces of {SMALLEST} px and more, aligned by the original's points of the first one. "
            "What motion does not explain is the temporal energy; DIS optical flow tells the motion.",
        )
        for kind in sorted({pair.method for pair in self._pairs}):
            self._energies(out, kind)
        for recogniser in self._recognisers:
            self._embeddings(out, recogniser.name)
        self._switches(out)
        return out

    def _energies(self, out: Section, kind: str) -> None:
        pairs = [pair for pair in self._pairs if pair.method == kind]
        kind = word(kind)
        energies = np.array([pair.energies for pair in pairs])
        who = np.array([pair.who for pair in pairs])
        tracks = np.unique(who)
        sums = np.array([energies[who == one].sum(0) for one in tracks])
        for which, name, label, how in (
            (1, "by the original's motion", kind, "The original's optical flow explains both, which favours it"),
            (2, "by its own motion", kind, "Each clip's own optical flow explains it"),
            (3, "by the original's motion", kind + ANEW, "The original's optical flow explains both, which favours it"),
        ):
            text = f"RMS of the inner face's change from frame to frame, over the original's. {how}."
            goal = CALM if kind == "replaced" and which == 1 else None
            whole = ratio(energies[:, which], np.maximum(energies[:, 0], 1e-6), who)
            out.number(f"temporal energy, {name}", f"{label}, all", _root(whole), text, "×", goal=goal)
            middle = quantile(np.sqrt(sums[:, which] / np.maximum(sums[:, 0], 1e-6)), 0.5, tracks)
            out.number(f"temporal energy, {name}", f"{label}, median track", middle, text, "×")
        apart = ratio(np.array([pair.apart for pair in pairs]) / SIDE, np.ones(len(pairs)), who)
        how = "Mean difference of both flows, of the aligned face's side: how far the new face slides over the head."
        out.number("motion apart from the original's", kind, apart, how, "%", 100)
        rms = np.sqrt(energies[:2000, :2])
        high = float(np.quantile(rms, 0.99)) if len(rms) else 1.0
        out.plots.append(plot.scatter(f"Temporal RMS, {kind}", rms.tolist(), "original", "anonymised", max(high, 1.0)))

    def _embeddings(self, out: Section, recogniser: str) -> None:
        rows: list[tuple[str, float, float]] = []
        for who, faces in self._along[recogniser].items():
            if len(faces) < 3 or self._methods[who] != {"replace"}:
                continue
            old, new = (np.stack(side) for side in zip(*faces, strict=True))
            similar = [np.einsum("ij,ij->i", side[1:], side[:-1]) for side in (old, new)]
            rows += [(who, float(a), float(b)) for a, b in zip(*similar, strict=True)]
        people = np.array([row[0] for row in rows])
        how = "Mean cosine of neighbouring samples along tracks that are replaced throughout"
        for i, name in ((1, "original"), (2, "replaced")):
            values = np.array([row[i] for row in rows])
            found = ratio(values, np.ones(len(values)), people)
            out.number("embedding along a track", f"{recogniser}, {name}", found, f"{how}.")

    def _switches(self, out: Section) -> None:
        """How often the face that stands in for one person changes: the thread was lost, or it became too like."""
        tracks: dict[str, tuple[int, float]] = {}
        for clip in self._who.values():
            if clip.report is None:
                continue
            if clip.labels is not None:
                for number, track in _told(clip, clip.report).items():
                    tracks[f"{clip.name}/{number}"] = count_switches(track)
            else:
                mine = {who: track for who, track in self._seen.items() if who.startswith(f"{clip.name}/")}
                tracks |= {who: count_switches(track) for who, track in mine.items()}
        counts, seconds = (np.array([one[i] for one in tracks.values()], float) for i in (0, 1))
        how = "Changes of the person drawn (where a report does not say, of its track) along one reference track, from "
        how += "sample to sample, by minutes of replaced "
        how += f"faces: {int(counts.sum())} in {seconds.sum():.0f} s."
        found = events(counts, seconds / 60, np.array(list(tracks)))
        out.number("identity switches", "a minute of face", found, how)


def _upright(scene: Scene, points: F32) -> tuple[U8, U8, U8]:
    before, after, plain = (upright(one.y, points) for one in (scene.original, scene.anonymised, scene.plain))
    return before, after, plain


def _root(found: Rate | None) -> Rate | None:
    """A ratio of energies as one of amplitudes."""
    if found is None:
        return None
    low, high = (None if end is None else math.sqrt(max(0.0, end)) for end in (found.low, found.high))
    return Rate(math.sqrt(max(0.0, found.value)), found.count, found.identities, low, high)


def _told(clip: Clip, report: dict[int, Done]) -> dict[int, list[tuple[float, str, int | None]]]:
    """By the labels' tracks: time, method and who was drawn in every labelled frame."""
    assert clip.labels is not None
    out: dict[int, list[tuple[float, str, int | None]]] = defaultdict(list)
    fps = clip.labels.fps or 25.0
    for index, known in clip.labelled():
        painted = report.get(index, Done([])).faces
        for face in known:
            if not face.required:
                continue
            which = boxes.best(face.box, [one.box for one in painted], REPORTED)
            told = None if which is None else painted[which]
            out[face.track].append((index / fps, "" if told is None else told.method, told.shown if told else None))
    return out


def count_switches(track: Sequence[tuple[float, str, int | None]]) -> tuple[int, float]:
    """(switches, seconds) of one person: (time, method, who was drawn) of frames in order.

    Counted is a change between two frames that are both replaced, also across a gap; seconds are those between
    neighbouring replaced frames at most one second apart.
    """
    switches, seconds = 0, 0.0
    last: tuple[float, int | None] | None = None
    for time, method, number in track:
        if method != "replace" or number is None:
            continue
        if last is not None:
            switches += number != last[1]
            if time - last[0] <= 1:
                seconds += time - last[0]
        last = time, number
    return switches, seconds
