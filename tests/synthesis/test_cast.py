"""Who plays whom: a track's identity is looked for within bounds, and a shared one is not changed for one face."""

from __future__ import annotations

import numpy as np

from anonymizer.frame import Face, Frame, Planes
from anonymizer.policy import Action, Decision, Scope, Verdict
from anonymizer.policy.actions import Enhance
from anonymizer.synthesis.cast import RETRIES, Cast, Scene
from tests.synthesis.heads import bank


def scene(cast: Cast, index: int, scope: Scope = Scope.TRACK, track: int = 1) -> tuple[Scene, Face]:
    face = Face(track, (10, 10, 20, 20), 0.9)
    planes = Planes(*(np.zeros((size, size), np.uint8) for size in (40, 20, 20)))
    frame = Frame(index, index, index / 25, planes, faces=[face])
    decision = Decision("default", Action.REPLACE, 0.1, scope, Enhance.OFF, 3600.0)
    return cast.scene(frame, Verdict((decision,), whole=False, masks=())), face


def test_of_the_identities_tried_over_many_frames_the_fairest_is_shown_and_passes() -> None:
    cast, seen = Cast(bank(), "gate", 1), []
    for index in range(RETRIES):
        now, face = scene(cast, index)
        assert not now.fairest(face) and now.since(face) is None
        seen.append(now(face).key)
        now.fair(face, alike=0.55 if index == 3 else 0.6)
        assert now.another(face) and now.tried(face) == index + 1
    now, face = scene(cast, RETRIES)
    assert len(set(seen)) == RETRIES and not now.another(face)
    assert now.fairest(face) and now(face).key == seen[3] and now.since(face) == 0
    assert now.another(face)  # a later search is one of its own


def test_where_none_was_fair_a_search_begins_anew() -> None:
    now, face = scene(Cast(bank(), "gate", 1), 0)
    for _ in range(2):
        assert all(now.another(face) for _ in range(RETRIES)) and not now.another(face)
        assert not now.fairest(face) and now.since(face) is None


def test_a_shared_identity_is_not_changed_for_one_face() -> None:
    now, face = scene(Cast(bank(), "gate", 1), 0, Scope.CAMERA)
    before = now(face).key
    assert not now.free(face) and not now.another(face) and now(face).key == before


def test_who_stays_is_remembered_however_many_pass_by() -> None:
    cast = Cast(bank(), "gate", 1)
    now, stays = scene(cast, 0)
    assert now.another(stays)
    now.passed(stays)
    who = now(stays).key
    for index in range(1, 600):
        now, passer_by = scene(cast, index, track=1 + index)
        assert now.another(passer_by)
        now.passed(passer_by)
        now, stays = scene(cast, index)
        assert now.since(stays) == 1 and now.tried(stays) == 1 and now(stays).key == who
        now.passed(stays)
