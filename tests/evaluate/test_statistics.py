"""Thresholds, rates and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.evaluate.statistics import correlation, difference, events, quantile, rate, ratio, threshold_at


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


def test_a_difference_of_the_same_faces_is_surer_than_two_shares() -> None:
    random = np.random.default_rng(4)
    who = np.repeat(np.arange(60), 5)
    easy = (random.random(60) < 0.5)[who]  # who is known at all is known by both attackers
    more = difference(easy | (random.random(300) < 0.02), easy, who)
    alone = rate(easy, who)
    assert more is not None and alone is not None
    assert more.low is not None and more.high is not None and alone.low is not None and alone.high is not None
    assert 0 <= more.low <= more.value <= more.high < 0.05 < alone.high - alone.low
    none = difference(easy, easy, who)
    assert none is not None and (none.value, none.low) == (0, -none.high if none.high else None)


def test_quantiles_weigh_people() -> None:
    values = np.arange(101.0)
    middle = quantile(values, 0.5, np.arange(101))
    assert middle is not None and middle.value == 50 and middle.low is not None and middle.high is not None
    assert 35 < middle.low < 45 and 55 < middle.high < 65
    repeated = quantile(np.repeat([1.0, 2.0, 3.0], 100), 0.5, np.repeat(np.arange(3), 100))
    assert repeated is not None and (repeated.low, repeated.high) == (1, 3)


def test_pairs_depend_on_both_of_their_people() -> None:
    random = np.random.default_rng(5)
    place = random.normal(size=30)
    rows, columns = np.triu_indices(30, 1)
    values = np.abs(place[rows] - place[columns])
    people, alone = quantile(values, 0.5, rows, columns), quantile(values, 0.5, np.arange(len(values)))
    assert people is not None and alone is not None
    assert people.low is not None and people.high is not None and alone.low is not None and alone.high is not None
    assert people.value == alone.value and people.identities == 30
    assert people.high - people.low > 1.5 * (alone.high - alone.low)


def test_events_that_never_happened_leave_the_poisson_bound() -> None:
    none = events(np.zeros(4), np.full(4, 0.5), np.arange(4))
    assert none is not None and none.value == 0 and none.high == pytest.approx(3.689 / 2, abs=0.001)
    some = events(np.array([1, 0, 3, 0]), np.full(4, 0.5), np.arange(4))
    assert some is not None and some.value == 2 and some.low == 0
    assert ratio(np.zeros(0), np.zeros(0), np.zeros(0)) is None
