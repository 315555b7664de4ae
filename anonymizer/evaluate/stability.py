"""``evaluate stability``: whether anonymised faces are as calm as the originals, and stay the same person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anonymizer.evaluate import boxes, pixels, plot
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.labels import Done
from anonymizer.evaluate.scene import REPORTED, Clip, Scene
from anonymizer.evaluate.statistics import rate
from anonymizer.evaluate.utility import SIDE, upright
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import F32, U8

SMALLEST = 32
"""Pixels of height from which faces are compared in time."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A face as it was in the regular sample, to be compared with the next frame."""

    method: str
    points: F32
    before: U8
    after: U8


@dataclass(frozen=True, slots=True)
class _Pair:
    """One face in two frames in a row. energies: mean squares over the inner face: of the original, of the anonymised
    one by the original's motion, and of that by its own. apart: mean difference of both motions, pixels."""

    who: str
    method: str
    energies: tuple[float, float, float]
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
        self._held = {}
        self._held_at = scene.clip.name, scene.index
        for subject in scene.subjects:
            if not subject.known.required or subject.points is None or subject.known.box[3] < SMALLEST:
                continue
            if subject.known.pose == "profile":
                continue
            before, after = (upright(p.y, subject.points) for p in (scene.original, scene.anonymised))
            self._held[subject.who] = _Held(subject.method, subject.points, before, after)
            if scene.first:
                self._methods[subject.who].add(subject.method)
                for recogniser in self._recognisers:
                    old, new = (recogniser(p, subject.points[None])[0] for p in (scene.before, scene.after))
                    self._along[recogniser.name][subject.who].append((old, new))
        self._who[scene.clip.name] = scene.clip
        if scene.clip.labels is None:
            for subject in scene.subjects:
                told = subject.told
                self._seen[subject.who].append((scene.time, subject.method, None if told is None else told.track))

    def _compare(self, scene: Scene) -> None:
        inner = self._oval
        for who, held in self._held.items():
            # The same place in both frames: what moves is left to the flow.
            before, after = (upright(p.y, held.points) for p in (scene.original, scene.anonymised))
            flow, own = pixels.motion(held.before, before), pixels.motion(held.after, after)
            energies = (
                pixels.energy(held.before, before, flow, inner),
                pixels.energy(held.after, after, flow, inner),
                pixels.energy(held.after, after, own, inner),
            )
            self._pairs.append(_Pair(who, held.method, energies, float(np.hypot(*(own - flow)[inner].T).mean())))

    def section(self) -> Section:
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
        word = "replaced" if kind == "replace" else kind
        energies = np.array([pair.energies for pair in pairs])
        who = np.array([pair.who for pair in pairs])
        for name, which, how in (
            ("by the original's motion", 1, "the original's optical flow explains both, which favours the original"),
            ("by its own motion", 2, "each clip's own optical flow explains it"),
        ):
            sums = np.array([energies[who == one].sum(0) for one in np.unique(who)])
            ratios = np.sqrt(sums[:, which] / np.maximum(sums[:, 0], 1e-6))
            whole = float(np.sqrt(energies[:, which].sum() / max(float(energies[:, 0].sum()), 1e-6)))
            text = f"RMS of the inner face's change from frame to frame, anonymised over original; {how}."
            middle = float(np.median(ratios))
            for of, value, count in (("all", whole, len(pairs)), ("median track", middle, len(ratios))):
                out.figure(f"temporal energy, {name}", f"{word}, {of}", value, "× the original's", count, text)
        apart = rate(np.array([pair.apart for pair in pairs]) / SIDE, who)
        how = "Mean difference of both flows, of the aligned face's side: how far the new face slides over the head."
        out.share("motion apart from the original's", word, apart, how)
        out.plots.append(
            plot.scatter(f"Temporal RMS, {word}", np.sqrt(energies[:2000, :2]).tolist(), "original", "anonymised", 30.0)
        )

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
            out.number("embedding along a track", f"{recogniser}, {name}", rate(values, people), f"{how}.")

    def _switches(self, out: Section) -> None:
        """How often the face that stands in for one person changes, because the tracker lost the thread."""
        switches, seconds, count = 0, 0.0, 0
        for clip in self._who.values():
            if clip.report is None:
                continue
            if clip.labels is not None:
                for track in _told(clip, clip.report).values():
                    n, time = count_switches(track)
                    switches, seconds, count = switches + n, seconds + time, count + len(track)
            else:
                for who, track in self._seen.items():
                    if who.startswith(f"{clip.name}/"):
                        n, time = count_switches(track)
                        switches, seconds, count = switches + n, seconds + time, count + len(track)
        how = "Changes of the report's track along one reference track while it is replaced; minutes of replaced faces"
        value = switches / (seconds / 60) if seconds else None
        out.figure("identity switches", "a minute of face", value, "", count, f"{how}: {switches} in {seconds:.1f} s.")


def _told(clip: Clip, report: dict[int, Done]) -> dict[int, list[tuple[float, str, int | None]]]:
    """By the labels' tracks: time, method and the report's track of every labelled frame."""
    assert clip.labels is not None
    out: dict[int, list[tuple[float, str, int | None]]] = defaultdict(list)
    fps = clip.labels.fps or 25.0
    for index in sorted(clip.labels.frames):
        painted = report.get(index, Done([])).faces
        for face in clip.labels.frames[index]:
            if not face.required:
                continue
            which = boxes.best(face.box, [one.box for one in painted], REPORTED)
            told = None if which is None else painted[which]
            out[face.track].append((index / fps, "" if told is None else told.method, told.track if told else None))
    return out


def count_switches(track: Sequence[tuple[float, str, int | None]]) -> tuple[int, float]:
    """(switches, seconds) of one person: (time, method, the track that was painted) of frames in order.

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
