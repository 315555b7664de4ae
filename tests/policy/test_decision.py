"""The decision face by face: zones, margins, freshness, touching faces, and what happens in doubt."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from anonymizer.policy import Action, FaceFacts, Picture, Recognition, Scope, Verdict, load
from anonymizer.policy.decision import KEEP_FRESH, TOUCH_MARGIN, ZONE_MARGIN, CameraRules

NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC).timestamp()
PICTURE = Picture("gate", NOON, 1000, 1000)
FACE = FaceFacts(1, (450.0, 450.0, 100.0, 100.0))
ZONES = "zones: {till: {camera: gate, polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]}}\n"
STAFF = Recognition("anna", frozenset({"staff"}), 0.9, 0.0)


def decide(text: str, *faces: FaceFacts, picture: Picture = PICTURE) -> Verdict:
    return CameraRules(load(text, "f"), picture.camera).decide(faces, picture)


def action(text: str, face: FaceFacts = FACE, picture: Picture = PICTURE) -> str:
    return str(decide(text, face, picture=picture).faces[0].action)


def at(x: float, y: float, size: float = 100.0, track: int = 1) -> FaceFacts:
    return FaceFacts(track, (x, y, size, size))


KEEP_IN_ZONE = ZONES + "rules: [{name: a, when: {zone: till}, then: keep}]"
COVER_IN_ZONE = ZONES + "rules: [{name: a, when: {zone: till}, then: solid}]"


def test_first_match_wins_and_no_match_means_default() -> None:
    text = (
        "rules: [{name: a, when: {height: {min: 101}}, then: solid}, {name: b, then: blur}, {name: c, then: privacy}]"
    )
    assert decide(text, FACE).faces[0].rule == "b"
    assert decide("{}", FACE).faces[0].rule == "default" and action("{}") == "replace"
    assert action("default: silhouette") == "silhouette"


def test_keeping_needs_the_whole_face_in_the_zone() -> None:
    assert action(KEEP_IN_ZONE) == "keep"
    assert action(KEEP_IN_ZONE, at(199, 450)) == "replace"
    assert action(KEEP_IN_ZONE, at(200, 450)) == "replace"
    assert action(KEEP_IN_ZONE, at(201, 450)) == "keep"
    assert action(KEEP_IN_ZONE, at(100, 100, 800)) == "replace"


def test_covering_needs_any_overlap_of_the_grown_face() -> None:
    assert action(COVER_IN_ZONE, at(100.1 - 100 * ZONE_MARGIN, 450)) == "solid"
    assert action(COVER_IN_ZONE, at(99 - 100 * ZONE_MARGIN, 450)) == "replace"
    assert action(COVER_IN_ZONE, at(150, 900 - 75)) == "solid"


def test_a_face_larger_than_the_zone_is_in_it() -> None:
    """Its bottom centre lies outside the zone, and so do its corners."""
    assert action(COVER_IN_ZONE, at(50, 50, 900)) == "solid"


def test_a_face_cut_by_the_picture_can_be_inside_a_zone_up_to_the_edge() -> None:
    text = KEEP_IN_ZONE.replace("[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]", "[[0, 0], [1, 0], [1, 1], [0, 1]]")
    assert action(text, at(10, 10)) == "keep"
    assert action(text, at(-10, 10)) == "replace"  # touches the outline: not surely inside


def test_zones_belong_to_their_cameras() -> None:
    assert action(KEEP_IN_ZONE, picture=replace(PICTURE, camera="hall")) == "replace"
    assert action(COVER_IN_ZONE, picture=replace(PICTURE, camera="hall")) == "replace"


@pytest.mark.parametrize("age", [KEEP_FRESH + 0.01, -KEEP_FRESH - 0.01, 1e9, float("nan")])
def test_a_face_not_seen_just_now_is_not_kept(age: float) -> None:
    assert action(KEEP_IN_ZONE, replace(FACE, age=age)) == "replace"
    assert action(COVER_IN_ZONE, replace(FACE, age=age)) == "solid"


@pytest.mark.parametrize(
    ("when", "face", "holds"),
    [
        ("camera: [hall, gate]", FACE, True),
        ("camera: hall", FACE, False),
        ("height: {min: 100, max: 101}", FACE, True),
        ("height: {max: 100}", FACE, False),
        ("height_share: {min: 0.1}", FACE, True),
        ("height_share: {max: 0.1}", FACE, False),
        ("time_in_view: {min: 2}", replace(FACE, time_in_view=2.0), True),
        ("time_in_view: {min: 2}", FACE, False),
        ("confidence: {max: 0.5}", replace(FACE, confidence=0.4), True),
        ("confidence: {max: 0.5}", FACE, False),
        ("pose: unusable", replace(FACE, pose_usable=False), True),
        ("pose: usable", replace(FACE, pose_usable=False), False),
        ("group: [guards, staff]", replace(FACE, known=STAFF), True),
        ("group: guards", replace(FACE, known=STAFF), False),
        ("group: staff", FACE, False),
        ("unknown: true", FACE, True),
        ("unknown: true", replace(FACE, known=STAFF), False),
        ("unknown: false", replace(FACE, known=STAFF), True),
        ("unknown: false", FACE, False),
        ("schedule: day", FACE, True),
        ("schedule: night", FACE, False),
        ("schedule: [night, day]", FACE, True),
    ],
)
def test_conditions(when: str, face: FaceFacts, holds: bool) -> None:
    text = "schedules: {day: {windows: 08:00-18:00}, night: {windows: 20:00-06:00}}\n"
    text += f"rules: [{{name: a, when: {{{when}}}, then: solid}}]"
    assert action(text, face) == ("solid" if holds else "replace")


def test_all_conditions_must_hold() -> None:
    text = "rules: [{name: a, when: {height: {min: 50}, confidence: {max: 0.5}}, then: solid}]"
    assert action(text) == "replace" and action(text, replace(FACE, confidence=0.4)) == "solid"


def test_without_a_clock_rules_with_schedules_give_way_to_the_default() -> None:
    text = ZONES + "default: solid\nschedules: {day: {windows: 08:00-18:00}}\n"
    text += "rules:\n- {name: a, when: {zone: till}, then: keep}\n"
    timeless = replace(PICTURE, time=None)
    assert action(text, picture=timeless) == "keep"
    text += "- {name: b, when: {schedule: day}, then: blur}\n"
    verdict = decide(text, FACE, picture=timeless)
    assert str(verdict.faces[0].action) == "solid" and "time is not known" in verdict.doubts[0]
    for time in (float("inf"), float("nan"), -1e15, 1e12):
        assert action(text, picture=replace(PICTURE, time=time)) == "solid"


@pytest.mark.parametrize(
    "face",
    [
        replace(FACE, box=(float("nan"), 0.0, 10.0, 10.0)),
        replace(FACE, box=(500.0, 500.0, 0.0, 10.0)),
        replace(FACE, box=(500.0, 500.0, -10.0, 10.0)),
        replace(FACE, box=(2000.0, 500.0, 10.0, 10.0)),
        replace(FACE, box=(-1e300, 500.0, 1e308, 10.0)),
        replace(FACE, box=(500.0, 500.0)),  # type: ignore[arg-type]
        replace(FACE, box=None),  # type: ignore[arg-type]
        replace(FACE, confidence=float("nan")),
    ],
)
def test_what_cannot_be_judged_gets_the_default(face: FaceFacts) -> None:
    text = ZONES + "default: solid\nrules: [{name: a, when: {zone: till}, then: keep}, {name: b, then: blur}]"
    verdict = decide(text, FACE, replace(face, track=2))
    assert verdict.faces[1].rule.startswith("default") and verdict.faces[1].action is Action.SOLID
    assert verdict.doubts[0].startswith("face 2:")


def test_a_face_without_a_proper_box_may_touch_any_other() -> None:
    for box in ((float("nan"), 0.0, 10.0, 10.0), (500.0, 500.0, 0.0, 10.0), None):
        broken = FaceFacts(2, box)  # type: ignore[arg-type]
        assert [str(d.action) for d in decide(KEEP_IN_ZONE, FACE, broken).faces] == ["replace", "replace"]


def test_a_kept_face_that_touches_a_covered_one_is_covered_too() -> None:
    """Faces of 100 pixels touch up to a gap of twice the margin."""
    gap = 2 * TOUCH_MARGIN * 100
    inside = at(690, 450)
    for distance, kept in ((gap + 1, True), (gap, False), (0, False), (-50, False)):
        verdict = decide(KEEP_IN_ZONE, inside, at(790 + distance, 450, track=2))
        assert [str(d.action) for d in verdict.faces] == ["keep" if kept else "replace", "replace"], distance
    verdict = decide(KEEP_IN_ZONE, inside, at(790, 450, track=2))
    assert verdict.faces[0].rule == "a (touches another face)" and verdict.faces[0].identity is Scope.TRACK


def test_touching_reaches_through_others_and_takes_the_largest_margin() -> None:
    text = KEEP_IN_ZONE + "\ndefault: {action: replace, margin: 0.7}"
    chain = [at(300 + 100 * n, 450, track=n) for n in range(6)]
    assert all(d.action is Action.REPLACE and d.margin == 0.7 for d in decide(text, *chain).faces)
    chain.pop()
    chain.pop()
    assert all(d.action is Action.KEEP for d in decide(text, *chain).faces)


def test_two_clusters_that_meet_in_a_face_are_one() -> None:
    text = (
        ZONES.replace("0.8, 0.8], [0.2, 0.8", "0.8, 0.5], [0.2, 0.5")
        + "rules: [{name: a, when: {zone: till}, then: keep}]"
    )
    left, right, between = at(300, 350, track=1), at(500, 350, track=2), at(400, 440, track=3)
    for scene in ((left, right, between), (between, left, right), (right, between, left)):
        assert {str(d.action) for d in decide(text, *scene).faces} == {"replace"}
    assert {str(d.action) for d in decide(text, left, right).faces} == {"keep"}


def test_a_covered_face_is_raised_at_most_to_replace() -> None:
    text = (
        "rules: [{name: a, when: {height: {min: 150}}, then: {action: silhouette, margin: 0.5}}, "
        "{name: b, when: {height: {min: 120}}, then: {action: replace, margin: 0}}, {name: c, then: blur}]"
    )
    verdict = decide(text, at(400, 400, 150), at(550, 400, 120, 2), at(670, 400, 100, 3), at(0, 0, 50, 4))
    assert [str(d.action) for d in verdict.faces] == ["silhouette", "replace", "replace", "blur"]
    assert [d.margin for d in verdict.faces] == [0.5, 0.5, 0.5, 0.1]


def test_enrolled_identities_need_a_member() -> None:
    text = "default: {action: replace, identity: enrolled}\nrotation_hours: 12"
    known, unknown = decide(text, replace(FACE, known=STAFF), at(0, 0, track=2)).faces
    assert (known.identity, known.member, known.rotation) == (Scope.ENROLLED, "anna", 12 * 3600)
    assert (unknown.identity, unknown.member) == (Scope.TRACK, "")


def test_a_face_is_refined_where_its_rule_says_so_and_not_where_it_is_raised() -> None:
    text = (
        "rules: [{name: a, when: {height: {min: 150}}, then: {action: replace, enhance: light}}, "
        "{name: b, then: {action: blur, enhance: light}}]\ndefault: {action: replace, enhance: off}"
    )
    large, raised = decide(text, at(400, 400, 150), at(550, 400, 100, 2)).faces
    assert (str(large.enhance), str(raised.enhance)) == ("light", "off") and raised.action is Action.REPLACE
    assert str(decide("{}", FACE).faces[0].enhance) == "off"


def test_privacy_covers_the_whole_picture() -> None:
    always = "rules: [{name: a, when: {camera: gate}, then: privacy}]"
    assert decide(always).whole and not decide(always, picture=replace(PICTURE, camera="hall")).whole
    one = "rules: [{name: a, when: {height: {min: 100}}, then: privacy}]"
    assert not decide(one).whole and not decide(one, at(0, 0, 50)).whole and decide(one, at(0, 0, 50), FACE).whole
    assert decide("default: privacy").whole
    timeless = "default: privacy\nschedules: {day: {windows: 08:00-18:00}}\n"
    timeless += "rules: [{name: b, when: {schedule: day}, then: blur}]"
    assert decide(timeless, picture=replace(PICTURE, time=None)).whole and not decide(timeless).whole


def test_masks_are_always_there() -> None:
    text = "masks: {a: {camera: gate, polygon: [[0, 0], [1, 0], [1, 1]]}, b: {polygon: [[0, 0], [0.5, 0], [1, 1]]}}"
    assert len(decide(text).masks) == 2 and len(decide(text, picture=replace(PICTURE, camera="hall")).masks) == 1
    assert len(decide(text, replace(FACE, box=None)).masks) == 2  # type: ignore[arg-type]
