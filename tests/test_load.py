from __future__ import annotations

from anonymizer.load import Level, Load


def run(load: Load, start: float, seconds: float, worked: float, dropped: bool = False) -> float:
    """25 pictures a second, each taking ``worked`` seconds. Returns the time afterwards."""
    for index in range(round(seconds * 25)):
        load.note(start + index / 25, worked, 0.04, dropped)
    return start + seconds


def test_nothing_is_given_up_while_there_is_time() -> None:
    load = Load()
    run(load, 0, 60, 0.03)
    assert load.level is Level.FULL


def test_levels_are_taken_one_after_the_other() -> None:
    load, seen = Load(), []
    for index in range(25 * 20):
        level = load.note(index / 25, 0.08, 0.04, False)
        if level not in seen:
            seen.append(level)
    assert seen == list(Level)


def test_dropped_frames_count_as_overload() -> None:
    load = Load()
    run(load, 0, 2, 0.01, dropped=True)
    assert load.level > Level.FULL


def test_a_level_is_left_after_patience() -> None:
    load = Load()
    now = run(load, 0, 2.5, 0.08)
    taken = load.level
    assert taken > Level.FULL
    now = run(load, now, 9, 0.01)
    assert load.level is taken
    run(load, now, 15 * taken, 0.01)
    assert load.level is Level.FULL


def test_a_level_that_has_to_be_taken_again_is_kept_longer() -> None:
    load, now, changes = Load(), 0.0, 0
    before = load.level
    for _ in range(25 * 600):
        now += 0.04
        worked = 0.08 if load.level is Level.FULL else 0.01  # full quality never fits, the next level easily does
        level = load.note(now, worked, 0.04, False)
        changes += level is not before
        before = level
    assert changes <= 16
