"""The tracker keeps faces covered: between, before and after their sightings, whatever the order of things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.faces.detectors import Detections, overlaps, suppress
from anonymizer.faces.tracker import Tracker, TrackerSettings
from anonymizer.frame import Box, Face

Seen = tuple[float, float, float, float]  # centre x, y, size, score
STEP = 0.12
S = TrackerSettings()


def found(faces: Sequence[Seen]) -> Detections:
    boxes = np.array([(x - size / 2, y - size / 2, size, size) for x, y, size, _ in faces], np.float32)
    points = boxes.reshape(-1, 4)[:, None, :2].repeat(5, 1)
    return Detections(boxes.reshape(-1, 4), np.array([s for *_, s in faces], np.float32), points)


def box(x: float, y: float, size: float) -> Box:
    return x - size / 2, y - size / 2, size, size


def hidden(face: Box, faces: Sequence[Face]) -> float:
    """Share of the box that the faces' boxes hide, on a grid of 40 × 40 samples."""
    x, y = (face[i] + face[i + 2] * (np.arange(40) + 0.5) / 40 for i in (0, 1))
    under = np.zeros((40, 40), bool)
    for left, top, width, height in (f.box for f in faces):
        under |= ((top <= y) & (y <= top + height))[:, None] & ((left <= x) & (x <= left + width))[None]
    return float(under.mean())


def test_interpolates_between_sightings() -> None:
    tracker = Tracker()
    tracker.update(0.0, found([(100, 100, 40, 0.9)]))
    tracker.update(0.2, found([(120, 110, 50, 0.9)]))
    (face,) = tracker.faces(0.1)
    assert face.seen == pytest.approx((110 - 22.5, 105 - 22.5, 45, 45))
    assert face.points is not None
    assert np.allclose(face.points, 110 - 22.5, atol=10)
    assert face.seen_at == 0.2


def test_the_cover_of_a_moving_face_grows_the_way_it_moves() -> None:
    tracker = Tracker()
    for i in range(5):
        tracker.update(i * STEP, found([(100 + 30 * i, 150, 50, 0.9)]))
    (known,), (guessed,) = tracker.faces(4 * STEP), tracker.faces(4 * STEP + 0.2)
    wider, higher = guessed.box[2] / known.box[2], guessed.box[3] / known.box[3]
    assert wider > 1.4 and 1.05 < higher < 1.15


@pytest.mark.parametrize("nod", [0.4, 0.8])
def test_what_is_seen_is_covered_where_it_is_seen(nod: float) -> None:
    """A head that nods fast, looked at in every frame: a smooth line misses it."""
    tracker, size = Tracker(TrackerSettings(margin=0.0)), 60
    places = [(300.0, 200 + nod * size * np.sin(2 * np.pi * 3 * i / 25)) for i in range(50)]
    for i, (x, y) in enumerate(places):
        tracker.update(i / 25, found([(x, y, size, 0.9)]))
    for i, (x, y) in enumerate(places):
        assert hidden(box(x, y, size), tracker.faces(i / 25)) == 1


@pytest.mark.parametrize(("size", "looks", "held"), [(60, 3, True), (80, 2, True), (80, 3, False)])
def test_a_large_face_that_was_looked_for_in_vain_is_held_for_less(size: float, looks: int, held: bool) -> None:
    tracker = Tracker()
    for i in range(4):
        tracker.update(i * STEP, found([(200, 150, size, 0.9)]))
    last = 3 * STEP
    for i in range(looks):
        tracker.update(last + (i + 1) * STEP, found([]))
    assert tracker.faces(last + 0.14)
    assert bool(tracker.faces(last + 0.2)) is held


@pytest.mark.parametrize(("times", "held"), [(4, False), (5, True)])
def test_many_fair_sightings_are_as_good_as_a_sure_one(times: int, held: bool) -> None:
    tracker = Tracker()
    for i in range(times):
        tracker.update(i * STEP, found([(200, 150, 30, 0.55)]))
    assert bool(tracker.faces((times - 1) * STEP + S.hold - 0.01)) is held


@settings(deadline=None)
@given(st.floats(0, 0.25), st.floats(0.8, 0.99), st.integers(1, 12))
def test_proven_face_is_covered_through_its_hold(after: float, score: float, times: int) -> None:
    tracker = Tracker()
    for i in range(times):
        tracker.update(i * STEP, found([(200, 150, 30, score)]))
    last = (times - 1) * STEP
    for i in range(1, 4):
        tracker.update(last + i * STEP, found([]))
        assert hidden(box(200, 150, 30), tracker.faces(last + min(after, S.hold))) == pytest.approx(1)
    assert tracker.faces(last + S.hold + 0.01) == []


@settings(deadline=None)
@given(st.floats(0, 0.49), st.floats(-60, 60), st.floats(-60, 60))
def test_late_found_face_is_covered_backwards(before: float, vx: float, vy: float) -> None:
    """A face that moves evenly, first found at 1 s, is covered before."""
    tracker = Tracker()
    for i in range(4):
        t = 1 + i * STEP
        tracker.update(t, found([(300 + vx * t, 300 + vy * t, 30, 0.9)]))
    t = 1 - before
    assert hidden(box(300 + vx * t, 300 + vy * t, 30), tracker.faces(t)) >= 0.8
    assert tracker.faces(1 - S.backfill - 0.01) == []


@pytest.mark.parametrize(
    ("size", "score", "times", "before"),
    [(80, 0.6, 2, S.hold), (80, 0.6, 3, S.backfill), (80, 0.9, 2, S.backfill), (60, 0.6, 2, S.backfill)],
)
def test_a_large_face_in_doubt_was_not_there_for_long(size: float, score: float, times: int, before: float) -> None:
    tracker = Tracker()
    for i in range(times):
        tracker.update(1 + i * STEP, found([(200, 150, size, score)]))
    assert tracker.faces(1 - before + 0.01)
    assert not tracker.faces(1 - before - 0.01)


PRINT = [(0.0, 170, 0.28), (0.13, 0, 0.0), (0.27, 170, 0.44), (0.3, 110, 0.61), (0.4, 140, 0.31)]
"""Time, size and score of a skull printed on a sweater, before which hands move, at five looks."""


def printed(size: float = 1.0) -> Tracker:
    tracker = Tracker()
    for time, side, score in PRINT:
        tracker.update(1 + time, found([(300, 250, size * side, score)] if side else []))
    return tracker


def test_a_large_face_of_a_moment_is_not_followed_far_through_faint_sightings() -> None:
    tracker = printed()
    assert tracker.faces(1.27) and tracker.faces(1.27 - S.hold + 0.01)
    assert not tracker.faces(1.0) and not tracker.faces(1.27 - S.hold - 0.01)
    assert printed(0.3).faces(1.0 - S.backfill + 0.01)  # small faces are faint, and come and go


def test_a_large_face_of_a_moment_is_followed_through_faint_sightings_just_before() -> None:
    tracker = Tracker()
    for time, score in ((1.0, 0.28), (1.12, 0.44), (1.16, 0.61)):
        tracker.update(time, found([(300, 250, 170, score)]))
    assert tracker.faces(1.0 - S.hold + 0.01)


@pytest.mark.parametrize("score", [0.31, 0.9])
def test_a_large_face_that_stays_or_is_sure_is_followed_through_faint_sightings(score: float) -> None:
    tracker = printed()
    tracker.update(1.5, found([(300, 250, 140, score)]))
    assert tracker.faces(1.0 - S.backfill + 0.01)


def test_weak_sightings_count_once_the_face_is_proven() -> None:
    """Too weak to begin a track, they still show where a proven face came from."""
    tracker = Tracker()
    tracker.update(0.0, found([(100, 100, 30, 0.3)]))
    tracker.update(0.1, found([(120, 100, 30, 0.3)]))
    assert tracker.faces(0.1) == []
    tracker.update(0.2, found([(140, 100, 30, 0.9)]))
    (face,) = tracker.faces(0.0)
    assert face.seen == pytest.approx(box(100, 100, 30))


def test_weak_face_is_covered_until_it_is_refuted() -> None:
    tracker = Tracker()
    tracker.update(0.0, found([(100, 100, 30, 0.4)]))
    assert len(tracker.faces(0.0)) == 1
    tracker.update(0.04, found([]))
    assert len(tracker.faces(0.0)) == 1
    tracker.update(0.08, found([]), looked=[(300, 300, 50, 50)])  # looks elsewhere: says nothing
    assert len(tracker.faces(0.0)) == 1
    tracker.update(0.12, found([]), looked=[(50, 50, 100, 100)])
    assert tracker.faces(0.0) == []


def test_sure_face_is_never_refuted() -> None:
    tracker = Tracker()
    tracker.update(0.0, found([(100, 100, 30, 0.9)]))
    for i in range(1, 6):
        tracker.update(i * 0.04, found([]))
    assert len(tracker.faces(0.2)) == 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 3), min_size=2, max_size=12), st.floats(-200, 200))
def test_boxes_only_grow_with_time(times: list[float], velocity: float) -> None:
    tracker = Tracker()
    for i in range(4):
        tracker.update(i * STEP, found([(500 + velocity * i * STEP, 100, 40, 0.9)]))
    (track,) = tracker.tracks
    for side in (1, -1):
        origin = track.last if side > 0 else track.first
        widths = [tracker.box_at(track, origin + side * t)[2] for t in sorted(times)]
        assert widths == sorted(widths)
        assert widths[0] >= 40 * (1 + 2 * S.margin) - 1e-6


scenes = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from((24, 40)), st.integers(20, 99)), max_size=6
    ),
    min_size=1,
    max_size=6,
)


def unrolled(scene: list[list[tuple[int, int, int, int]]]) -> list[list[Seen]]:
    return [[(x * 33.0 + y * 7, y * 29.0, float(size), s / 100) for x, y, size, s in faces] for faces in scene]


@settings(deadline=None)
@given(scenes, st.randoms())
def test_order_of_detections_does_not_matter(scene: list[list[tuple[int, int, int, int]]], random: object) -> None:
    one, other = Tracker(), Tracker()
    for i, faces in enumerate(unrolled(scene)):
        shuffled = list(faces)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        one.update(i * STEP, found(faces))
        other.update(i * STEP, found(shuffled))
    for i in range(2 * len(scene)):
        a, b = one.faces(i * STEP / 2), other.faces(i * STEP / 2)
        assert [(f.track, f.box, f.score) for f in a] == [(f.track, f.box, f.score) for f in b]


@settings(deadline=None)
@given(scenes)
def test_numbers_are_unique_and_sure_detections_covered(scene: list[list[tuple[int, int, int, int]]]) -> None:
    """At every pass each sure detection is hidden at once, and no number stands twice."""
    tracker, ended = Tracker(), set()
    before: set[int] = set()
    for i, faces in enumerate(unrolled(scene)):
        seen = suppress(found(faces))
        tracker.update(i * STEP, seen)
        shown = tracker.faces(i * STEP)
        numbers = {t.number for t in tracker.tracks}
        assert len(numbers) == len(tracker.tracks)
        assert not numbers & ended
        ended |= before - numbers
        before = numbers
        assert len({f.track for f in shown}) == len(shown)
        for x, y, w, h in seen.boxes[seen.scores >= S.sure].tolist():
            assert hidden((x, y, w, h), shown) >= 0.8


@settings(deadline=None)
@given(st.floats(50, 250), st.floats(0, 30), st.floats(0, 0.2))
def test_crossing_faces_stay_covered(speed: float, lower: float, phase: float) -> None:
    """Two faces walk through each other; while they overlap the detector sees the nearer one only."""
    tracker = Tracker()
    path = [(i * STEP, 100 + speed * (i * STEP + phase), 500 - speed * (i * STEP + phase)) for i in range(60)]
    path = [p for p in path if p[1] < 700 and p[2] > -100]
    for t, a, b in path:
        faces = [(a, 200, 50, 0.9), (b, 200 + lower, 50, 0.85)]
        union, _ = overlaps(*(found([f]).boxes for f in faces))
        tracker.update(t, found(faces[:1] if union[0, 0] > 0.2 else faces))
    end = path[-1][0]
    for t in np.arange(0, end, 0.04):
        shown = tracker.faces(float(t))
        assert hidden(box(100 + speed * (t + phase), 200, 50), shown) >= 0.8
        assert hidden(box(500 - speed * (t + phase), 200 + lower, 50), shown) >= 0.8
    assert len(tracker.tracks) <= 3


def test_fast_face_keeps_its_number() -> None:
    """Six face sizes a second, as of somebody who walks past a near camera."""
    tracker = Tracker()
    for i in range(8):
        tracker.update(i * STEP, found([(50 + 240 * i * STEP, 100, 40, 0.9)]))
    assert [t.number for t in tracker.tracks] == [1]


def test_face_lost_for_a_second_keeps_its_number() -> None:
    tracker = Tracker()
    for i in (*range(5), *range(13, 16)):
        tracker.update(i * STEP, found([(100 + 5 * i, 100, 40, 0.9)]))
    assert [t.number for t in tracker.tracks] == [1]
    assert len(tracker.faces(8 * STEP)) == 1  # interpolated through the gap


def test_guess_under_a_known_face_is_not_shown_twice() -> None:
    """One walks behind another and is not seen there: what is guessed of it lies under the other's box."""
    tracker = Tracker(TrackerSettings(hold=1.0))
    for i in range(4):
        tracker.update(i * STEP, found([(100, 100, 40, 0.9), (175 - 15 * i, 100, 40, 0.9)]))
    for i in range(4, 7):
        tracker.update(i * STEP, found([(100, 100, 40, 0.9)]))
    assert len(tracker.tracks) == 2
    assert [f.track for f in tracker.faces(6 * STEP)] == [1]


def test_forgetting_changes_nothing_that_is_still_asked_for() -> None:
    keeps, forgets = Tracker(), Tracker()
    for i in range(60):
        t = i * 0.1
        seen = found([(100 + 20 * t, 100, 40, 0.9)] if i < 40 else [])
        for tracker in (keeps, forgets):
            tracker.update(t, seen)
        forgets.forget(t - 0.5)
        a, b = keeps.faces(t - 0.5), forgets.faces(t - 0.5)
        assert [(f.track, f.box) for f in a] == [(f.track, f.box) for f in b]
        assert sum(len(track.sightings) for track in forgets.tracks) <= 20
    forgets.forget(6.0)
    assert forgets.tracks == []


def test_restart_gives_new_numbers() -> None:
    tracker = Tracker()
    tracker.update(5.0, found([(100, 100, 40, 0.9)]))
    tracker.restart()
    tracker.update(0.0, found([(100, 100, 40, 0.9)]))
    assert [f.track for f in tracker.faces(0.0)] == [2]


FAINT = TrackerSettings(low=0.05, evidence=0.05, faint=(0.1, 0.5, 0.2))


def faintly(seen: Sequence[bool], settings: TrackerSettings = FAINT, score: float = 0.1) -> Tracker:
    """A small face that drives by, found in those of the passes, 25 a second."""
    tracker = Tracker(settings)
    for i, there in enumerate(seen):
        tracker.update(i / 25, found([(100 + 4 * i, 80, 16, score)] if there else []))
    return tracker


def test_what_is_faint_counts_once_it_is_evident() -> None:
    """From its first sighting on; a single one, a few, or flickering ones are no face."""
    tracker = faintly([True] * 12)
    for i in range(12):
        assert hidden(box(100 + 4 * i, 80, 16), tracker.faces(i / 25)) == pytest.approx(1)
    for seen in ([True], [True] * 6, [True, False, False] * 8):
        assert not faintly(seen).faces(0.0) and not faintly(seen).faces((len(seen) - 1) / 25)
    assert len(faintly([True, True, False] * 5).faces(0.4)) == 1


@pytest.mark.parametrize(("score", "share"), [(0.05, 1.0), (0.425, 0.5), (0.8, 0.0), (1.0, 0.0)])
def test_the_fainter_the_larger(score: float, share: float) -> None:
    (face,) = faintly([True] * 12, score=score).faces(6 / 25)
    beside, above, below = (FAINT.margin + share * part for part in FAINT.faint)
    side = 16 * (0.5 + beside), 16 * (0.5 + above), 16 * (1 + 2 * beside), 16 * (1 + above + below)
    assert face.box == pytest.approx((124 - side[0], 80 - side[1], *side[2:]), abs=0.01)


def test_what_is_faint_was_there_before_as_long_as_it_is_held_after() -> None:
    tracker = faintly([False] * 10 + [True] * 15)
    covered = [at for at in range(35) if hidden(box(100 + 4 * at, 80, 16), tracker.faces(at / 25)) > 0.99]
    assert covered == list(range(10 - 3, 25 + 3))


def test_what_is_faint_counts_for_nothing_without_evidence() -> None:
    assert not faintly([True] * 30, TrackerSettings(low=0.05)).faces(0.5)
    assert not faintly([True, False] * 15, TrackerSettings(low=0.05, evidence=0.06)).faces(0.5)  # its mean is 0.05


def test_sizes_never_run_out_in_a_gap() -> None:
    """A shrinking box before a gap, and none for a while: the line through what is near does not lead below nothing."""
    tracker = Tracker()
    for i in range(6):
        tracker.update(i / 25, found([(100, 100, 60 - 9 * i, 0.9)]))
    tracker.update(0.9, found([(100, 100, 20, 0.9)]))
    for i in range(24):
        assert all(min(face.seen[2:]) > 10 for face in tracker.faces(i / 25) if face.seen)
