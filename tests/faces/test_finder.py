"""The finder: every frame comes out once and in order, faces found late are filled in, failures are never silence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.faces.detectors import NOTHING, Detections
from anonymizer.faces.finder import Finder, FinderSettings, Ready
from anonymizer.faces.schedule import ScheduleSettings
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.frame import U8, Frame, Planes

RATE = 25.0


class Squares:
    """Takes each bright blob for a face of that score, unless it is longer than widest times its other side. raising:
    what it raises instead, if anything."""

    name = "squares"

    def __init__(self, score: float = 0.9, widest: float = math.inf) -> None:
        self.score = score
        self.widest = widest
        self.raising: Exception | None = None
        self.sizes: list[tuple[int, int]] = []

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        if self.raising:
            raise self.raising
        self.sizes += [(p.shape[1], p.shape[0]) for p in pictures]
        return [self._one(p) for p in pictures]

    def _one(self, picture: U8) -> Detections:
        _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 1] > 180).astype(np.uint8))
        boxes = stats[1:, :4].astype(np.float32)
        boxes = boxes[boxes[:, 2:].max(1) <= self.widest * boxes[:, 2:].min(1)]
        if not len(boxes):
            return NOTHING
        points = (boxes[:, None, :2] + boxes[:, None, 2:] / 2).repeat(5, 1)
        return Detections(boxes, np.full(len(boxes), self.score, np.float32), points)


def frame(index: int, *squares: tuple[int, int, int], size: tuple[int, int] = (640, 360), time: float = -1) -> Frame:
    """A grey picture with white squares (x, y, side)."""
    luma = np.full((size[1], size[0]), 90, np.uint8)
    for x, y, side in squares:
        luma[y : y + side, x : x + side] = 230
    half = np.full((size[1] // 2, size[0] // 2), 128, np.uint8)
    return Frame(index, index, index / RATE if time < 0 else time, Planes(luma, half, half.copy()))


def run(finder: Finder, frames: Sequence[Frame]) -> list[Ready]:
    out = [ready for f in frames for ready in finder.push(f)]
    return out + finder.flush()


def covers(ready: Ready, x: int, y: int, side: int) -> bool:
    return any(
        f.box[0] <= x and f.box[1] <= y and f.box[0] + f.box[2] >= x + side and f.box[1] + f.box[3] >= y + side
        for f in ready.frame.faces
    )


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("lookahead", [0.0, 0.5])
def test_moving_face_is_covered_in_every_frame(lookahead: float, thorough: bool) -> None:
    places = [(100 + 4 * i, 120, 40) for i in range(50)]
    finder = Finder(Squares(), FinderSettings(lookahead, thorough=thorough))
    out = run(finder, [frame(i, p) for i, p in enumerate(places)])
    assert [r.frame.index for r in out] == list(range(50))
    assert all(not r.blind and covers(r, *p) for r, p in zip(out, places, strict=True))
    assert {f.track for r in out for f in r.frame.faces} == {1}
    assert all(abs(f.seen_at - r.frame.time) <= 0.2 for r in out for f in r.frame.faces)


def test_lookahead_covers_a_face_before_it_was_found() -> None:
    """The face is there from the start, but the detector finds it only after half the frames."""
    for lookahead, expected in ((0.0, False), (0.4, True)):
        detector = Squares(score=0.1)
        finder, out = Finder(detector, FinderSettings(lookahead)), []
        for i in range(40):
            if i == 20:
                detector.score = 0.9
            out += finder.push(frame(i, (300, 100, 40)))
        out += finder.flush()
        assert all(covers(r, 300, 100, 40) for r in out[22:])
        assert not any(r.frame.faces for r in out[:8])
        assert all(covers(r, 300, 100, 40) == expected for r in out[13:18])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from((-1.0, 0.0, 0.01, 0.04, 0.3, 9.0)), st.booleans(), st.booleans()), max_size=40),
    st.sampled_from((0.0, 0.2, 0.5)),
    st.integers(0, 6),
)
def test_every_frame_comes_out_once_and_in_order(
    script: list[tuple[float, bool, bool]], lookahead: float, waiting: int
) -> None:
    """Whatever clock, picture size and detector do: no frame is lost, and few wait."""
    detector = Squares()
    finder = Finder(detector, FinderSettings(lookahead, waiting=waiting))
    time, out = 100.0, []
    for i, (step, small, failing) in enumerate(script):
        time += step
        detector.raising = RuntimeError("no") if failing else None
        size = (160, 96) if small else (320, 176)
        out += finder.push(frame(i, (40, 40, 30), size=size, time=time))
        assert i + 1 - len(out) <= waiting
        if lookahead == 0:
            assert len(out) == i + 1
    out += finder.flush()
    assert [r.frame.index for r in out] == list(range(len(script)))
    for ready, (_, _, failing) in zip(out, script, strict=True):
        assert ready.blind or not failing or ready.frame.faces


@pytest.mark.parametrize("error", [RuntimeError("it fell over"), ValueError("bad shape"), MemoryError("full")])
@pytest.mark.parametrize("lookahead", [0.0, 0.4])
def test_failing_detector_blinds_and_is_recovered_from(lookahead: float, error: Exception) -> None:
    detector = Squares()
    finder, out = Finder(detector, FinderSettings(lookahead)), []
    for i in range(60):
        detector.raising = error if 20 <= i < 40 else None
        out += finder.push(frame(i, (300, 100, 40)))
    out += finder.flush()
    blind = [r.frame.index for r in out if r.blind]
    assert blind == list(range(blind[0], 40))
    assert 20 <= blind[0] <= 24  # frames before it are painted from a look at most 0.2 s old
    assert all(str(error) in r.blind for r in out if r.blind)
    assert all(covers(r, 300, 100, 40) for r in out if not r.blind)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("aspect", [0.5, 1.5, 2.0])
def test_a_picture_is_looked_at_as_it_is_shown(aspect: float, thorough: bool) -> None:
    """Coded pixels that are not square: what is shown as a square is none in the picture."""
    finder = Finder(Squares(widest=1.2), FinderSettings(0.2, thorough=thorough))
    frames = []
    for i in range(30):
        one = frame(i)
        wide, high = (40, round(40 * aspect)) if aspect > 1 else (round(40 / aspect), 40)
        one.planes.y[120 : 120 + high, 100 + 4 * i : 100 + 4 * i + wide] = 230
        one.aspect = aspect
        frames.append(one)
    for i, ready in enumerate(run(finder, frames)):
        (face,) = ready.frame.faces
        x, y, w, h = face.box
        assert x <= 100 + 4 * i + 2 and x + w >= 100 + 4 * i + wide - 2 and y <= 122 and y + h >= 118 + high
        assert w < 2 * wide and h < 2 * high
        assert face.points is None or np.abs(face.points - (x + w / 2, y + h / 2)).max() < 12


def test_detector_that_never_works_blinds_everything() -> None:
    detector = Squares()
    detector.raising = RuntimeError("no")
    assert all(r.blind and not r.frame.faces for r in run(Finder(detector), [frame(i) for i in range(30)]))


def test_failing_second_detector_blinds_too() -> None:
    second = Squares()
    second.raising = RuntimeError("second")
    out = run(Finder(Squares(), FinderSettings(thorough=True), second), [frame(i) for i in range(3)])
    assert ["second" in r.blind for r in out] == [True] * 3


def test_thorough_asks_everybody_at_full_size_and_mirrored() -> None:
    first, second = Squares(), Squares()
    out = run(Finder(first, FinderSettings(thorough=True), second), [frame(i, (500, 40, 30)) for i in range(4)])
    assert first.sizes == second.sizes == [(640, 360)] * 8
    assert all(covers(r, 500, 40, 30) and len(r.frame.faces) == 1 for r in out)


def test_second_detector_rests_otherwise() -> None:
    second = Squares()
    run(Finder(Squares(), FinderSettings(), second), [frame(i) for i in range(4)])
    assert second.sizes == []


def test_photograph_is_looked_at_once_at_full_size() -> None:
    detector = Squares(score=0.4)
    (ready,) = run(Finder(detector), [frame(0, (1000, 500, 30), size=(1600, 900))])
    assert covers(ready, 1000, 500, 30)
    assert detector.sizes == [(1600, 900)]


def test_small_face_is_found_in_a_region_at_full_resolution() -> None:
    """A detector that sees nothing below 12 px: the whole picture is halved, so a face of 16 px needs a closer look."""

    class Coarse(Squares):
        def _one(self, picture: U8) -> Detections:
            found = super()._one(picture)
            return found.take(found.boxes[:, 3] >= 12)

    schedule = ScheduleSettings(size=320, first_size=320)
    frames = [frame(i, (300 + 2 * i, 200, 16)) for i in range(40)]
    out = run(Finder(Coarse(), FinderSettings(schedule=schedule)), frames)
    assert all(covers(r, 300 + 2 * r.frame.index, 200, 16) for r in out[12:])
    without = ScheduleSettings(size=320, first_size=320, regions=0)
    frames = [frame(i, (300 + 2 * i, 200, 16)) for i in range(40)]
    assert not any(r.frame.faces for r in run(Finder(Coarse(), FinderSettings(schedule=without)), frames))


def test_detector_input_can_be_limited_while_running() -> None:
    detector = Squares()
    finder = Finder(detector, FinderSettings(0.0, schedule=ScheduleSettings(regions=0)))
    for i in range(20):
        finder.push(frame(i, size=(1280, 720)))
    assert set(detector.sizes) == {(1280, 720), (960, 540)}
    finder.limit(480)
    detector.sizes.clear()
    for i in range(20, 40):
        finder.push(frame(i, size=(1280, 720)))
    assert set(detector.sizes) == {(480, 270)}


def test_faces_out_of_the_picture_are_left_out() -> None:
    out = run(Finder(Squares()), [frame(i, *([(60 * i, 100, 40)] if i < 10 else [])) for i in range(20)])
    assert all(f.box[0] < 640 for r in out for f in r.frame.faces)
    assert out[-1].frame.faces == []


class Faint(Squares):
    """Its faces score as ``scores`` says for pictures of that width."""

    def __init__(self, scores: dict[int, float]) -> None:
        super().__init__()
        self.scores = scores

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        self.score = self.scores[pictures[0].shape[1]]
        return [found if self.score >= floor else NOTHING for found in super().detect(pictures, floor)]


def by_need(detector: Faint) -> Finder:
    schedule = ScheduleSettings(interval=0.0, still=0.0, size=480, first_size=480, regions=0)
    tracking = TrackerSettings(low=0.05, evidence=0.1)
    return Finder(detector, FinderSettings(by_need=True, schedule=schedule, tracker=tracking))


def test_by_need_nothing_is_looked_at_twice_where_a_glance_sees_nothing() -> None:
    detector = Faint({320: 0.02, 480: 0.9, 640: 0.9})
    run(by_need(detector), [frame(i, (200, 100, 24)) for i in range(20)])
    assert set(detector.sizes) == {(320, 180)}


@pytest.mark.parametrize(("close", "covered"), [(0.2, True), (0.06, False), (0.01, False)])
def test_by_need_the_closer_look_decides_about_faint_small_faces(close: float, covered: bool) -> None:
    """Seen faintly in the smaller picture, the face counts where the larger one confirms it, and not where it does
    not."""
    detector = Faint({320: 0.06, 480: 0.15, 640: close})
    out = run(by_need(detector), [frame(i, (200 + i, 100, 24)) for i in range(40)])
    assert (640, 360) in detector.sizes and all(not ready.blind for ready in out)
    assert all(covers(ready, 200 + i, 100, 24) == covered for i, ready in enumerate(out) if 5 <= i < 35)


def test_by_need_a_sure_face_needs_no_closer_look_to_be_covered() -> None:
    detector = Faint({320: 0.6, 480: 0.9, 640: 0.01})
    out = run(by_need(detector), [frame(i, (200, 100, 24)) for i in range(20)])
    assert all(covers(ready, 200, 100, 24) for ready in out)
