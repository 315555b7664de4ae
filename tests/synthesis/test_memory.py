"""What is remembered of a track smooths what is measured, and is bounded."""

from __future__ import annotations

import numpy as np

from anonymizer.synthesis.memory import Memory, Trace


def trace(value: float) -> Trace:
    return Trace(*(np.full(3, value, np.float32) for _ in range(4)))


def test_a_jump_is_followed_in_time_and_noise_is_not() -> None:
    memory = Memory(1.0, 8)
    assert memory.blend(1, 0.0, trace(0)).gain[0] == 0
    first = memory.blend(1, 0.04, trace(1))
    assert 0.1 < first.gain[0] < 0.5 and first.own[0] < first.detail[0] < first.gain[0]
    for step in range(2, 40):
        last = memory.blend(1, 0.04 * step, trace(1))
    assert last.gain[0] > 0.99 and last.own[0] > 0.7


def test_a_track_is_forgotten_after_a_gap_and_when_time_runs_back() -> None:
    memory = Memory(1.0, 8)
    memory.blend(1, 5.0, trace(0))
    assert memory.blend(1, 6.5, trace(1)).gain[0] == 1
    assert memory.blend(1, 3.0, trace(0)).gain[0] == 0


def test_tracks_do_not_mix_and_only_so_many_are_kept() -> None:
    memory = Memory(1.0, 3)
    for track in range(5):
        assert memory.blend(track, 0.0, trace(track)).gain[0] == track
    assert len(memory) == 3
    assert memory.blend(0, 0.01, trace(7)).gain[0] == 7
