"""``evaluate reidentify`` on clips: embeddings of the same place before and after, and what attackers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluate import attack, plot, reidentify
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.reidentify import Known
from anonymizer.evaluate.scene import MISSED, UNREPORTED, Scene
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import F32, U8, Box

SMALLEST = 40
"""Pixels of height from which recognisers are asked."""

GREY = 128


@dataclass(slots=True)
class Sample:
    """One face before and after, and with its box filled with grey. embeddings: by recogniser, float32 (3, d)."""

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


def sample(
    recognisers: Sequence[Recogniser], who: str, order: int, method: str, pictures: tuple[U8, U8, U8], points: F32
) -> Sample:
    """Embed one face of the pictures before, after and greyed, aligned alike by the original's five points."""
    embeddings = {r.name: np.concatenate([r(picture, points[None]) for picture in pictures]) for r in recognisers}
    return Sample(who, order, method, embeddings)


class Identities:
    """Sees scenes, tells the section on re-identification. natural: thresholds set on natural faces; portraits:
    similarities of different portraits; both by recogniser."""

    def __init__(self, recognisers: Sequence[Recogniser], natural: dict[str, float], portraits: dict[str, F32]) -> None:
        self._recognisers = recognisers
        self._natural, self._portraits = natural, portraits
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
            pictures = scene.before, scene.after, grey
            self.samples.append(
                sample(self._recognisers, subject.who, scene.index, subject.method, pictures, subject.points)
            )

    def section(self) -> Section:
        out = Section(
            "Re-identification in clips",
            "Each face is aligned by its five points in the original, and the same place is taken from the anonymised "
            f"clip. Frontal and half-profile faces of {SMALLEST} px and more. The control is the original with the "
            "known boxes filled with grey: what hair, ears and context give away. Only what exceeds it is the "
            "anonymiser's leak.",
        )
        for recogniser in self._recognisers:
            for kind, chosen in groups(self.samples).items():
                tell_frames(out, recogniser.name, kind, chosen, self._natural.get(recogniser.name))
                tell_enrolled(out, recogniser.name, kind, chosen, "frames of the track's first half")
        diversity(out, self._recognisers, groups(self.samples).get("replaced", []), self._portraits)
        return out


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


def tell_frames(out: Section, recogniser: str, kind: str, chosen: Sequence[Sample], natural: float | None) -> None:
    """The same-frame attack, and its control."""
    faces, who = triple(chosen, recogniser), names(chosen)
    how = "Cosine with the original of the same frame"
    for label, probes in (("", faces.anonymised), (", control", faces.control)):
        of = f"{recogniser}, {kind}{label}"
        if len(np.unique(who)) > 1:
            known = reidentify.same_frame(probes, faces.original, who)
            tell_known(out, "same frame", of, known, f"{how}; threshold on other people's originals.", "original frame")
        if natural is not None:
            out.share(
                "still matching", of, reidentify.still_matching(probes, faces.original, who, natural),
                f"{how} above {natural:.3f} (FAR 1e-3 of natural faces), raised to the FAR 1e-2 of these faces' own "
                "impostors where that is higher.",
            )  # fmt: skip
    if len(np.unique(who)) < 2:
        return
    cosines = [(n, np.einsum("ij,ij->i", p, faces.original)) for n, p in (("anonymised", faces.anonymised),
               ("control", faces.control))]  # fmt: skip
    other = reidentify.between(faces.original, who)
    out.plots.append(
        plot.histogram(f"{recogniser}, {kind}: cosine with the same frame's original",
                       [*cosines, ("different people's originals", other)], -0.5, 1)
    )  # fmt: skip


def tell_enrolled(out: Section, recogniser: str, kind: str, chosen: Sequence[Sample], enrolment: str) -> None:
    """The attack by a gallery of originals; the first half of each person's faces is enrolled."""
    faces, who = triple(chosen, recogniser), names(chosen)
    first = reidentify.parts(who, np.array([one.order for one in chosen]))
    if len(np.unique(who[first])) < 2:
        return
    gallery, known_names = reidentify.enrol(faces.original[first], who[first])
    for label, probes in (("", faces.anonymised), (", control", faces.control), (", original", faces.original)):
        known = reidentify.enrolled(probes[~first], who[~first], gallery, known_names)
        how = f"Against originals enrolled from {enrolment}."
        tell_known(out, "enrolment", f"{recogniser}, {kind}{label}", known, how, "enrolled person")


def tell_trained(out: Section, recogniser: str, kind: str, chosen: Sequence[Sample]) -> None:
    """The attacker that learns, on anonymised and on grey-filled faces."""
    faces, who = triple(chosen, recogniser), names(chosen)
    first = reidentify.parts(who, np.array([one.order for one in chosen]))
    for label, probes in (("", faces.anonymised), (", control", faces.control)):
        known = attack.trained(probes, faces.original, who, first)
        how = "A ridge map to the original's embedding, learned on half of the people, attacks the other half."
        of = f"{recogniser}, {kind}{label}"
        if known is None:
            out.share("trained attacker, rank-1", of, None, f"{how} It needs eight people with two faces each.")
        else:
            tell_known(out, "trained attacker", of, known, how, "enrolled person")


def tell_known(out: Section, name: str, of: str, known: Known, how: str, what: str) -> None:
    for far, rate in known.accepted.items():
        out.share(f"{name}, TAR at FAR {far:g}", of, rate, how)
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
    """Whether different people get different faces. portraits: similarities of different portraits, by recogniser.

    pooled: a person's faces are all of one identity, so that their mean tells more of it; otherwise each is its own.
    """
    for recogniser in recognisers:
        if not replaced:
            continue
        faces, who = triple(replaced, recogniser.name), names(replaced)
        if len(np.unique(who)) < 3:
            continue
        series = []
        for label, embeddings in (("replaced faces", faces.anonymised), ("their originals", faces.original)):
            chosen, people = reidentify.enrol(embeddings, who) if pooled else (embeddings, who)
            series.append((label, reidentify.between(chosen, people)))
        reference = portraits.get(recogniser.name)
        if reference is not None:
            series.append(("portraits", reference))
        for label, values in series:
            of = f"{recogniser.name}, {label}"
            how = f"Cosine between different people's {'mean embeddings' if pooled else 'faces'}, counted in pairs"
            out.figure("diversity, median similarity", of, float(np.median(values)), "", len(values), f"{how}.")
            out.figure("diversity, 95th percentile", of, float(np.quantile(values, 0.95)), "", len(values), f"{how}.")
        out.plots.append(plot.histogram(f"{recogniser.name}: similarity of different people", series, -0.5, 1))
