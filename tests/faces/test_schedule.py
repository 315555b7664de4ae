"""The schedule: never too long without a look at the whole picture, and closer looks where they are due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.faces.schedule import Schedule, ScheduleSettings, Wish

GREY = np.full((1080, 1920), 120, np.uint8)


def moved(x: int, y: int, step: int) -> np.ndarray:
    luma = GREY.copy()
    luma[y : y + 60, x + 10 * step : x + 10 * step + 60] = 220
    return luma


@settings(deadline=None)
@given(st.lists(st.floats(0.005, 0.5), min_size=1, max_size=40))
def test_no_frame_rests_on_a_look_older_than_a_fifth_of_a_second(steps: list[float]) -> None:
    """At an even rate; where the rate falters, the first late frame is looked at."""
    for step in steps:
        schedule, time, last = Schedule(64, 48), 10.0, -1.0
        for _ in range(12):
            if schedule.plan(time, GREY[:48, :64], []).whole:
                last = time
            assert time - last <= 0.2 + 1e-6
            time += step


def test_late_frame_is_looked_at() -> None:
    schedule = Schedule(64, 48)
    for time in (0.0, 0.04, 0.08):
        schedule.plan(time, GREY[:48, :64], [])
    assert schedule.plan(0.9, GREY[:48, :64], []).whole


def test_first_look_is_at_full_size() -> None:
    schedule = Schedule(1920, 1080)
    assert schedule.plan(0.0, GREY, []).whole == (1920, 1080)
    sizes = {schedule.plan(i * 0.04, GREY, []).whole for i in range(1, 12)}
    assert sizes == {None, (960, 540)}


def test_small_pictures_are_not_enlarged() -> None:
    assert Schedule(450, 344).plan(0.0, GREY[:344, :450], []).whole == (450, 344)


def test_movement_hastens_the_next_look() -> None:
    def looks(pictures: list[np.ndarray]) -> int:
        schedule = Schedule(1920, 1080)
        return sum(bool(schedule.plan(i / 50, p, []).whole) for i, p in enumerate(pictures))

    assert looks([moved(300, 300, i) for i in range(50)]) > looks([GREY] * 50)


def test_another_picture_is_looked_at_whole_at_once() -> None:
    schedule = Schedule(1920, 1080)
    other = np.random.default_rng(1).integers(0, 255, GREY.shape, np.uint8)
    other[:, 1200:] = 120
    assert schedule.plan(0.0, GREY, []).whole
    assert not schedule.plan(0.04, GREY, []).whole
    assert schedule.plan(0.08, other, []).whole
    assert not schedule.plan(0.12, other, []).whole


def test_noise_is_not_taken_for_another_picture() -> None:
    schedule, rng = Schedule(1920, 1080), np.random.default_rng(1)
    pictures = [np.clip(GREY + rng.normal(0, 25, GREY.shape), 0, 255).astype(np.uint8) for _ in range(3)]
    looks = [bool(schedule.plan(i / 25, pictures[i % 3], []).whole) for i in range(50)]
    assert sum(looks[25:]) <= 9


def test_where_something_moved_is_looked_at_next() -> None:
    schedule = Schedule(1920, 1080)
    for i in range(4):
        regions = schedule.plan(i * 0.03, moved(900, 500, i), []).regions
    assert any(x0 <= 950 < x1 and y0 <= 530 < y1 for x0, y0, x1, y1 in regions)


def test_every_place_has_its_turn() -> None:
    schedule = Schedule(1920, 1080)
    seen = np.zeros((1080, 1920), bool)
    for i in range(400):
        for x0, y0, x1, y1 in schedule.plan(i * 0.04, GREY, []).regions:
            seen[y0:y1, x0:x1] = True
    assert seen.all()


@given(
    st.lists(
        st.tuples(st.floats(-50, 2000), st.floats(-50, 1200), st.floats(5, 900), st.floats(0, 5)),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None)
def test_the_most_urgent_face_gets_its_region(faces: list[tuple[float, float, float, float]]) -> None:
    schedule = Schedule(1920, 1080, ScheduleSettings(regions=3))
    schedule.plan(0.0, GREY, [])
    plan = schedule.plan(0.01, GREY, [Wish((x, y, size, size), urgency) for x, y, size, urgency in faces])
    assert 1 <= len(plan.regions) <= 3
    for x0, y0, x1, y1 in plan.regions:
        assert 0 <= x0 < x1 <= 1920 and 0 <= y0 < y1 <= 1080
        assert x0 % 2 == y0 % 2 == 0
    x, y, *_ = max(faces, key=lambda f: f[3])
    x, y = np.clip(x, 0, 1919), np.clip(y, 0, 1079)
    assert any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in plan.regions)


def test_retry_looks_whole_at_once() -> None:
    schedule = Schedule(1920, 1080)
    schedule.plan(0.0, GREY, [])
    schedule.retry()
    assert schedule.plan(0.01, GREY, []).whole == (960, 540)


@pytest.mark.parametrize("size", [320, 640])
def test_size_can_be_lowered_while_running(size: int) -> None:
    schedule = Schedule(1920, 1080)
    schedule.size = size
    assert schedule.plan(0.0, GREY, []).whole == (size, size * 9 // 16)


def test_squares_around_faces_hold_them_and_their_neighbours() -> None:
    schedule = Schedule(1280, 720)
    faces = [
        (400.0, 300.0, 20.0, 24.0),
        (440.0, 310.0, 18.0, 20.0),
        (1270.0, 10.0, 16.0, 16.0),
        (800.0, 400.0, 72.0, 72.0),
    ]
    squares = schedule.around(faces)
    assert len(squares) == 3  # the second face lies in the first one's square
    for x, y, width, height in faces:
        assert any(
            x0 <= max(0, x - width / 2)
            and min(1280, x + width / 2) <= x1
            and y0 <= max(0, y - height / 2)
            and y + height / 2 <= y1
            for x0, y0, x1, y1 in squares
        )
    assert squares[2][2] - squares[2][0] == 320  # the larger the face, the larger
