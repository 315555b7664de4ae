"""``evaluate utility``: what a picture is still good for: faces, poses, expressions, sharpness, and the rest of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from anonymizer.evaluate import boxes, expression, pixels, plot
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.scene import UNREPORTED, Scene, Subject
from anonymizer.evaluate.sheet import Sheet
from anonymizer.evaluate.statistics import F64, Rate, correlation, rate
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


@dataclass(frozen=True, slots=True)
class _Face:
    who: str
    height: float
    method: str
    before: F32  # (200, 3)
    after: F32
    sharp: tuple[float, float]


class Utility:
    """Sees scenes, tells the section. landmarks: the net's name, for the words."""

    def __init__(self, landmarker: Landmarker, landmarks: str, seed: int = 0) -> None:
        self._landmarker = landmarker
        self._landmarks = landmarks
        self._faces: list[_Face] = []
        self._found: list[tuple[str, str, bool]] = []  # who, method, whether
        self._outside: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        self._sheet = Sheet(seed)

    def see(self, scene: Scene) -> None:
        if not scene.first:
            return
        self._rest(scene)
        self._sheet.see(scene)
        required = [s for s in scene.subjects if s.known.required and s.detected is not None and s.points is not None]
        for subject in required:
            if subject.known.box[3] >= FOUND_FROM:
                self._found.append((subject.who, subject.method, scene.still_found(subject.known.box)))
        compared = [s for s in required if s.known.box[3] >= SMALLEST and s.known.pose != "profile"]
        if not compared:
            return
        crops = [crop_at(s.detected, s.points) for s in compared if s.detected is not None]
        before = self._landmarker.at(scene.original, crops)
        after = self._landmarker.at(scene.anonymised, crops)
        for i, subject in enumerate(compared):
            if before.presence[i] >= 0.5:
                self._faces.append(
                    _Face(subject.who, subject.known.box[3], subject.method, before.solid[i], after.solid[i],
                          _sharpness(scene, subject))
                )  # fmt: skip

    def _rest(self, scene: Scene) -> None:
        """The picture outside the known faces, grown by their size; and outside all that was painted as well."""
        if scene.done is not None and scene.done.whole:
            return
        places = [boxes.grown(s.known.box, 1.0) for s in scene.subjects]
        areas = {FACES: places}
        if scene.done is not None:
            areas[PAINTED] = [*places, *(boxes.grown(face.box, 0.25) for face in scene.done.faces)]
        for name, chosen in areas.items():
            away = boxes.mask(chosen, scene.original.width, scene.original.height)
            measured = pixels.elsewhere(scene.original.y, scene.anonymised.y, away)
            if measured is not None:
                self._outside[scene.clip.name, name].append(measured)

    def section(self) -> Section:
        out = Section(
            "Utility",
            "What remains useful. Landmarks of both clips by "
            f"{self._landmarks}, from the same crop; frontal and half-profile faces of {SMALLEST} px and more.",
        )
        for kind in sorted({method for _, method, _ in self._found}):
            chosen = [(who, hit) for who, method, hit in self._found if method == kind]
            out.share(
                "still found", f"{_word(kind)}, {FOUND_FROM} px and more",
                rate(np.array([hit for _, hit in chosen]), np.array([who for who, _ in chosen])),
                "The judging detector sees a face at the same place of the anonymised picture.",
            )  # fmt: skip
        for kind in sorted({face.method for face in self._faces}):
            faces = [face for face in self._faces if face.method == kind]
            if kind in ("replace", UNREPORTED):
                _expressions(out, _word(kind), faces)
            _sharp(out, _word(kind), faces)
        for (clip, area), measured in self._outside.items():
            squared, shifted = np.mean(measured, 0)
            psnr = float(10 * np.log10(255**2 / max(float(squared), 1e-9)))
            how = f"Luma outside {_AREAS[area]}"
            out.figure(f"outside {area}, PSNR", clip, psnr, "dB", len(measured), f"{how}.")
            how += f": blocks of {pixels.BLOCK} px whose mean moved by more than {pixels.SHIFTED} grey levels"
            blocks = 100 * float(shifted)
            out.figure(
                f"outside {area}, changed blocks", clip, blocks, "%", len(measured), f"{how}. Codecs keep means."
            )
        out.sheets = self._sheet.sheets()
        return out


def _expressions(out: Section, kind: str, faces: list[_Face]) -> None:
    for of, chosen in ((kind, faces), (f"{kind}, {LARGE} px and more", [f for f in faces if f.height >= LARGE])):
        if not chosen:
            continue
        who = np.array([face.who for face in chosen])
        before, after = (np.stack([getattr(face, side) for face in chosen]) for side in ("before", "after"))
        a, b = before[:, :, :2], after[:, :, :2]
        out.share(
            "landmark error, of the eye distance", of, rate(expression.distance(a, b), who),
            "Mean distance of brows, eyes, nose and lips between both clips.",
        )  # fmt: skip
        middle = 100 * float(np.median(expression.distance(a, b)))
        out.figure("landmark error, median", of, middle, "%", len(a), "The same, median over faces.")
        turned = np.abs((pose_of(after) - pose_of(before) + 180) % 360 - 180)
        for axis, name in enumerate(("yaw", "pitch", "roll")):
            out.number(f"head pose error, {name}", of, rate(turned[:, axis], who), "Mean absolute difference.", "°")
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
            )  # fmt: skip
        if of == kind:
            opening = list(zip(kinds[0][1].tolist(), kinds[0][2].tolist(), strict=True))
            high = max(0.3, *(max(p) for p in opening))
            out.plots.append(plot.scatter(f"Mouth opening, {kind}", opening[:2000], "original", "anonymised", high))


def _sharp(out: Section, kind: str, faces: list[_Face]) -> None:
    pairs = np.array([face.sharp for face in faces])
    who = np.array([face.who for face in faces])
    ratio = pairs[:, 1] / np.maximum(pairs[:, 0], 1e-6)
    how = "RMS of the aligned face's fine structure, anonymised over original"
    out.figure("sharpness, median ratio", kind, float(np.median(ratio)), "", len(ratio), f"{how}.")
    match: Rate | None = rate((ratio > 2 / 3) & (ratio < 1.5), who)
    out.share("sharpness within two thirds and one and a half", kind, match, f"{how}.")


def _sharpness(scene: Scene, subject: Subject) -> tuple[float, float]:
    assert subject.points is not None
    before, after = (upright(p.y, subject.points) for p in (scene.original, scene.anonymised))
    return pixels.sharpness(before), pixels.sharpness(after)


def upright(luma: U8, points: F32) -> U8:
    """uint8 (SIDE, SIDE): a face laid on ArcFace's template by five points, (5, 2)."""
    return aligned(luma, points, ARCFACE * np.float32(SIDE / 112), (SIDE, SIDE))


def _word(method: str) -> str:
    return "replaced" if method == "replace" else method
