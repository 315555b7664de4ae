"""Painting fails closed: whatever a swapper does, no face that is to be hidden stays as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from anonymizer.frame import Face, Planes
from anonymizer.synthesis import outline
from anonymizer.synthesis.bank import Identity
from anonymizer.synthesis.cast import RETRIES
from anonymizer.synthesis.embedded import EmbeddedSwapper
from anonymizer.synthesis.paint import TRIES, paint
from anonymizer.synthesis.swapper import Drawing, Order
from tests.synthesis.heads import bank, face_of, head, likeness, noise, person


class Flat:
    """Draws one grey over the whole box; ``broken``: tracks for which it does something else."""

    def __init__(
        self, broken: dict[int, Callable[[Order], Drawing]] | None = None, refused: str = "", unfit: int = -1
    ) -> None:
        self.broken, self.refused, self.unfit = broken or {}, refused, unfit
        self.drawn: list[list[int]] = []

    def refusal(self, face: Face) -> str:
        return "unfit" if face.track == self.unfit else self.refused

    def reach(self, face: Face) -> tuple[float, float, float, float]:
        x, y, w, h = face.box
        return x, y, x + w, y + h

    def draw(self, orders: Sequence[Order], time: float) -> list[Drawing]:
        self.drawn.append([order.track for order in orders])
        return [self.broken.get(order.track, grey)(order) for order in orders]


def grey(order: Order, weight: int = 255) -> Drawing:
    planes = order.crop.copy()
    planes.y[:] = 100 + 20 * order.track
    return Drawing(planes, np.full(planes.y.shape, weight, np.uint8))


def raises(order: Order) -> Drawing:
    raise ValueError("no such face")


def wrong_size(order: Order) -> Drawing:
    planes = order.crop.copy()
    return Drawing(Planes(planes.y[:-2], planes.u, planes.v), np.full(planes.y.shape, 255, np.uint8))


def nothing(order: Order) -> Drawing:
    return grey(order, weight=90)


def face(track: int, box: tuple[float, float, float, float], action: str = "replace") -> Face:
    return Face(track, box, 0.9, landmarks=np.zeros((200, 2), np.float32), action=action, margin=0.1)


def top_left(share: float) -> Callable[[Order], Drawing]:
    """Draws a part of the box only."""

    def draw(order: Order) -> Drawing:
        drawing = grey(order)
        h = drawing.weight.shape[0]
        drawing.weight[round(share * h) :] = 0
        return drawing

    return draw


class Anyone:
    """Person 1 for everybody, the next one where another is asked for."""

    def __init__(self) -> None:
        self.asked, self.left = 0, RETRIES
        self.best: tuple[float, Identity] | None = None
        self.shown: Identity | None = None

    def __call__(self, face: Face) -> Identity:
        return self.shown or person(1 + self.asked)

    def free(self, face: Face) -> bool:
        return True

    def another(self, face: Face) -> bool:
        self.asked += self.left > 0
        self.left -= 1
        return self.left >= 0

    def fair(self, face: Face, alike: float) -> None:
        if self.best is None or alike < self.best[0]:
            self.best = alike, self(face)

    def fairest(self, face: Face) -> bool:
        self.shown = None if self.best is None or self.left > 0 else self.best[1]
        return self.shown is not None

    def tried(self, face: Face) -> int:
        return 0

    def since(self, face: Face) -> int | None:
        return None if self.shown is None else 0

    def passed(self, face: Face) -> None:
        pass


anyone = Anyone()


def same(order: Order) -> Drawing:
    """A drawing that is the picture itself."""
    return Drawing(order.crop.copy(), np.full(order.crop.y.shape, 255, np.uint8))


def test_what_a_drawing_leaves_bare_of_the_box_is_blurred() -> None:
    for share, blurred in ((0.9, False), (0.76, True)):
        planes = noise(120, 120)
        before = planes.copy()
        one = face(1, (20, 20, 60, 80))
        assert paint(planes, [one], Flat({1: top_left(share)}), anyone, 0.0) == []
        assert one.method == "replace" and one.painted is not None
        assert (planes.y[20:70, 22:78] == 120).all()
        rest = planes.y[94:100, 20:80] != before.y[94:100, 20:80]
        assert rest.mean() > 0.9 if blurred else rest.mean() == 0
        assert (one.painted[1] + one.painted[3] >= 99) == blurred


@pytest.mark.parametrize("broken", [raises, wrong_size, nothing, top_left(0.4)])
def test_a_face_that_is_not_drawn_is_covered_and_its_neighbours_are_drawn(broken: Callable[[Order], Drawing]) -> None:
    planes = noise(200, 100)
    faces = [face(1, (10, 20, 40, 40)), face(2, (120, 20, 40, 40))]
    (fallback,) = paint(planes, faces, Flat({1: broken}), anyone, 0.0)
    assert fallback.track == 1 and (fallback.error is None) == (broken not in (raises, wrong_size))
    assert [f.method for f in faces] == ["solid", "replace"]
    assert len(np.unique(planes.y[20:60, 10:50])) == 1
    assert (planes.y[20:60, 120:160] == 140).all() and faces[1].painted == (120, 20, 40, 40)


def test_an_identity_that_cannot_be_had_is_a_fallback_too() -> None:
    class Nobody(Anyone):
        def __call__(self, face: Face) -> Identity:
            raise KeyError("cast")

    planes = noise(100, 100)
    faces = [face(1, (10, 20, 40, 40))]
    (fallback,) = paint(planes, faces, Flat(), Nobody(), 0.0)
    assert "KeyError" in fallback.reason and faces[0].method == "solid" and len(np.unique(planes.y[20:60, 10:50])) == 1


@pytest.mark.parametrize("swapper", [None, Flat(refused="too small")])
def test_without_a_swapper_or_when_it_declines_faces_are_covered(swapper: Flat | None) -> None:
    planes = noise(100, 100)
    faces = [face(1, (10, 20, 40, 40))]
    (fallback,) = paint(planes, faces, swapper, anyone, 0.0)
    assert fallback.reason in ("no swapper", "too small") and fallback.error is None
    assert faces[0].method == "solid" and faces[0].painted is not None


def test_keep_changes_nothing_and_the_unknown_is_covered() -> None:
    planes = noise(200, 100)
    before = planes.copy()
    faces = [face(1, (10, 20, 40, 40), "keep"), face(2, (120, 20, 40, 40), "colour it in")]
    assert paint(planes, faces, Flat(), anyone, 0.0) == []
    assert [f.method for f in faces] == ["keep", "solid"] and faces[0].painted is None
    assert np.array_equal(planes.y[:, :90], before.y[:, :90])
    assert len(np.unique(planes.y[20:60, 120:160])) == 1


def test_a_face_found_twice_is_drawn_once_as_the_older_track() -> None:
    planes = noise(200, 100)
    faces = [face(7, (12, 22, 40, 40)), face(3, (10, 20, 42, 40))]
    swapper = Flat()
    assert paint(planes, faces, swapper, anyone, 0.0) == []
    assert swapper.drawn == [[3]]
    assert faces[0].painted == faces[1].painted and faces[0].method == "replace"


def test_twins_of_a_face_that_cannot_be_drawn_are_covered() -> None:
    planes = noise(200, 100)
    faces = [face(7, (12, 22, 40, 40)), face(3, (10, 20, 42, 40))]
    paint(planes, faces, Flat({3: raises}), anyone, 0.0)
    assert [f.method for f in faces] == ["solid", "solid"]


def test_where_faces_overlap_stronger_covers_lie_above_and_none_shows_through() -> None:
    planes = noise(200, 100)
    before = planes.copy()
    faces = [face(1, (20, 20, 50, 50)), face(2, (50, 30, 40, 40), "solid"), face(3, (60, 10, 40, 40), "pixelate")]
    paint(planes, faces, Flat(), anyone, 0.0)
    assert len(np.unique(planes.y[30:70, 50:90])) == 1
    assert (planes.y[20:70, 20:44] == 120).all()
    assert (planes.y[20:70, 20:90] != before.y[20:70, 20:90]).mean() > 0.95


def test_a_face_that_cannot_be_replaced_is_hidden_under_its_neighbours_drawing() -> None:
    planes = noise(200, 100)
    faces = [face(1, (20, 20, 50, 50)), face(2, (50, 30, 40, 40))]
    paint(planes, faces, Flat({2: raises}), anyone, 0.0)
    assert [f.method for f in faces] == ["replace", "solid"]
    assert (planes.y[20:70, 20:70] == 120).all()
    assert len(np.unique(planes.y[30:70, 70:90])) == 1


def test_a_face_that_has_the_landmarks_of_another_is_covered_and_not_drawn() -> None:
    points = np.random.default_rng(0).uniform(0, 40, (200, 2)).astype(np.float32)
    faces = [face(1, (46, 20, 40, 40)), face(2, (22, 20, 40, 40)), face(3, (130, 20, 40, 40))]
    for one, at in zip(faces, ((24, 21), (22, 20), (130, 20)), strict=True):
        one.landmarks = points + np.array(at, np.float32)
    planes, swapper = noise(200, 100), Flat()
    (fallback,) = paint(planes, faces, swapper, anyone, 0.0)
    assert fallback.track == 1 and swapper.drawn == [[2, 3]]
    assert [f.method for f in faces] == ["solid", "replace", "replace"]
    assert (planes.y[20:60, 22:62] == 140).all() and len(np.unique(planes.y[20:60, 62:86])) == 1


def test_all_faces_are_drawn_from_the_untouched_picture() -> None:
    seen: list[np.ndarray] = []

    def copies(order: Order) -> Drawing:
        seen.append(order.crop.y.copy())
        return grey(order)

    planes = noise(200, 100)
    before = planes.copy()
    faces = [face(1, (20, 20, 40, 40)), face(2, (44, 20, 40, 40)), face(3, (30, 24, 60, 30), "solid")]
    paint(planes, faces, Flat({1: copies, 2: copies}), anyone, 0.0)
    assert np.array_equal(seen[0], before.y[20:60, 20:60]) and np.array_equal(seen[1], before.y[20:60, 44:84])


def test_a_drawing_too_like_the_face_is_made_anew_with_somebody_else() -> None:
    planes, cast = noise(100, 100), Anyone()
    one = face(1, (20, 20, 60, 60))
    assert (
        paint(planes, [one], Flat({1: lambda order: same(order) if cast.asked < 2 else grey(order)}), cast, 0.0) == []
    )
    assert one.method == "replace" and cast.asked == 2


class Once(Anyone):
    """Counts frames since the identity passed."""

    def __init__(self) -> None:
        super().__init__()
        self.frame, self.at = 0, -1

    def since(self, face: Face) -> int | None:
        return None if self.at < 0 else self.frame - self.at

    def passed(self, face: Face) -> None:
        self.at = self.frame


@pytest.mark.parametrize(("side", "shown"), [(60, 4), (24, 2)])
def test_an_identity_is_compared_until_it_passes_and_again_later_or_always(side: int, shown: int) -> None:
    cast, methods = Once(), []
    for cast.frame in range(12):
        one = face(1, (20, 20, side, side))
        alike = cast.frame < 2 or cast.frame > 3
        paint(noise(100, 100), [one], Flat({1: same} if alike else None), cast, 0.0)
        methods.append(one.method)
    # It passes in the third and fourth frame alone; of a large face the fourth is not looked at, nor are the next two.
    assert methods == ["solid"] * 2 + ["replace"] * shown + ["solid"] * (10 - shown)


def test_a_face_half_like_the_one_under_it_must_be_of_another_brightness() -> None:
    rng = np.random.default_rng(4)
    for lighter, method in ((0, "solid"), (40, "replace")):
        planes = noise(100, 100)
        planes.y[:] = 100 + rng.integers(-8, 9, planes.y.shape)

        def alike(order: Order, lighter: int = lighter) -> Drawing:
            drawing = grey(order)
            mine = order.crop.y.astype(int) - 100
            drawing.planes.y[:] = 100 + lighter + 0.6 * mine + 0.75 * rng.integers(-8, 9, mine.shape)
            return drawing

        one = face(1, (20, 20, 60, 60))
        paint(planes, [one], Flat({1: alike}), Anyone(), 0.0)
        assert one.method == method


@pytest.mark.parametrize("found", [(0.49, 0.55), (0.64, 0.56), (0.7, 0.9)])
def test_an_identity_that_is_shown_is_kept_where_a_new_one_would_not_be_taken(
    found: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anonymizer.synthesis.paint.likeness", lambda *_: found)
    cast = Once()
    for cast.frame, cast.at, method in ((0, -1, "solid"), (8, 0, "replace"), (16, -1, "solid")):
        one = face(1, (20, 20, 60, 60))
        paint(noise(100, 100), [one], Flat(), cast, 0.0)
        assert one.method == method


@pytest.mark.parametrize("found", [(0.49, 0.49), (0.65, 0.51), (0.8, 1.0)])
def test_an_identity_that_is_shown_is_not_kept_where_the_face_has_hardly_changed(
    found: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anonymizer.synthesis.paint.likeness", lambda *_: found)
    cast = Once()
    cast.frame, cast.at = 8, 0
    one = face(1, (20, 20, 60, 60))
    paint(noise(100, 100), [one], Flat(), cast, 0.0)
    assert one.method == "solid"


def test_of_faces_that_are_all_somewhat_alike_the_least_alike_is_shown() -> None:
    rng = np.random.default_rng(5)
    planes, cast = noise(100, 100), Anyone()
    planes.y[:] = 100 + rng.integers(-8, 9, planes.y.shape)

    def alike(order: Order) -> Drawing:
        share = 0.64 if cast.asked == 3 else 0.68 if cast.asked % 2 else 0.9
        drawing = grey(order)
        mine = order.crop.y.astype(int) - 100
        other = rng.integers(-8, 9, mine.shape)
        drawing.planes.y[:] = np.rint(140 + share * mine + (1 - share**2) ** 0.5 * other)
        return drawing

    one = face(1, (20, 20, 60, 60))
    assert paint(planes, [one], Flat({1: alike}), cast, 0.0) == []
    assert one.method == "replace" and cast.asked == RETRIES
    assert cast.shown is not None and cast.shown.key == person(4).key


def test_a_face_that_everybody_is_too_like_is_covered() -> None:
    planes, cast = noise(100, 100), Anyone()
    one = face(1, (20, 20, 60, 60))
    (fallback,) = paint(planes, [one], Flat({1: same}), cast, 0.0)
    assert "too like" in fallback.reason and one.method == "solid" and cast.asked == RETRIES
    assert len(np.unique(planes.y[25:75, 25:75])) == 1


class Each(Anyone):
    """Knows how often each track was given another, and when one passed."""

    def __init__(self) -> None:
        super().__init__()
        self.tries: Counter[int] = Counter()
        self.found: set[int] = set()

    def another(self, face: Face) -> bool:
        self.tries[face.track] += 1
        self.asked += 1
        return True

    def tried(self, face: Face) -> int:
        return self.tries[face.track]

    def since(self, face: Face) -> int | None:
        return 0 if face.track in self.found else None

    def passed(self, face: Face) -> None:
        self.found.add(face.track)


def test_of_many_new_faces_one_is_given_an_identity_in_a_frame_and_the_others_are_covered() -> None:
    """The first cannot be drawn, the second is like everybody, and nobody waits for them."""
    cast, swapper, methods = Each(), Flat({1: same}, unfit=0), []
    for _ in range(RETRIES // TRIES + 2):
        faces = [face(track, (20 + 60 * track, 20, 50, 50)) for track in (0, 1, 2, 3)]
        fallbacks = paint(noise(300, 100), faces, swapper, cast, 0.0, newcomers=1)
        methods.append("".join("x" if one.method == "replace" else "." for one in faces))
        assert all(one.method == "solid" for one in faces if one.track in {fallback.track for fallback in fallbacks})
    assert methods == ["....", "....", "....", "....", "..x.", "..xx"]
    assert max(map(len, swapper.drawn)) <= 2 + 1


@pytest.mark.parametrize("action", ["replace", "solid", "pixelate", "blur", "silhouette"])
def test_a_painted_face_is_not_like_itself_and_an_unpainted_one_is(action: str) -> None:
    """The check that evaluation makes; without painting it fails."""
    planes, landmarks = head(160)
    before = planes.copy()
    kept, painted = face_of(landmarks, action="keep"), face_of(landmarks, action=action)
    swapper = EmbeddedSwapper(bank().model)
    paint(planes, [kept], swapper, anyone, 0.0)
    assert likeness(before, planes, painted.box) > 0.99
    paint(planes, [painted], swapper, Anyone(), 0.0)
    assert painted.method == action
    assert likeness(before, planes, painted.box) < 0.8


@pytest.mark.parametrize("action", ["replace", "solid", "pixelate", "blur", "silhouette"])
def test_what_changed_lies_where_the_report_says(action: str) -> None:
    planes, landmarks = head(200, noise=6)
    before = planes.copy()
    one = face_of(landmarks, action=action)
    paint(planes, [one], EmbeddedSwapper(bank().model), anyone, 0.0)
    assert one.painted is not None
    changed = np.abs(planes.y.astype(int) - before.y) > 24
    rows, columns = np.nonzero(changed)
    x, y, w, h = one.painted
    # Around a drawn face the picture moves, but nothing is hidden there.
    near = outline.ellipse(landmarks).reach if action == "replace" else (x - 4, y - 4, x + w + 4, y + h + 4)
    assert near[0] <= columns.min() and columns.max() <= near[2] and near[1] <= rows.min() and rows.max() <= near[3]
    assert columns.max() - columns.min() > 0.7 * w and rows.max() - rows.min() > 0.7 * h


def test_faces_are_refined_as_their_rule_says() -> None:
    asked: dict[int, bool] = {}

    def note(order: Order) -> Drawing:
        asked[order.track] = order.refine
        return grey(order)

    faces = [face(1, (10, 10, 40, 50)), face(2, (80, 10, 40, 50))]
    faces[1].enhance = "light"
    paint(noise(160, 90), faces, Flat({1: note, 2: note}), Anyone(), 0.0)
    assert asked == {1: False, 2: True}
