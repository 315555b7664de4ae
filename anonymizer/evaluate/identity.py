"""``evaluate reidentify`` on clips: embeddings of the same place before and after, and what attackers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluate import attack, plot, reidentify
from anonymizer.evaluate.figure import Goal, Section
from anonymizer.evaluate.reidentify import Known
from anonymizer.evaluate.scene import MISSED, UNREPORTED, Reference, Scene
from anonymizer.evaluate.statistics import difference, quantile, rate
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import F32, U8, Box

SMALLEST = 40
"""Pixels of height from which recognisers are asked."""

GREY = 128

MATCHING, TRAINED = Goal(0.5), Goal(2.0)
"""Points by which replaced faces may be known more often than faces filled with grey."""


@dataclass(slots=True)
class Sample:
    """One face before and after, and with its box filled with grey. clip: whose impostors set its threshold;
    embeddings: by recogniser, float32 (3, d)."""

    clip: str
    who: str
    order: int
    method: str
    embeddings: dict[str, F32]


@dataclass(frozen=True, slots=True)
class Triple:
    """Embeddings of one recogniser, float32 (n, d) each: of the original, the anonymised and the grey-filled faces."""

    original: F32
    anonymised: F32
    control: F32


def greyed(bgr: U8, boxes: Sequence[Box]) -> U8:
    """A copy with the boxes filled: what hair, ears and the rest of the picture give away by themselves."""
    out = bgr.copy()
    for x, y, w, h in boxes:
        cv2.rectangle(out, (int(x), int(y)), (int(x + w), int(y + h)), (GREY, GREY, GREY), -1)
    return out


class Identities:
    """Sees scenes, tells the section on re-identification."""

    def __init__(self, recognisers: Sequence[Recogniser]) -> None:
        self._recognisers = recognisers
        self.samples: list[Sample] = []

    def see(self, scene: Scene) -> None:
        worth = [
            s for s in scene.subjects
            if s.known.required and s.points is not None and s.known.box[3] >= SMALLEST and s.known.pose != "profile"
        ]  # fmt: skip
        if not scene.first or not worth:
            return
        grey = greyed(scene.before, [s.known.box for s in scene.subjects])
        for subject in worth:
            assert subject.points is not None
            embeddings = {
                r.name: np.concatenate([scene.embeddings(r, subject), r(grey, subject.points[None])])
                for r in self._recognisers
            }
            self.samples.append(Sample(scene.clip.name, subject.who, scene.index, subject.method, embeddings))

    def section(self, reference: Reference) -> Section:
        out = Section(
            "Re-identification in clips",
            "Each face is aligned by its five points in the original, and the same place is taken from the anonymised "
            f"clip. Frontal and half-profile faces of {SMALLEST} px and more. The control is the original with the "
            "known boxes filled with grey: what hair, ears and context give away. Only what exceeds it is the "
            "anonymiser's leak. Tracks count as one person where all recognisers take their originals for one, unless "
            "both are in one picture.",
        )
        if not reference.thresholds:
            out.about += (
                " That needs the threshold of natural faces, which --people gives. Without it a person whose track "
                "breaks counts as several, his own impostor: no TAR is told, and rank-1 may be too low."
            )
        self.samples = joined(self.samples, reference.thresholds)
        apart = bool(reference.thresholds)
        for recogniser in self._recognisers:
            for kind, chosen in groups(self.samples).items():
                tell_frames(out, recogniser.name, kind, chosen, reference.thresholds.get(recogniser.name), apart)
                tell_enrolled(out, recogniser.name, kind, chosen, "frames of the track's first half", apart)
        if rows := out.rows("same frame, still matching"):
            out.plots.append(plot.bars("Same frame, still matching, %", rows, 0, 20))
        diversity(out, self._recognisers, groups(self.samples).get("replaced", []), reference.portraits)
        return out


def joined(samples: Sequence[Sample], thresholds: dict[str, float]) -> list[Sample]:
    """The samples with one name for the tracks whose mean originals every recogniser takes for one person, by its
    threshold of natural faces: they are no impostors of each other. Tracks that share a picture are two people's."""
    if not thresholds or not samples:
        return list(samples)
    tracks = names(samples)
    pictures: dict[str, set[tuple[str, int]]] = {}
    for one in samples:
        pictures.setdefault(one.who, set()).add((one.clip, one.order))
    same: np.ndarray | None = None
    for recogniser, threshold in thresholds.items():
        means, people = reidentify.enrol(triple(samples, recogniser).original, tracks)
        alike = means @ means.T > threshold
        same = alike if same is None else same & alike
    assert same is not None
    first: dict[str, str] = {}
    for i, name in enumerate(people):
        known = dict.fromkeys(first[other] for j, other in enumerate(people[:i]) if same[i, j])
        first[name] = next((person for person in known if not pictures[person] & pictures[name]), name)
        pictures[first[name]] |= pictures[name]
    return [replace(one, who=first[one.who]) for one in samples]


_KINDS = {"replace": "replaced", "keep": "kept", MISSED: MISSED, UNREPORTED: UNREPORTED}


def groups(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Faces by what was done to them: replaced, covered by any cover, kept, missed or unreported; and all together."""
    out: dict[str, list[Sample]] = {}
    for one in samples:
        out.setdefault(_KINDS.get(one.method, "covered"), []).append(one)
    if len(out) != 1:
        out["all"] = list(samples)
    return {kind: chosen for kind, chosen in out.items() if chosen}


def triple(samples: Sequence[Sample], recogniser: str) -> Triple:
    stacked = np.stack([one.embeddings[recogniser] for one in samples])
    return Triple(stacked[:, 0], stacked[:, 1], stacked[:, 2])


def names(samples: Sequence[Sample]) -> NDArray[np.str_]:
    return np.array([one.who for one in samples])


def tell_frames(
    out: Section, recogniser: str, kind: str, chosen: Sequence[Sample], natural: float | None, apart: bool = True
) -> None:
    """The same-frame attack, and its control. apart: see ``tell_known``."""
    faces, who = triple(chosen, recogniser), names(chosen)
    clips = np.array([one.clip for one in chosen])
    several = len(np.unique(who)) > 1
    matched = []
    for label, probes in (("", faces.anonymised), (", control", faces.control)):
        of = f"{recogniser}, {kind}{label}"
        if several:
            known = reidentify.same_frame(probes, faces.original, who)
            how = "Cosine with the original of the same frame; the threshold is set on other people's originals."
            tell_known(out, "same frame", of, known, how, "original of another frame", apart)
        if natural is not None:
            matched.append(reidentify.matching(probes, faces.original, who, clips, natural))
            out.share(
                "same frame, still matching", of, rate(matched[-1], who),
                "Cosine with the original of the same frame above the threshold of FAR 1e-3 among natural faces, or of "
                "FAR 1e-2 among the clip's own impostors where that is higher.",
            )  # fmt: skip
    if matched:
        out.number(
            "same frame, still matching more than the control", f"{recogniser}, {kind}",
            difference(matched[0], matched[1], who), "The same, less the control's share.", "points", 100,
            goal=MATCHING if kind == "replaced" else None,
        )  # fmt: skip
    if several:
        cosines = [(n, np.einsum("ij,ij->i", p, faces.original)) for n, p in (("anonymised", faces.anonymised),
                   ("control", faces.control))]  # fmt: skip
        other = reidentify.similarities(faces.original, *reidentify.pairs(who))
        title = f"{recogniser}, {kind}: cosine with the same frame's original"
        out.plots.append(plot.histogram(title, [*cosines, ("different people's originals", other)], -0.5, 1))


def tell_enrolled(
    out: Section, recogniser: str, kind: str, chosen: Sequence[Sample], enrolment: str, apart: bool = True
) -> None:
    """The attack by a gallery of originals; the first half of each person's faces is enrolled. apart: see
    ``tell_known``."""
    faces, who = triple(chosen, recogniser), names(chosen)
    first = reidentify.parts(who, np.array([one.order for one in chosen]))
    if len(np.unique(who[first])) < 2:
        return
    gallery, known_names = reidentify.enrol(faces.original[first], who[first])
    for label, probes in (("", faces.anonymised), (", control", faces.control), (", original", faces.original)):
        known = reidentify.enrolled(probes[~first], who[~first], gallery, known_names)
        how = f"Against originals enrolled from {enrolment}."
        tell_known(out, "enrolment", f"{recogniser}, {kind}{label}", known, how, "enrolled person", apart)


def tell_trained(out: Section, recogniser: str, kind: str, chosen: Sequence[Sample]) -> None:
    """The attacker that learns, on anonymised and on grey-filled faces."""
    faces, who = triple(chosen, recogniser), names(chosen)
    first = reidentify.parts(who, np.array([one.order for one in chosen]))
    how = "A ridge map to the original's embedding, learned on half of the people, attacks the other half it never saw."
    found = []
    for label, probes in (("", faces.anonymised), (", control", faces.control)):
        known = attack.trained(probes, faces.original, who, first)
        if known is None:
            how += " It needs eight people with two faces each."
            out.share("trained attacker, rank-1", f"{recogniser}, {kind}", None, how)
            return
        found.append(known)
        tell_known(out, "trained attacker", f"{recogniser}, {kind}{label}", known, how, "enrolled person")
    anonymised, control = found
    out.number(
        "trained attacker, rank-1 above the control", f"{recogniser}, {kind}",
        difference(anonymised.hits, control.hits, anonymised.who),
        "The same, less its rank-1 on faces filled with grey, on which it learned anew.", "points", 100,
        goal=TRAINED if kind == "replaced" else None,
    )  # fmt: skip


def tell_known(out: Section, name: str, of: str, known: Known, how: str, what: str, apart: bool = True) -> None:
    """apart: whether different names are different people; no TAR is told where they need not be."""
    for far, accepted in known.accepted.items() if apart else ():
        out.share(f"{name}, TAR at FAR {far:g}", of, accepted, how)
    if known.first is not None:
        out.share(
            f"{name}, rank-1", of, known.first, f"{how} Nearest {what} is the right one; chance {known.chance:.1%}."
        )


def diversity(
    out: Section,
    recognisers: Sequence[Recogniser],
    replaced: Sequence[Sample],
    portraits: dict[str, F32],
    *,
    pooled: bool = True,
) -> None:
    """Whether different people get different faces. portraits: embeddings of portraits, by recogniser.

    pooled: a person's faces are all of one identity, so that their mean tells more of it; otherwise each is its own.
    """
    for recogniser in recognisers:
        if not replaced:
            continue
        faces, who = triple(replaced, recogniser.name), names(replaced)
        if len(np.unique(who)) < 3:
            continue
        groups = [("replaced faces", faces.anonymised, who), ("their originals", faces.original, who)]
        if recogniser.name in portraits:
            known = portraits[recogniser.name]
            groups.append(("portraits", known, np.array([f"portrait {i}" for i in range(len(known))])))
        series, medians = [], []
        how = f"Cosine between different people's {'mean embeddings' if pooled else 'faces'}, counted in pairs."
        for label, faces_of, whose in groups:
            embeddings, people = reidentify.enrol(faces_of, whose) if pooled else (faces_of, whose)
            rows, columns = reidentify.pairs(people)
            values = reidentify.similarities(embeddings, rows, columns)
            series.append((label, values))
            of = f"{recogniser.name}, {label}"
            for name, share in (("median similarity", 0.5), ("95th percentile", 0.95)):
                found = quantile(values, share, people[rows], people[columns])
                out.number(f"diversity, {name}", of, found, how)
            medians.append(float(np.median(values)))
        if len(medians) == 3:
            out.figure(
                "diversity, median similarity above the portraits'", recogniser.name, medians[0] - medians[2], "",
                len(series[0][1]), f"{how} Less the same of portraits, one person each.",
            )  # fmt: skip
        out.plots.append(plot.histogram(f"{recogniser.name}: similarity of different people", series, -0.5, 1))
