"""Painting a frame: each face once, as its action says, and solid wherever a replacement fails."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from anonymizer.boxes import intersection, iou, union
from anonymizer.frame import Box, Face, Planes, extent
from anonymizer.synthesis import blend, cover, outline
from anonymizer.synthesis.bank import Identity
from anonymizer.synthesis.cast import RETRIES
from anonymizer.synthesis.likeness import likeness
from anonymizer.synthesis.swapper import Drawing, Order, Swapper

COVERS: dict[str, Callable[[Planes, Box, float], Box | None]] = {
    "blur": cover.blur,
    "pixelate": cover.pixelate,
    "solid": cover.solid,
    "silhouette": cover.silhouette,
}

_INSTEAD = "solid instead"
"""Of a face that was to be replaced and is not. It lies under the drawings of others, which hide it as well, and not
over them: what was no face, a hand, would hide half of one."""

ENOUGH = 0.8
"""A drawing hides at least this share of the face's box, or the whole box is blurred under it."""

LEAST = 0.5
"""A drawing that hides less of the box than this is of something else: the face is covered solid."""

UNLIKE, ALIKE, STILL_ALIKE = 0.55, 0.74, 0.78
"""A drawing that is less like the face under it (``likeness``) than the first is taken at once; else others are tried,
and the least alike is taken if it is below the second. The third holds once an identity has been shown on a track, so
that it does not change without need."""

DIM, UNCHANGED, STILL_UNCHANGED = 0.48, 0.58, 0.52
"""Nor may it be more like the face than DIM while less than UNCHANGED of the pixels changed: a face of the same
brightness is a thin mask. The third holds once an identity has been shown on a track."""

COMPARED, SMALL = 4, 48
"""A face is compared until its identity passes, and then in every so many frames; in every one if its box is less than
SMALL pixels high: a few pixels are soon alike, and soon compared."""

TRIES = 2
"""Other identities tried in a frame where the number of newcomers is limited."""

SAME = 0.55
"""Two boxes to be replaced that overlap by more (intersection over union) are one face, drawn once."""

NEAR = 0.3
"""So are two faces whose landmarks lie nearer to each other than this share of their height: the net sees the one in
front in both boxes. The one whose box they fit less is covered under the drawing."""


class Casting(Protocol):
    """Who is drawn over whom."""

    def __call__(self, face: Face) -> Identity:
        """The identity of a face's track."""
        ...

    def free(self, face: Face) -> bool:
        """Whether the face's track may be given another identity; else its scope has only one."""
        ...

    def another(self, face: Face) -> bool:
        """Give the face's track another identity from now on; False where ``RETRIES`` were tried, or none is free."""
        ...

    def fair(self, face: Face, alike: float) -> None:
        """The track's identity may be shown if no other is less alike."""
        ...

    def fairest(self, face: Face) -> bool:
        """Once ``RETRIES`` were tried: give the track the least alike of the fair ones, which counts as passed. False
        where others are still to be tried, or none was fair; those are tried anew."""
        ...

    def tried(self, face: Face) -> int:
        """How many others the face's track was given."""
        ...

    def since(self, face: Face) -> int | None:
        """How many frames ago the track's identity was last found unlike the face under it; None where it never was."""
        ...

    def passed(self, face: Face) -> None:
        """The track's identity was found unlike the face in this frame."""
        ...


@dataclass(frozen=True, slots=True)
class Fallback:
    """A face that was to be replaced and is covered solid. error: the exception, None where the swapper declined."""

    track: int
    reason: str
    error: Exception | None = None


def paint(
    planes: Planes,
    faces: Sequence[Face],
    swapper: Swapper | None,
    cast: Casting,
    time: float,
    newcomers: int | None = None,
) -> list[Fallback]:
    """Paint the frame's faces on its planes, in place, and set their ``method`` and ``painted``.

    Each face's ``action`` says what happens: ``keep`` leaves it, ``replace`` draws the face of cast(face) over it
    (another one where that is too like the face under it), the others are those of COVERS; anything else counts as
    ``solid``. All replacements are drawn from the untouched picture, then weaker covers are painted, replacements laid
    over, stronger covers last, so that where faces overlap both stay hidden. What a drawing leaves bare of a face's box
    is blurred. In the end the picture around drawn faces is drawn in (``outline``). time: seconds on the camera's
    clock. newcomers: most faces for which an identity is looked for, by ``TRIES`` others a frame, since that takes many
    times as long as to draw one that was found; they are covered solid until it is. No exception of the swapper leaves:
    its face is covered solid, under the drawings of its neighbours, and the reason returned.
    """
    methods = {id(face): face.action if face.action in ("keep", "replace", *COVERS) else "solid" for face in faces}
    wanted = [face for face in faces if methods[id(face)] == "replace"]
    drawings, fallbacks, twins = _draw(planes, wanted, swapper, cast, time, newcomers)
    for face in wanted:
        if id(face) not in drawings and id(face) not in twins:
            methods[id(face)] = _INSTEAD

    # Whoever stands lower in the picture is nearer, and hides those behind.
    by_depth = sorted(faces, key=lambda face: face.box[1] + face.box[3])
    for method in ("blur", "pixelate", _INSTEAD, "replace", "solid", "silhouette"):
        for face in by_depth:
            if methods[id(face)] != method:
                continue
            if method != "replace":
                hide = COVERS["solid" if method == _INSTEAD else method]
                face.painted = hide(planes, face.box, face.margin)
            elif id(face) in drawings:
                placed = drawings[id(face)]
                under = None if placed.enough else cover.blur(planes, face.seen or face.box, 0.0)
                blend.lay(placed.drawing, planes.region(*placed.rectangle))
                face.painted = union(placed.painted, under) if placed.painted and under else placed.painted or under
                face.identity = placed.identity
    kept = {id(face) for face in faces if methods[id(face)] == "keep"}
    apart = [face for face in by_depth if id(face) not in twins]
    for face in apart:
        if id(face) in drawings:
            _draw_in(planes, face, apart, kept)
    for face in faces:
        face.method = "solid" if methods[id(face)] == _INSTEAD else methods[id(face)]
        if id(face) in twins:
            face.painted, face.identity = twins[id(face)].painted, twins[id(face)].identity
    return fallbacks


def _draw_in(planes: Planes, face: Face, faces: Sequence[Face], kept: Collection[int]) -> None:
    """Move what surrounds a drawn face, unless another one overlaps it, or one that is kept is near."""
    assert face.landmarks is not None
    others = [other for other in faces if other is not face]
    if any(intersection(face.box, other.box) for other in others if id(other) not in kept):
        return
    ellipse = outline.ellipse(face.landmarks)
    left, top, right, bottom = ellipse.reach
    around = left, top, right - left, bottom - top
    if not any(intersection(around, other.box) for other in others if id(other) in kept):
        outline.pinch(planes, ellipse)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A drawing, the rectangle (x0, y0, x1, y1) of the picture it belongs to, and where in the picture it hides.
    enough: it hides the box by itself. identity: the key of who is drawn."""

    drawing: Drawing
    rectangle: tuple[int, int, int, int]
    painted: Box | None
    enough: bool
    identity: bytes


def _draw(
    planes: Planes, faces: Sequence[Face], swapper: Swapper | None, cast: Casting, time: float, newcomers: int | None
) -> tuple[dict[int, _Placed], list[Fallback], dict[int, Face]]:
    """Drawings by the face's id; what is to be covered instead; and faces that the drawing of another one hides."""
    if swapper is None:
        return {}, [Fallback(face.track, "no swapper") for face in faces], {}
    single, fallbacks, twins = _sorted_out(faces, swapper, cast, newcomers)
    results = _attempt(planes, single, swapper, cast, time)
    for left in range(RETRIES if newcomers is None else TRIES, -1, -1):
        wrong = [i for i, result in enumerate(results) if result == _TOO_ALIKE or isinstance(result, _Fair)][:newcomers]
        for i in wrong:
            if isinstance(fair := results[i], _Fair):
                cast.fair(single[i], fair.alike)
        again = [i for i in wrong if left and cast.another(single[i])] or [i for i in wrong if cast.fairest(single[i])]
        if not again:
            break
        for i, result in zip(again, _attempt(planes, [single[i] for i in again], swapper, cast, time), strict=True):
            results[i] = result
    drawings: dict[int, _Placed] = {}
    for face, result in zip(single, results, strict=True):
        if isinstance(result, _Placed):
            drawings[id(face)] = result
        elif isinstance(result, Exception):
            fallbacks.append(Fallback(face.track, f"not drawn: {type(result).__name__}: {result}", result))
        else:
            fallbacks.append(Fallback(face.track, _UNCHOSEN if isinstance(result, _Fair) else result))
    return drawings, fallbacks, {key: twin for key, twin in twins.items() if id(twin) in drawings}


def _sorted_out(
    faces: Sequence[Face], swapper: Swapper, cast: Casting, newcomers: int | None
) -> tuple[list[Face], list[Fallback], dict[int, Face]]:
    """The faces to draw; what is to be covered without trying; and by its id, each face that is one of the first."""
    single: list[Face] = []
    twins: dict[int, Face] = {}
    # The older track first: of two boxes on one face the same one is drawn from frame to frame.
    for face in sorted(faces, key=lambda face: face.track):
        twin = next((other for other in single if iou(other.box, face.box) > SAME), None)
        if twin is None:
            single.append(face)
        else:
            twins[id(face)] = twin
    borrowed = _borrowed(single)
    single = _without(single, borrowed)
    waiting = [] if newcomers is None else _newcomers(single, swapper, cast)[newcomers:]
    fallbacks = [Fallback(face.track, _BORROWED) for face in borrowed]
    fallbacks += [Fallback(face.track, _UNCHOSEN) for face in waiting]
    return _without(single, waiting), fallbacks, twins


def _newcomers(faces: Sequence[Face], swapper: Swapper, cast: Casting) -> list[Face]:
    """Faces that can be drawn and whose identity is still to be found. Those that were given fewest come first, nobody
    waits for a face that everybody is too like; but what was begun is ended."""

    def fit(face: Face) -> bool:
        try:
            return cast.since(face) is None and not swapper.refusal(face)
        except Exception:  # told when it is to be drawn
            return True

    def turn(face: Face) -> tuple[int, int]:
        rounds, begun = divmod(cast.tried(face), RETRIES)
        return rounds, -begun

    return sorted(filter(fit, faces), key=turn)


@dataclass(frozen=True, slots=True)
class _Fair:
    """A drawing that may be shown if no other is less alike."""

    alike: float


_TOO_ALIKE = "every face tried was too like the one under it"
_UNCHOSEN = "its face is still to be chosen"
_BORROWED = "landmarks of another face"


def _attempt(
    planes: Planes, faces: Sequence[Face], swapper: Swapper, cast: Casting, time: float
) -> list[_Placed | _Fair | str | Exception]:
    """For each face its drawing, why it is declined, or what went wrong.

    The one place where a swapper's exceptions are caught: whatever they are, the face is covered. If a batch fails, its
    faces are drawn one by one, so that only those are lost that cannot be drawn.
    """
    try:
        return _batch(planes, faces, swapper, cast, time)
    except Exception as error:
        if len(faces) == 1:
            return [error]
    return [_attempt(planes, [face], swapper, cast, time)[0] for face in faces]


def _batch(
    planes: Planes, faces: Sequence[Face], swapper: Swapper, cast: Casting, time: float
) -> list[_Placed | _Fair | str | Exception]:
    results: list[_Placed | _Fair | str | Exception] = [swapper.refusal(face) for face in faces]
    chosen = [i for i, refused in enumerate(results) if not refused]
    rectangles, orders = [], []
    for i in chosen:
        face = faces[i]
        if face.landmarks is None:
            raise ValueError("a face without landmarks was not declined")
        rectangle = planes.clip(*swapper.reach(face))
        shifted = face.landmarks - np.array(rectangle[:2], np.float32)
        rectangles.append(rectangle)
        refine = face.enhance == "light"
        orders.append(Order(planes.region(*rectangle), shifted, face.pose, cast(face), face.track, refine))
    drawings = swapper.draw(orders, time)
    for i, order, drawing, rectangle in zip(chosen, orders, drawings, rectangles, strict=True):
        results[i] = _placed(faces[i], order, drawing, rectangle, planes, cast)
    return results


def _placed(
    face: Face, order: Order, drawing: Drawing, rectangle: tuple[int, int, int, int], planes: Planes, cast: Casting
) -> _Placed | _Fair | str:
    """The drawing if it may be shown, or why not. ValueError where it is not of the crop's shape."""
    crop, drawn = order.crop, drawing.planes
    shapes = [plane.shape for plane in (drawn.y, drawn.u, drawn.v, drawing.weight)]
    if shapes != [crop.y.shape, crop.u.shape, crop.v.shape, crop.y.shape]:
        raise ValueError(f"a drawing of {shapes} for a crop of {crop.y.shape}")
    box = face.seen or face.box
    painted = _bounds(drawing, *rectangle[:2])
    hidden = _share(box, painted, planes)
    if hidden < LEAST:
        return f"only {hidden:.0%} of the face hidden"
    placed = _Placed(drawing, rectangle, painted, hidden >= ENOUGH, order.identity.key)
    since = cast.since(face)
    if since is not None and since < COMPARED and box[3] >= SMALL:
        return placed
    inner = box[0] - rectangle[0], box[1] - rectangle[1], box[2], box[3]
    alike, changed = likeness(crop.y, drawn.y, drawing.weight, inner)
    most, unchanged = (ALIKE, UNCHANGED) if since is None else (STILL_ALIKE, STILL_UNCHANGED)
    if alike > most or (alike > DIM and changed < unchanged):
        return _TOO_ALIKE
    if since is None and alike > UNLIKE and cast.free(face):
        return _Fair(alike)
    cast.passed(face)
    return placed


def _bounds(drawing: Drawing, x0: int, y0: int) -> Box | None:
    """Where the drawing's weight is one half or more, in pixels of the picture."""
    x, y, w, h = cv2.boundingRect((drawing.weight >= 128).view(np.uint8))
    return (float(x0 + x), float(y0 + y), float(w), float(h)) if w and h else None


def _share(box: Box, hidden: Box | None, planes: Planes) -> float:
    """How much of the box, as far as it lies in the picture, the rectangle hides."""
    x, y, w, h = box
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(planes.width, x + w), min(planes.height, y + h)
    area = max(0.0, right - left) * max(0.0, bottom - top)
    if hidden is None or area == 0:
        return 0.0
    a, b, c, d = hidden
    return max(0.0, min(right, a + c) - max(left, a)) * max(0.0, min(bottom, b + d) - max(top, b)) / area


def _without(faces: list[Face], others: list[Face]) -> list[Face]:
    return [face for face in faces if not any(face is other for other in others)]


def _borrowed(faces: list[Face]) -> list[Face]:
    """Those whose landmarks are another's, who fits them better."""
    borrowed = []
    for one, other in itertools.combinations(faces, 2):
        if one.landmarks is None or other.landmarks is None or not iou(one.box, other.box):
            continue
        a, b = extent(one.landmarks), extent(other.landmarks)
        apart = math.hypot(a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[3] / 2 - b[1] - b[3] / 2)
        if apart < NEAR * min(a[3], b[3]):
            # Of two that fit as well the older track is drawn; it comes first.
            borrowed.append(one if iou(one.seen or one.box, a) < iou(other.seen or other.box, b) else other)
    return borrowed
