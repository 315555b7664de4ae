"""Re-identification on drawn embeddings, where the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.evaluate import attack, reidentify
from anonymizer.evaluate.identity import Identities, Sample, joined
from anonymizer.evaluate.scene import Reference
from anonymizer.faces.recogniser import unit
from anonymizer.frame import F32

PEOPLE, EACH, SIZE = 80, 6, 64
WHO = np.repeat([f"person {i:02}" for i in range(PEOPLE)], EACH)
CLIPS = np.full(len(WHO), "clip")
ORDER = np.tile(np.arange(EACH), PEOPLE)


def drawn(seed: int, spread: float = 0.08) -> F32:
    """Faces of people: a direction for each person, and what changes from picture to picture."""
    random = np.random.default_rng(seed)
    people = unit(random.normal(size=(PEOPLE, SIZE)).astype(np.float32))
    return unit(np.repeat(people, EACH, 0) + random.normal(0, spread, (PEOPLE * EACH, SIZE)).astype("f4"))


def noise(seed: int) -> F32:
    return unit(np.random.default_rng(seed).normal(size=(PEOPLE * EACH, SIZE)).astype(np.float32))


@pytest.fixture(scope="module")
def originals() -> F32:
    return drawn(1)


def test_an_anonymiser_that_does_nothing_is_seen_through(originals: F32) -> None:
    known = reidentify.same_frame(originals, originals, WHO)
    assert all(found is not None and found.value == 1 for found in known.accepted.values())
    assert known.first is not None and known.first.value > 0.99
    first = reidentify.parts(WHO, ORDER)
    gallery, names = reidentify.enrol(originals[first], WHO[first])
    enrolled = reidentify.enrolled(originals[~first], WHO[~first], gallery, names)
    assert enrolled.first is not None and enrolled.first.value > 0.99
    found = enrolled.accepted[1e-3]
    assert found is not None and found.value > 0.95
    assert reidentify.matching(originals, originals, WHO, CLIPS, 0.3).all()


def test_noise_is_at_chance(originals: F32) -> None:
    known = reidentify.same_frame(noise(2), originals, WHO)
    for far, found in known.accepted.items():
        assert found is not None and found.value <= 5 * far
    assert known.first is not None and known.first.value < 0.04
    assert known.chance == pytest.approx(1 / PEOPLE)
    first = reidentify.parts(WHO, ORDER)
    gallery, names = reidentify.enrol(originals[first], WHO[first])
    enrolled = reidentify.enrolled(noise(2)[~first], WHO[~first], gallery, names)
    assert enrolled.first is not None and enrolled.first.value < 0.06


def test_covers_that_all_look_alike_are_no_match_for_their_own_threshold(originals: F32) -> None:
    """One grey face for everyone may be near to many originals: a fixed threshold is fooled, its own is not."""
    grey = np.repeat(unit(originals.mean(0, keepdims=True)), len(WHO), 0)
    fixed = float(np.quantile((grey @ originals.T).ravel(), 0.3))
    naive = (np.einsum("ij,ij->i", grey, originals) > fixed).mean()
    assert naive > 0.6
    assert reidentify.matching(grey, originals, WHO, CLIPS, fixed).mean() < 0.05


def test_enrolment_and_probes_share_no_picture() -> None:
    first = reidentify.parts(np.array(["a"] * 5 + ["b"] + ["c"] * 2), np.array([4, 0, 3, 1, 2, 0, 1, 0]))
    assert first.tolist() == [False, True, False, True, False, False, False, True]


def test_people_who_are_not_enrolled_count_as_impostors_only(originals: F32) -> None:
    enrolled = np.isin(WHO, np.unique(WHO)[:40])
    gallery, names = reidentify.enrol(originals[enrolled], WHO[enrolled])
    known = reidentify.enrolled(originals, WHO, gallery, names)
    assert known.first is not None and known.first.count == enrolled.sum()


def test_similarity_between_people_leaves_out_the_same_person(originals: F32) -> None:
    values = reidentify.similarities(originals, *reidentify.pairs(WHO, most=5000))
    assert len(values) == 5000 and values.max() < 0.7
    assert len(reidentify.pairs(WHO[:EACH])[0]) == 0


def test_a_trained_attacker_learns_a_leak_and_nothing_from_noise() -> None:
    random = np.random.default_rng(6)
    people = random.normal(size=(PEOPLE, 12)).astype(np.float32)
    originals = unit(np.repeat(people, EACH, 0) + random.normal(0, 0.1, (len(WHO), 12)).astype("f4"))
    turn = np.linalg.qr(random.normal(size=(12, 12)))[0].astype(np.float32)
    leaking = unit(originals @ turn + random.normal(0, 0.05, (len(WHO), 12)).astype("f4"))
    first = reidentify.parts(WHO, ORDER)
    gallery, names = reidentify.enrol(originals[first], WHO[first])
    plain = reidentify.enrolled(leaking[~first], WHO[~first], gallery, names)
    known = attack.trained(leaking, originals, WHO, first)
    blind = attack.trained(unit(random.normal(size=(len(WHO), 12)).astype("f4")), originals, WHO, first)
    assert plain.first is not None and plain.first.value < 0.15
    assert known is not None and known.first is not None and known.first.value > 0.8
    assert blind is not None and blind.first is not None and blind.first.value < 0.12
    assert known.first.identities == PEOPLE and known.chance == pytest.approx(2 / PEOPLE)


def test_the_trained_attacker_is_judged_on_people_it_never_saw(originals: F32) -> None:
    student = attack.among(WHO, 0.5, 0)
    assert not set(WHO[student]) & set(WHO[~student])
    assert len(set(WHO[student])) == PEOPLE // 2
    assert attack.trained(originals[:30], originals[:30], WHO[:30], reidentify.parts(WHO[:30], ORDER[:30])) is None


def test_ridge_finds_a_linear_map() -> None:
    random = np.random.default_rng(7)
    x = random.normal(size=(500, 8)).astype(np.float32)
    weights = random.normal(size=(8, 5)).astype(np.float32)
    mapped = attack.ridge(x, x @ weights + 2, 1e-6)(x)
    assert np.einsum("ij,ij->i", mapped, unit(x @ weights + 2)).min() > 0.999


def test_a_parrot_knows_a_mask_that_follows_the_person_and_no_other() -> None:
    first = reidentify.parts(WHO, ORDER)
    follows = attack.parrot(drawn(8), WHO, first)
    fresh = attack.parrot(noise(9), WHO, first)
    assert follows is not None and follows.first is not None and follows.first.value > 0.99
    assert fresh is not None and fresh.first is not None and fresh.first.value < 0.06


def test_one_person_in_two_clips_is_no_impostor_of_himself(originals: F32) -> None:
    """Three people in each of two clips, two of them in both."""
    samples = []
    for clip, people in (("a", (0, 1, 2)), ("b", (1, 2, 3))):
        for person in people:
            for order in range(EACH):
                embedding = np.stack([originals[person * EACH + order]] * 3)
                samples.append(Sample(clip, f"{clip}/{person}", order, "solid", {"net": embedding}))
    joint = joined(samples, {"net": 0.4})
    assert [one.order for one in joint] == [one.order for one in samples]
    assert sorted({one.who for one in joint}) == ["a/0", "a/1", "a/2", "b/3"]
    assert joined(samples, {}) == samples
    assert {one.who for one in joined(samples, {"net": -1.0}) if one.clip == "a"} == {"a/0", "a/1", "a/2"}


def test_one_person_whose_track_breaks_is_no_impostor_of_himself(originals: F32) -> None:
    """A full leak, each person in two tracks one after the other."""

    class Net:
        name = "net"

    def told(thresholds: dict[str, float]) -> dict[str, float | None]:
        identities = Identities([Net()])  # type: ignore[list-item]
        identities.samples = [
            Sample("a", f"{who} {order // 3}", int(order), "replace", {"net": np.stack([face] * 3)})
            for who, order, face in zip(WHO, ORDER, originals, strict=True)
        ]
        figures = identities.section(Reference(thresholds)).figures
        assert len({one.who for one in identities.samples}) == (PEOPLE if thresholds else 2 * PEOPLE)
        return {one.name: one.value for one in figures if one.of == "net, replaced"}

    known = told({"net": 0.6})
    assert known["same frame, TAR at FAR 0.001"] == known["enrolment, TAR at FAR 0.001"] == 100
    broken = np.array([f"{who} {order // 3}" for who, order in zip(WHO[:60], ORDER[:60], strict=True)])
    assert reidentify.matching(originals[:60], originals[:60], broken, CLIPS[:60], 0.6).all()
    unknown = told({})
    assert not any("TAR" in name for name in unknown) and "same frame, rank-1" in unknown
