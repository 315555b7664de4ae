"""What is remembered of a track smooths what is measured, and is bounded."""

from __future__ import annotations

import numpy as np

from anonymizer.synthesis.memory import EVERY, Memory, Sharpness, Trace

ONE = (1, b"a")


def trace(value: float) -> Trace:
    return Trace(*(np.full(3, value, np.float32) for _ in range(3)))


def sharpness(value: float) -> Sharpness:
    return Sharpness(np.full(3, value, np.float32), np.full(3, 2 * value, np.float32))


def test_a_jump_is_followed_in_time_and_noise_is_not() -> None:
    memory = Memory(1.0, 8)
    assert memory.blend(ONE, 0.0, trace(0)).gain[0] == 0
    first = memory.blend(ONE, 0.04, trace(1))
    assert 0.1 < first.gain[0] < 0.5 and first.own[0] < first.gain[0] and first.gain.dtype == np.float32
    for step in range(2, 40):
        last = memory.blend(ONE, 0.04 * step, trace(1))
    assert last.gain[0] > 0.99 and 0.2 < last.own[0] < 0.5
    for step in range(40, 160):
        last = memory.blend(ONE, 0.04 * step, trace(1))
    assert last.own[0] > 0.7


def test_a_track_is_forgotten_after_a_gap_and_when_time_runs_back() -> None:
    memory = Memory(1.0, 8)
    memory.blend(ONE, 5.0, trace(0))
    assert memory.blend(ONE, 6.5, trace(1)).gain[0] == 1
    assert memory.blend(ONE, 3.0, trace(0)).gain[0] == 0


def test_sharpness_is_measured_again_after_a_while_and_smoothed() -> None:
    memory = Memory(1.0, 8)
    assert memory.known(ONE, 0.0) is None
    assert memory.measured(ONE, 0.0, sharpness(0)).wanted[0] == 0
    known = memory.known(ONE, EVERY / 2)
    assert known is not None and known.wanted[0] == 0
    assert memory.known(ONE, EVERY) is None and memory.known(ONE, -0.01) is None
    found = memory.measured(ONE, EVERY, sharpness(1))
    assert 0.1 < found.wanted[0] < 0.4 and found.drawn[0] == np.float32(2) * found.wanted[0]
    assert memory.measured(ONE, 3.0, sharpness(1)).wanted[0] == 1


def test_tracks_and_identities_do_not_mix_and_only_so_many_are_kept() -> None:
    memory = Memory(1.0, 3)
    for track in range(5):
        assert memory.blend((track, b"a"), 0.0, trace(track)).gain[0] == track
        memory.measured((track, b"a"), 0.0, sharpness(track))
    assert len(memory) == 3
    assert memory.blend((0, b"a"), 0.01, trace(7)).gain[0] == 7
    assert memory.blend((4, b"b"), 0.01, trace(7)).gain[0] == 7 and memory.known((4, b"b"), 0.01) is None
