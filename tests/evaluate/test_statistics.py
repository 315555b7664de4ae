"""Thresholds, rates and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.evaluate.statistics import correlation, rate, threshold_at


def test_a_threshold_lets_the_given_share_of_impostors_through() -> None:
    impostors = np.random.default_rng(1).normal(size=50_000)
    for far in (1e-2, 1e-3):
        threshold = threshold_at(impostors, far)
        assert threshold is not None
        assert far * 0.9 <= (impostors > threshold).mean() <= far


def test_too_few_impostors_set_no_threshold() -> None:
    assert threshold_at(np.zeros(299), 1e-2) is None
    assert threshold_at(np.zeros(300), 1e-2) == 0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    held = 0
    for i in range(200):
        people = random.random(40) * 0.6  # each person's own rate, 0.3 on average
        who = np.repeat(np.arange(40), 10)
        found = rate(random.random(400) < people[who], who, seed=i)
        assert found is not None and found.low is not None and found.high is not None
        held += found.low <= 0.3 <= found.high
    assert held / 200 >= 0.88


def test_more_pictures_of_the_same_people_prove_nothing_more() -> None:
    hits = np.arange(10) < 3
    once = rate(hits, np.arange(10))
    often = rate(np.repeat(hits, 50), np.repeat(np.arange(10), 50))
    assert once is not None and often is not None
    assert once.low is not None and often.low is not None
    assert abs(once.low - often.low) < 0.02 and often.count == 500 and often.identities == 10


@pytest.mark.parametrize("people", [2, 10, 300])
def test_none_of_n_people_leaves_the_exact_bound(people: int) -> None:
    found = rate(np.zeros(people), np.arange(people))
    assert found is not None and found.low == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / people))


def test_one_person_has_no_interval_and_no_values_no_rate() -> None:
    found = rate(np.array([1, 0, 1]), np.zeros(3))
    assert found is not None and found.value == pytest.approx(2 / 3) and found.low is None
    assert rate(np.zeros(0), np.zeros(0)) is None


def test_correlation_looks_along_tracks_and_not_between_them() -> None:
    random = np.random.default_rng(3)
    who = np.repeat(np.arange(20), 30)
    offset = random.normal(size=20)[who] * 100
    a = random.normal(size=600)
    same = correlation(a + offset, 3 * a, who)
    other = correlation(a + offset, random.normal(size=600) + offset, who)
    assert same is not None and same.value == pytest.approx(1, abs=1e-6)
    assert other is not None and other.low is not None and other.high is not None
    assert abs(other.value) < 0.15 and other.low < 0 < other.high
    assert correlation(a, np.ones(600), who) is None
