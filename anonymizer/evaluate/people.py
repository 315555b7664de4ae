"""``evaluate reidentify --people FOLDER``: photographs of known people, each anonymised as a clip of its own.

A folder for each person, with two pictures or more. A still is shown for a few frames and the stages start afresh after
it, so that every picture is a new track, as on another day. Nothing is encoded: an attacker sees the best there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np

from anonymizer import boxes
from anonymizer.assembly import pipeline
from anonymizer.config import Config
from anonymizer.errors import SourceError
from anonymizer.evaluate import attack, identity, plot, reidentify
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.identity import Sample, greyed
from anonymizer.evaluate.scene import FLOOR, MISSED, REPORTED, Reference
from anonymizer.faces.detectors import Detector
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import F32, U8, Box, Frame
from anonymizer.ingest.picture import Picture
from anonymizer.policy import Action, Policy, RuleSet, Scope, Treatment

SIDE = 200
"""Pixels of the longer side to which pictures are brought, so that faces are as high as a camera's near ones."""

PAD = 0.25
"""Repeated border around a picture, as a share of its side: crops that are all face are no scene."""

_T = TypeVar("_T")

SHOWN = 2  # frames for which a still is shown: a weak face must be seen twice
_PICTURES = (".jpg", ".jpeg", ".png", ".pgm", ".webp", ".bmp")
METHODS = ("replace", "solid", "pixelate", "blur", "silhouette")
"""What the parrot attack is tried on."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One picture of one person, padded. box and points: the largest face's, as the judging detector sees it."""

    who: str
    order: int
    picture: U8
    box: Box
    points: F32


def read(folder: Path, detector: Detector, *, most: int | None = None, seed: int = 0, each: int = 4) -> list[Photo]:
    """At most ``each`` pictures of at most ``most`` people drawn at random, those on which a face is found.

    SourceError where the folder holds no people.
    """
    try:
        people = sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise SourceError(
            f"{folder}: cannot be read ({error.strerror}); give a folder with one folder a person"
        ) from error
    photos = []
    for person in some(people, most, seed):
        found = 0
        for path in sorted(p for p in person.iterdir() if p.suffix.lower() in _PICTURES):
            photo = _photo(person.name, found, path, detector)
            if photo is not None and found < each:
                photos.append(photo)
                found += 1
    if not photos:
        raise SourceError(f"{folder}: no pictures with faces in it; give a folder with one folder a person")
    return photos


def some(everyone: Sequence[_T], most: int | None, seed: int) -> list[_T]:
    """At most so many of them, drawn at random, in their order."""
    if most is None or most >= len(everyone):
        return list(everyone)
    chosen = np.random.default_rng(seed).choice(len(everyone), most, replace=False)
    return [everyone[i] for i in sorted(chosen)]


def prepared(path: Path) -> U8:
    """The picture, BGR, scaled to SIDE and padded; both sides even. SourceError where it is none."""
    raw = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if raw is None:
        raise SourceError(f"{path}: is no picture that can be read")
    scale = SIDE / max(raw.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = max(2, round(raw.shape[1] * scale)), max(2, round(raw.shape[0] * scale))
    pad = round(PAD * SIDE)
    scaled = cv2.resize(raw, size, interpolation=how)
    right, bottom = pad + size[0] % 2, pad + size[1] % 2
    return np.asarray(cv2.copyMakeBorder(scaled, pad, bottom, pad, right, cv2.BORDER_REPLICATE), np.uint8)


def _photo(who: str, order: int, path: Path, detector: Detector) -> Photo | None:
    picture = prepared(path)
    seen = detector.detect([picture], FLOOR)[0]
    if not len(seen):
        return None
    # The one in the middle is the one that the picture is named after.
    middle = seen.boxes[:, :2] + seen.boxes[:, 2:] / 2 - np.array(picture.shape[1::-1]) / 2
    best = int((np.hypot(*middle.T) - seen.boxes[:, 3] / 2).argmin())
    x, y, w, h = (float(v) for v in seen.boxes[best])
    return Photo(who, order, picture, (x, y, w, h), seen.points[best])


def anonymised(
    photos: Sequence[Photo], config: Config, action: Action, scope: Scope = Scope.TRACK, *, camera: str = "evaluate"
) -> Iterator[tuple[U8, str]]:
    """Each photo after the stages, BGR, and the method that its face was treated with (MISSED where nothing was)."""
    rules = RuleSet(default=Treatment(action=action, identity=scope))
    stages = pipeline(config, Policy(rules, camera), camera=camera, replace=action is Action.REPLACE)
    for number, photo in enumerate(photos):
        done: list[Frame] = []
        for shown in range(SHOWN):
            index = number * SHOWN + shown
            frame = av.VideoFrame.from_ndarray(photo.picture, format="bgr24").reformat(format="yuv420p")
            coded = Picture(frame)
            time = number * 10 + shown / 25
            done += stages.push(Frame(index, index, time, coded.planes(), picture=coded, wall=time))
        done += stages.flush()
        last = done[-1]
        which = boxes.best(photo.box, [face.painted or face.box for face in last.faces], REPORTED)
        yield last.planes.bgr(), MISSED if which is None else last.faces[which].method


def samples(
    photos: Sequence[Photo],
    recognisers: Sequence[Recogniser],
    config: Config,
    action: Action,
    scope: Scope = Scope.TRACK,
    known: Sequence[Sample] | None = None,
) -> list[Sample]:
    """The photos before, after and greyed, embedded. known: earlier samples of the same photos, which spare the work on
    what does not change."""
    out = []
    for i, (photo, (after, method)) in enumerate(zip(photos, anonymised(photos, config, action, scope), strict=True)):
        if known is None:
            pictures = photo.picture, after, greyed(photo.picture, [photo.box])
            points = photo.points[None]
            embeddings = {r.name: np.concatenate([r(one, points) for one in pictures]) for r in recognisers}
            out.append(Sample("", photo.who, photo.order, method, embeddings))
            continue
        embeddings = {}
        for recogniser in recognisers:
            before, _, control = known[i].embeddings[recogniser.name]
            embeddings[recogniser.name] = np.stack([before, recogniser(after, photo.points[None])[0], control])
        out.append(Sample("", photo.who, photo.order, method, embeddings))
    return out


def natural(photos: Sequence[Sample], recognisers: Sequence[Recogniser]) -> dict[str, float]:
    """Each recogniser's threshold at FAR 1e-3 on the untouched photos, where there are enough of them."""
    out = {}
    who = identity.names(photos)
    for recogniser in recognisers:
        threshold = reidentify.natural_threshold(identity.triple(photos, recogniser.name).original, who)
        if threshold is not None:
            out[recogniser.name] = threshold
    return out


def section(
    photos: Sequence[Photo], first: list[Sample], recognisers: Sequence[Recogniser], config: Config,
    reference: Reference, method: Action, *, most: int | None = None, seed: int = 0,
) -> Section:  # fmt: skip
    """All attacks on photographs of known people. first: their samples, treated by ``method``. most: on how many people
    parrots and linkage are tried, which redact anew for every method and release."""
    everyone = sorted({photo.who for photo in photos})
    out = Section(
        "Re-identification of known people",
        f"{len(photos)} photographs of {len(everyone)} people, brought to {SIDE} px and anonymised one by one, each a "
        "new track. A person's first pictures are enrolled, the rest are probes. The control is the same picture "
        "with the face's box filled with grey.",
        over="people",
    )
    for kind, chosen in identity.groups(first).items():
        for recogniser in recognisers:
            identity.tell_frames(out, recogniser.name, kind, chosen, reference.thresholds.get(recogniser.name))
            identity.tell_enrolled(out, recogniser.name, kind, chosen, "a person's first pictures")
            identity.tell_trained(out, recogniser.name, kind, chosen)
    again = set(some(everyone, most, seed))
    kept = [i for i, photo in enumerate(photos) if photo.who in again]
    fewer, known = [photos[i] for i in kept], [first[i] for i in kept]
    replaced = known if method is Action.REPLACE else samples(fewer, recognisers, config, Action.REPLACE, known=known)
    _parrots(out, fewer, recognisers, config, known, {str(method): known, "replace": replaced})
    _releases(out, fewer, recognisers, config, replaced)
    for attacker in ("trained attacker", "parrot attack", "linkage of releases"):
        if rows := out.rows(f"{attacker}, rank-1"):
            out.plots.append(plot.bars(f"{attacker.capitalize()}, rank-1, %", rows, 0, 100))
    identity.diversity(out, recognisers, [s for s in first if s.method == "replace"], reference.portraits, pooled=False)
    return out


def _parrots(
    out: Section, photos: Sequence[Photo], recognisers: Sequence[Recogniser], config: Config, known: list[Sample],
    done: dict[str, list[Sample]],
) -> None:  # fmt: skip
    how = "The recogniser is enrolled on anonymised pictures of the people and asked with others of them."
    for name in METHODS:
        faces = done.get(name) or samples(photos, recognisers, config, Action[name.upper()], known=known)
        who = identity.names(faces)
        first = reidentify.parts(who, np.array([one.order for one in faces]))
        for recogniser in recognisers:
            triple = identity.triple(faces, recogniser.name)
            tried = {name: triple.anonymised}
            if name == METHODS[0]:  # these are the same for all methods
                tried = {"original": triple.original, "control": triple.control, **tried}
            for kind, probes in tried.items():
                found = attack.parrot(probes, who, first)
                if found is not None:
                    of = f"{recogniser.name}, {kind}"
                    identity.tell_known(out, "parrot attack", of, found, how, "enrolled person")


def _releases(
    out: Section, photos: Sequence[Photo], recognisers: Sequence[Recogniser], config: Config, replaced: list[Sample]
) -> None:
    """The same pictures redacted twice, by keys drawn anew: what two days, or two requests, have in common."""
    config = replace(config, identity=replace(config.identity, key=None))
    how = (
        "Two redactions under keys drawn anew, other pictures of a person in each; replaced faces only. Scope enrolled "
        "is for members who consented to be linked, and is not tried."
    )
    for scope in (Scope.TRACK, Scope.CAMERA):
        one = replaced
        if scope is not Scope.TRACK:
            one = samples(photos, recognisers, config, Action.REPLACE, scope, replaced)
        two = samples(photos, recognisers, config, Action.REPLACE, scope, replaced)
        both = [(a, b) for a, b in zip(one, two, strict=True) if a.method == b.method == "replace"]
        # Pictures alternate, so that no picture is compared with itself.
        one, two = [a for a, _ in both if a.order % 2 == 0], [b for _, b in both if b.order % 2 == 1]
        if min(len({face.who for face in side}) for side in (one, two)) < 2:
            continue
        for recogniser in recognisers:
            faces = identity.triple(one, recogniser.name), identity.triple(two, recogniser.name)
            kinds = {f"scope {scope}": [face.anonymised for face in faces]}
            if scope is Scope.TRACK:  # these are the same for all scopes
                kinds = {
                    "original": [face.original for face in faces], "control": [face.control for face in faces], **kinds
                }  # fmt: skip
            for kind, (enrolled, probes) in kinds.items():
                gallery, people = reidentify.enrol(enrolled, identity.names(one))
                known = reidentify.enrolled(probes, identity.names(two), gallery, people)
                of = f"{recogniser.name}, {kind}"
                identity.tell_known(out, "linkage of releases", of, known, how, "person of the other release")


def portraits(
    folder: Path, recognisers: Sequence[Recogniser], detector: Detector, *, most: int = 150
) -> dict[str, F32]:
    """Embeddings (n, d) of some of a folder's portraits, one person each, by recogniser."""
    photos = []
    paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in _PICTURES] if folder.is_dir() else []
    for i in np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int):
        photo = _photo(paths[i].name, 0, paths[i], detector)
        if photo is not None:
            photos.append(photo)
    if len(photos) < 2:
        raise SourceError(f"{folder}: there are no portraits with faces in it")
    return {r.name: np.concatenate([r(p.picture, p.points[None]) for p in photos]) for r in recognisers}
