"""``evaluate utility``: what a picture is still good for: faces, poses, expressions, sharpness, and the rest of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from anonymizer import boxes
from anonymizer.evaluate import expression, pixels, plot
from anonymizer.evaluate.figure import Goal, Section
from anonymizer.evaluate.scene import UNREPORTED, Reference, Scene, Subject, seen
from anonymizer.evaluate.sheet import Sheet
from anonymizer.evaluate.statistics import F64, correlation, quantile, rate, ratio
from anonymizer.faces.alignment import ARCFACE, aligned
from anonymizer.faces.landmarks import Landmarker, crop_at
from anonymizer.faces.pose import pose_of
from anonymizer.frame import F32, U8

SMALLEST = 24
"""Pixels of height from which landmarks are compared."""

LARGE = 48
"""Pixels from which they are reliable: figures of larger faces are given apart."""

FOUND_FROM = 40

FACES, PAINTED = "the faces", "the paint"
_AREAS = {
    FACES: "the known faces, grown by their own size: what was painted elsewhere without need counts",
    PAINTED: "the known faces and all that the report says was painted: what the codec lost",
}

SIDE = 112

ANEW = ", original encoded anew"
"""What figures of the original are called that went through the encoder alone."""

FOUND, LANDMARKS, OPENING = Goal(98, least=True), Goal(5), Goal(0.8, least=True)
"""Replaced faces: found, %; landmark error of large ones, % of the eye distance; correlation of mouth and eyes."""


@dataclass(frozen=True, slots=True)
class _Face:
    who: str
    height: float
    method: str
    before: F32  # (200, 3)
    after: F32
    plain: F32
    sharp: tuple[float, float, float]  # in the same order


class Utility:
    """Sees scenes, tells the section. landmarks: the net's name, for the words."""

    def __init__(self, landmarker: Landmarker, landmarks: str, seed: int = 0) -> None:
        self._landmarker = landmarker
        self._landmarks = landmarks
        self._faces: list[_Face] = []
        self._found: list[tuple[str, str, bool, bool]] = []  # who, method, whether, and in the original encoded anew
        self._outside: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
        self._whole: list[
            tuple[str, bool]
        ] = []  # the clip of each frame with a report, and whether it was covered whole
        self._sheet = Sheet(seed)

    def see(self, scene: Scene) -> None:
        if not scene.first:
            return
        self._rest(scene)
        self._sheet.see(scene)
        required = [s for s in scene.subjects if s.known.required and s.detected is not None and s.points is not None]
        for subject in required:
            if subject.known.box[3] >= FOUND_FROM:
                box = subject.known.box
                self._found.append((subject.who, subject.method, seen(box, scene.found), seen(box, scene.found_plain)))
        compared = [s for s in required if s.known.box[3] >= SMALLEST and s.known.pose != "profile"]
        if not compared:
            return
        crops = [crop_at(s.detected, s.points) for s in compared if s.detected is not None]
        planes = scene.original, scene.anonymised, scene.plain
        before, after, plain = (self._landmarker.at(one, crops) for one in planes)
        for i, subject in enumerate(compared):
            if before.presence[i] >= 0.5:
                self._faces.append(
                    _Face(subject.who, subject.known.box[3], subject.method, before.solid[i], after.solid[i],
                          plain.solid[i], _sharpness(scene, subject))
                )  # fmt: skip

    def _rest(self, scene: Scene) -> None:
        """The picture outside the known faces, grown by their size; and outside all that was painted as well."""
        if scene.done is not None:
            self._whole.append((scene.clip.name, scene.done.whole))
            if scene.done.whole:
                return
        places = [boxes.grown(s.known.box, 1.0) for s in scene.subjects]
        areas = {FACES: places}
        if scene.done is not None:
            areas[PAINTED] = [*places, *(boxes.grown(face.box, 0.25) for face in scene.done.faces)]
        for name, chosen in areas.items():
            away = boxes.mask(chosen, scene.original.width, scene.original.height)
            measured = pixels.elsewhere(scene.original.y, scene.anonymised.y, away)
            codec = pixels.elsewhere(scene.original.y, scene.plain.y, away)
            if measured is not None and codec is not None:
                self._outside[name, scene.clip.name].append((*measured, codec[0]))

    def section(self, reference: Reference) -> Section:
        out = Section(
            "Utility",
            f"What remains useful. Landmarks by {self._landmarks}, from the same crop in both clips; frontal and "
            f"half-profile faces of {SMALLEST} px and more. What is said of the original encoded anew is the codec's "
            "and the judge's own noise: no anonymiser can do better.",
        )
        for kind in sorted({method for _, method, _, _ in self._found}):
            chosen = [one for one in self._found if one[1] == kind]
            who = np.array([one[0] for one in chosen])
            of = f"{word(kind)}, {FOUND_FROM} px and more"
            for i, label, goal in ((2, of, FOUND if kind == "replace" else None), (3, of + ANEW, None)):
                out.share(
                    "still found", label, rate(np.array([one[i] for one in chosen]), who),
                    "The judging detector sees a face at the same place.", goal,
                )  # fmt: skip
        for kind in sorted({face.method for face in self._faces}):
            faces = [face for face in self._faces if face.method == kind]
            if kind in ("replace", UNREPORTED):
                large = [face for face in faces if face.height >= LARGE]
                _expressions(out, word(kind), faces)
                _expressions(out, f"{word(kind)}, {LARGE} px and more", large)
            _sharp(out, word(kind), faces)
        if self._whole:
            clips, whole = (np.array(column) for column in zip(*self._whole, strict=True))
            how = "Frames of which nothing is left; figures of the rest of the picture leave them out."
            out.number("covered whole", "frames", rate(whole, clips), how, "%", 100, over="clips")
        for area in _AREAS:
            self._areas(out, area)
        out.sheets = self._sheet.sheets()
        return out

    def _areas(self, out: Section, area: str) -> None:
        """What became of the rest of the picture, in the mean of clips and in the worst one."""
        means = {clip: np.mean(rows, 0) for (name, clip), rows in self._outside.items() if name == area}
        if not means:
            return
        clips, (squared, shifted, codec) = np.array(list(means)), np.array(list(means.values())).T
        ours, plain = (10 * np.log10(255**2 / np.maximum(v, 1e-9)) for v in (squared, codec))
        count = sum(len(rows) for (name, _), rows in self._outside.items() if name == area)
        worst, moved = int(np.argmin(ours - plain)), int(np.argmax(shifted))
        how = f"Luma outside {_AREAS[area]}; frames covered whole are left out. Mean over clips."
        for of, values in (("all clips", ours), (f"all clips{ANEW}", plain), ("lost against that", plain - ours)):
            mean = ratio(values, np.ones(len(clips)), clips, count=count)
            out.number(f"outside {area}, PSNR", of, mean, how, "dB", over="clips")
        out.figure(
            f"outside {area}, PSNR", f"lost against that, at worst: {clips[worst]}", float((plain - ours)[worst]), "dB",
            len(self._outside[area, clips[worst]]), how,
        )  # fmt: skip
        how += f" Blocks of {pixels.BLOCK} px whose mean moved by more than {pixels.SHIFTED} grey levels: codecs keep "
        how += "means."
        name = f"outside {area}, changed blocks"
        mean = ratio(shifted, np.ones(len(clips)), clips, count=count)
        out.number(name, "all clips", mean, how, "%", 100, over="clips")
        out.figure(name, f"at worst: {clips[moved]}", 100 * float(shifted[moved]), "%",
                   len(self._outside[area, clips[moved]]), how)  # fmt: skip


def _expressions(out: Section, kind: str, faces: list[_Face]) -> None:
    if not faces:
        return
    who = np.array([face.who for face in faces])
    before = np.stack([face.before for face in faces])
    a = before[:, :, :2]
    large = kind.endswith("more")
    openings = []
    for side, of in (("after", kind), ("plain", kind + ANEW)):
        after = np.stack([getattr(face, side) for face in faces])
        b = after[:, :, :2]
        ours = side == "after" and kind.startswith("replaced")
        apart = expression.distance(a, b)
        how = "Mean distance of brows, eyes, nose and lips between both clips, in parts of the eye distance."
        goal = LANDMARKS if ours and large else None
        out.number("landmark error", f"{of}, mean", ratio(apart, np.ones(len(a)), who), how, "%", 100, goal)
        out.number("landmark error", f"{of}, median", quantile(apart, 0.5, who), how, "%", 100)
        turned = np.abs((pose_of(after) - pose_of(before) + 180) % 360 - 180)
        for axis, name in enumerate(("yaw", "pitch", "roll")):
            found = ratio(turned[:, axis], np.ones(len(a)), who)
            out.number("head pose error", f"{name}, {of}", found, "Mean absolute difference of angles.", "°")
        kinds: tuple[tuple[str, F64, F64], ...] = (
            ("mouth opening", expression.mouth(a), expression.mouth(b)),
            ("eye opening", expression.eyes(a), expression.eyes(b)),
            ("gaze across", expression.gaze(a)[:, 0], expression.gaze(b)[:, 0]),
            ("gaze down", expression.gaze(a)[:, 1], expression.gaze(b)[:, 1]),
        )
        for name, x, y in kinds:
            out.number(
                f"{name}, correlation", of, correlation(x, y, who),
                "Pearson's correlation of both clips along the tracks, each less its track's mean, pooled.",
                goal=OPENING if ours and not large and "opening" in name else None,
            )  # fmt: skip
        openings.append(list(zip(kinds[0][1].tolist(), kinds[0][2].tolist(), strict=True)))
    if not large:
        high = max(0.3, *(max(p) for p in openings[0]))
        out.plots.append(plot.scatter(f"Mouth opening, {kind}", openings[0][:2000], "original", "anonymised", high))


def _sharp(out: Section, kind: str, faces: list[_Face]) -> None:
    before, after, plain = np.array([face.sharp for face in faces]).T
    who = np.array([face.who for face in faces])
    how = "RMS of the aligned face's fine structure, over the original's."
    for of, side in ((kind, after), (kind + ANEW, plain)):
        over = side / np.maximum(before, 1e-6)
        out.number("sharpness", f"{of}, median", quantile(over, 0.5, who), how, "×")
        out.share("sharpness between two thirds and one and a half", of, rate((over > 2 / 3) & (over < 1.5), who), how)


def _sharpness(scene: Scene, subject: Subject) -> tuple[float, float, float]:
    assert subject.points is not None
    planes = scene.original, scene.anonymised, scene.plain
    before, after, plain = (pixels.sharpness(upright(one.y, subject.points)) for one in planes)
    return before, after, plain


def upright(luma: U8, points: F32) -> U8:
    """uint8 (SIDE, SIDE): a face laid on ArcFace's template by five points, (5, 2)."""
    return aligned(luma, points, ARCFACE * np.float32(SIDE / 112), (SIDE, SIDE))


def word(method: str) -> str:
    """A method as figures name it."""
    return "replaced" if method == "replace" else method
