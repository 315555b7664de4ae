"""Properties over random rule sets, faces and times: nothing is kept without its reason, and laxer means laxer."""

from __future__ import annotations

import datetime
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymizer.policy import Action, FaceFacts, Picture, Recognition, RuleSet, Scope, Treatment, geometry
from anonymizer.policy.compare import laxer
from anonymizer.policy.decision import KEEP_FRESH, CameraRules
from anonymizer.policy.rules import Area, Certainty, Range, Rule, Schedule, When
from anonymizer.policy.schedule import Window


def examples(number: int) -> settings:
    return settings(max_examples=number, deadline=None, suppress_health_check=list(HealthCheck))


POLYGONS = (
    ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.5)),
    ((0.2, 0.2), (0.4, 0.2), (0.4, 0.4), (0.2, 0.4)),
    ((0.6, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9)),
    ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    ((0.1, 0.6), (0.5, 0.6), (0.3, 0.7), (0.5, 0.9), (0.1, 0.9)),
)
WINDOWS = tuple(
    map(
        Window.from_setting, ("Mon-Fri 08:00-18:00", "Fri 22:00-06:00", "Mon-Fri 09:00-17:00", "Sat,Sun", "00:00-24:00")
    )
)
HOLIDAY = datetime.date(2026, 12, 25)  # a Friday

names = st.sampled_from(["gate", "hall"])
treatments = st.builds(
    Treatment,
    action=st.sampled_from([a for a in Action if a is not Action.KEEP]),
    margin=st.sampled_from([0.0, 0.1, 0.3]),
    identity=st.sampled_from(Scope),
)
areas = st.builds(Area, polygon=st.sampled_from(POLYGONS), camera=st.sampled_from([(), (), ("gate",), ("hall",)]))
schedules = st.builds(
    Schedule,
    windows=st.sampled_from(WINDOWS).map(lambda w: (w,)),
    holidays=st.sampled_from(["closed", "ordinary", "only"]),
)


def some(strategy: st.SearchStrategy[Any], nothing: Any = None) -> st.SearchStrategy[Any]:
    return st.just(nothing) | st.just(nothing) | st.just(nothing) | strategy


def ranges(*cuts: float) -> st.SearchStrategy[Range]:
    pairs = [(low, high) for low in (None, *cuts) for high in (None, *cuts)]
    good = [
        (low, high)
        for low, high in pairs
        if (low, high) != (None, None) and (low is None or high is None or low < high)
    ]
    return st.sampled_from(good).map(lambda pair: Range(min=pair[0], max=pair[1]))


whens = st.builds(
    When,
    camera=some(names.map(lambda n: (n,)), ()),
    zone=some(st.sampled_from([("z1",), ("z2",), ("z1", "z2")]), ()),
    schedule=some(st.sampled_from([("s1",), ("s2",), ("s1", "s2")]), ()),
    group=some(st.sampled_from([("staff",), ("vip",), ("staff", "vip")]), ()),
    unknown=some(st.booleans()),
    height=some(ranges(20.0, 60.0)),
    height_share=some(ranges(0.05, 0.2)),
    time_in_view=some(ranges(2.0)),
    confidence=some(ranges(0.3, 0.6)),
    pose=some(st.sampled_from(["usable", "unusable"])),
)


@st.composite
def rules(draw: st.DrawFn, name: str) -> Rule:
    when = draw(whens)
    if when.unknown and when.group:
        when = replace(when, unknown=None)
    then = draw(treatments)
    if (when.zone or when.group) and draw(st.booleans()):
        then = replace(then, action=Action.KEEP)
    return Rule(name=name, when=when, then=then)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    return RuleSet(
        default=draw(treatments),
        rules=tuple(draw(rules(f"r{n}")) for n in range(draw(st.integers(0, 4)))),
        zones={"z1": draw(areas), "z2": draw(areas)},
        schedules={"s1": draw(schedules), "s2": draw(schedules)},
        timezone=draw(st.sampled_from(["Europe/Berlin", "Europe/Berlin", "America/New_York"])),
        holidays=draw(st.sampled_from([(), (HOLIDAY,)])),
        rotation_hours=draw(st.sampled_from([24.0, 48.0])),
        recognition=draw(st.sampled_from([Certainty(), Certainty(), Certainty(enter=0.6), Certainty(sightings=5)])),
    )


@st.composite
def changed(draw: st.DrawFn, old: RuleSet) -> RuleSet:
    """old with one or two parts exchanged: the hard cases are the small differences."""
    new = old
    for _ in range(draw(st.integers(1, 2))):
        other = draw(rule_sets())
        what = draw(
            st.sampled_from(["rule", "rule", "then", "insert", "remove", "zones", "schedules", "default", "stronger"])
        )
        if what in {"rule", "then", "remove"} and new.rules:
            at = draw(st.integers(0, len(new.rules) - 1))
            kept = new.rules[:at], new.rules[at + 1 :]
            if what == "remove":
                new = replace(new, rules=(*kept[0], *kept[1]))
            elif what == "rule":
                new = replace(new, rules=(*kept[0], draw(rules(new.rules[at].name)), *kept[1]))
            else:
                then = draw(treatments)
                new = replace(new, rules=(*kept[0], replace(new.rules[at], then=then), *kept[1]))
        elif what == "insert":
            new = replace(new, rules=(draw(rules(f"new{len(new.rules)}")), *new.rules))
        elif what == "stronger":
            floor = draw(st.sampled_from(Action))
            stronger = tuple(replace(r, then=raised(r.then, floor)) for r in new.rules)
            new = replace(new, rules=stronger, default=raised(new.default, floor))
        elif what in {"zones", "schedules", "default"}:
            new = replace(new, **{what: getattr(other, what)})
    return new


def raised(then: Treatment, floor: Action) -> Treatment:
    return replace(then, action=max(then.action, floor))


TIMES = [
    datetime.datetime(2026, 12, day, hour, minute, tzinfo=datetime.UTC).timestamp()
    for day in (18, 19, 20, 21, 24, 25, 26)
    for hour in (0, 3, 6, 7, 8, 12, 16, 17, 21, 23)
    for minute in (0, 30)
]


def random_face(rng: random.Random) -> tuple[FaceFacts, Picture]:
    """A face whose box often lies at an outline or corner of a polygon."""
    picture_height = rng.choice([120, 480, 1080])
    picture = Picture(
        rng.choice(["gate", "hall", "yard"]), rng.choice([None, *TIMES]), picture_height * 16 // 9, picture_height
    )
    height = rng.choice([10.0, 19.9, 20.0, 40.0, 60.0, 100.0, picture_height * rng.choice([0.02, 0.05, 0.1, 0.2, 0.5])])
    width = height * rng.uniform(0.3, 1.0)
    corner = rng.choice(rng.choice(POLYGONS))
    x, y = rng.choice([corner, (rng.random(), rng.random()), (0.3, 0.3)])
    x, y = (
        x * picture.width + rng.choice([0, -1.5, 1.5, -0.6, 0.6]) * width,
        y * picture.height + rng.choice([0, -1.5, 1.5, 0.6]) * height,
    )
    known = rng.choice(
        [None, Recognition("m", frozenset(rng.choice([[], ["staff"], ["vip"], ["staff", "vip"]])), 1.0, 0.0)]
    )
    face = FaceFacts(
        track=1,
        box=(x - width / 2, y - height / 2, width, height),
        age=rng.choice([0.0, 0.0, -0.1, 5.0]),
        confidence=rng.choice([0.1, 0.3, 0.5, 0.6, 0.9]),
        time_in_view=rng.choice([0.0, 2.0, 9.0]),
        pose_usable=rng.random() < 0.5,
        known=known,
    )
    return face, picture


def brute_force(old: RuleSet, new: RuleSet, seed: int, samples: int = 250) -> str:
    """What some sampled face at some time shows to be weaker; empty where none does."""
    rng = random.Random(seed)
    sides = {camera: (CameraRules(old, camera), CameraRules(new, camera)) for camera in ("gate", "hall", "yard")}
    for _ in range(samples):
        face, picture = random_face(rng)
        a, b = sides[picture.camera]
        was, now = a.decide([face], picture), b.decide([face], picture)
        weakness = now.faces[0].cover.weakness(was.faces[0].cover)
        if weakness or (was.whole and not now.whole and now.faces[0].action < Action.PRIVACY):
            return f"{face} {picture}: {weakness}"
    return ""


@pytest.mark.parametrize("near", [False, True])
def test_laxer_agrees_with_brute_force(near: bool) -> None:
    counts = {"laxer": 0, "not": 0, "unsure": 0}

    @examples(300)
    @given(st.data(), st.integers(0, 2**32))
    def check(data: st.DataObject, seed: int) -> None:
        old = data.draw(rule_sets())
        new = data.draw(changed(old)) if near else data.draw(rule_sets())
        witness = laxer(old, new)
        shown = brute_force(old, new, seed)
        if witness is None:
            counts["not"] += 1
            assert not shown
        else:
            counts["laxer" if witness.sure else "unsure"] += 1

    check()
    print(counts)
    assert counts["not"] > (60 if near else 5) and counts["laxer"] > 60


def kept_for_a_reason(face: FaceFacts, picture: Picture, rule_set: RuleSet, rule: str) -> bool:
    """An independent reading of what keep needs."""
    when = next(r.when for r in rule_set.rules if r.name == rule)
    x, y, w, h = face.box
    left, top = max(x, 0) / picture.width, max(y, 0) / picture.height
    right, bottom = min(x + w, picture.width) / picture.width, min(y + h, picture.height) / picture.height
    points = [(left + (right - left) * i / 8, top + (bottom - top) * j / 8) for i in range(9) for j in range(9)]
    in_zone = any(
        all(geometry.contains(rule_set.zones[z].polygon, *p) for p in points) and rule_set.zones[z].on(picture.camera)
        for z in when.zone
    )
    in_group = face.known is not None and bool(face.known.groups & set(when.group))
    return (
        abs(face.age) <= KEEP_FRESH
        and (in_zone or not when.zone)
        and (in_group or not when.group)
        and (in_zone or in_group)
    )


@examples(150)
@given(rule_sets(), st.integers(0, 2**32))
def test_nothing_is_kept_without_its_reason(rule_set: RuleSet, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        _, picture = random_face(rng)
        scene = [replace(random_face(rng)[0], track=n) for n in range(rng.choice([1, 1, 2, 5]))]
        verdict = CameraRules(rule_set, picture.camera).decide(scene, picture)
        for face, decision in zip(scene, verdict.faces, strict=True):
            if decision.action is Action.KEEP:
                assert decision.rule != "default" and kept_for_a_reason(face, picture, rule_set, decision.rule)


BROKEN = st.floats(allow_nan=True, allow_infinity=True)


@examples(200)
@given(
    rule_sets(), st.tuples(BROKEN, BROKEN, BROKEN, BROKEN), BROKEN, BROKEN, BROKEN, some(BROKEN), st.integers(-1, 2000)
)
def test_no_input_raises_or_is_kept_by_accident(
    rule_set: RuleSet, box: Any, age: float, score: float, view: float, time: float | None, size: int
) -> None:
    face = FaceFacts(1, box, age, score, view, True, Recognition("m", frozenset(["staff", "vip"]), 1.0, 0.0))
    picture = Picture("gate", time, size, size)
    verdict = CameraRules(rule_set, "gate").decide([face], picture)
    if verdict.faces[0].action is Action.KEEP:
        assert kept_for_a_reason(face, picture, rule_set, verdict.faces[0].rule)


@examples(300)
@given(st.data(), st.integers(0, 2**32))
def test_a_stricter_set_never_covers_less(data: st.DataObject, seed: int) -> None:
    """Even where faces touch and raise each other."""
    old = data.draw(rule_sets())
    new = data.draw(changed(old))
    if laxer(old, new) is not None:
        return
    rng = random.Random(seed)
    for _ in range(30):
        _, picture = random_face(rng)
        scene = [replace(random_face(rng)[0], track=n) for n in range(rng.choice([2, 3, 6]))]
        was, now = (CameraRules(r, picture.camera).decide(scene, picture) for r in (old, new))
        if now.whole:
            continue  # nothing is left uncovered
        assert not was.whole
        for before, after in zip(was.faces, now.faces, strict=True):
            a, b = before.cover, after.cover
            assert b.action >= a.action and b.margin >= a.margin
