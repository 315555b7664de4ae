"""Rules over MQTT: a tightening that can be taken off, and nothing laxer without permission, in any order."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anonymizer.errors import ConfigError
from anonymizer.policy import Action, FaceFacts, Picture, load
from anonymizer.policy.compare import laxer
from anonymizer.policy.decision import CameraRules
from anonymizer.policy.envelope import Refused
from anonymizer.policy.overlay import (
    MAX_TEXTS,
    METHODS,
    Change,
    Overlay,
    apply,
    effective,
    fingerprint,
    offered,
    settle,
    switch,
)
from anonymizer.yamlfile import InvalidFile

PROFILE = load(
    """\
default: pixelate
zones: {till: {polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]}}
rules:
  - {name: till, when: {zone: till, height: {min: 50}}, then: keep}
  - {name: small, when: {height: {max: 20}}, then: solid}
""",
    "profile",
)
LAXER = b"default: blur"
STRICT = b"default: silhouette"


def set_(overlay: Overlay, what: str, payload: bytes, may_relax: bool = False) -> Overlay:
    return apply(PROFILE, overlay, Change(what, payload), may_relax=may_relax)[0]  # type: ignore[arg-type]


def actions(overlay: Overlay) -> list[str]:
    """Of a large face in the zone, a middling one out of it, and a small one."""
    faces = [FaceFacts(1, (450, 450, 80, 80)), FaceFacts(2, (30, 30, 30, 30)), FaceFacts(3, (900, 900, 10, 10))]
    rules = CameraRules(effective(PROFILE, overlay), "gate")
    return [str(d.action) for d in rules.decide(faces, Picture("gate", 0.0, 1000, 1000)).faces]


def test_switches() -> None:
    overlay = set_(Overlay(), "privacy", b"ON")
    assert actions(overlay) == ["privacy"] * 3 and overlay.version == 1
    assert CameraRules(effective(PROFILE, overlay), "gate").decide([], Picture("gate", None, 1, 1)).whole
    assert actions(set_(overlay, "privacy", b" off ")) == ["keep", "pixelate", "solid"]
    off = set_(Overlay(), "enabled", b"OFF")
    assert not off.enabled and actions(off) == ["keep", "pixelate", "solid"]
    for payload in (b"", b"true", b"1", b"\xff"):
        with pytest.raises(Refused):
            set_(Overlay(), "privacy", payload)


def test_a_method_is_a_floor_for_what_is_covered() -> None:
    assert offered(PROFILE) == METHODS[1:]
    assert actions(set_(Overlay(), "method", b"replace")) == ["keep", "replace", "solid"]
    silhouette = set_(Overlay(), "method", b"Silhouette")
    assert actions(silhouette) == ["keep", "silhouette", "silhouette"]
    assert actions(set_(silhouette, "method", b"")) == ["keep", "pixelate", "solid"]
    with pytest.raises(Refused, match="Did you mean 'solid'"):
        set_(Overlay(), "method", b"sold")
    with pytest.raises(Refused, match="not a method"):
        set_(Overlay(), "method", b"keep")
    with pytest.raises(Refused, match=r"laxer than the configured rules: .* gets blur instead of"):
        set_(Overlay(), "method", b"blur")
    relaxed = set_(Overlay(), "method", b"blur", may_relax=True)
    assert relaxed.relaxed and actions(relaxed) == ["keep", "blur", "blur"]


def test_a_whole_set_or_one_rule() -> None:
    assert actions(set_(Overlay(), "rules", STRICT)) == ["silhouette"] * 3
    first = set_(Overlay(), "rules", b'{"name": "big", "when": {"height": {"min": 70}}, "then": "solid"}')
    assert actions(first) == ["solid", "pixelate", "solid"]
    second = set_(first, "rules", b"{name: till, when: {zone: till, height: {min: 50}}, then: replace}")
    assert actions(second) == ["solid", "pixelate", "solid"] and len(second.texts) == 2
    assert [r.name for r in effective(PROFILE, second).rules] == ["big", "till", "small"]
    assert set_(second, "rules", STRICT).texts == (STRICT.decode(),)
    assert actions(set_(second, "rules", b" ")) == ["keep", "pixelate", "solid"]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"default: blurr", "rules/set:1:10: 'blurr' is not one of"),
        (b"{name: a,\n when: {zone: hall},\n then: solid}", "rules/set:2:15: there is no zone 'hall'"),
        (b"{name: a, then: keep}", "rules/set:1:17: keep needs a reason"),
        (b"{name: a, then: }", "rules/set:1:16: nothing stands here"),
        (b"holiday_calendar: x.ics", "not in rules sent over MQTT"),
        (b"default: [", "not valid YAML"),
        (b"\xff", "not UTF-8"),
        (LAXER, "gets blur instead of pixelate"),
        (b"{name: a, when: {zone: till}, then: keep}", "keep instead of"),
        # The default replace is stronger than pixelate, but small faces were solid.
        (b"zones: {}", "replace instead of solid"),
    ],
)
def test_broken_and_laxer_rules_are_refused_with_the_reason(payload: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_(Overlay(), "rules", payload)
    assert words in str(caught.value)


def test_a_relaxation_needs_permission_each_time_it_goes_further() -> None:
    relaxed = set_(Overlay(), "rules", LAXER, may_relax=True)
    assert relaxed.relaxed and actions(relaxed) == ["blur"] * 3
    assert set_(relaxed, "privacy", b"ON").relaxed
    tightened = set_(relaxed, "rules", b"{name: big, when: {height: {min: 70}}, then: solid}")
    assert actions(tightened) == ["solid", "blur", "blur"]
    with pytest.raises(Refused):
        set_(tightened, "rules", LAXER)
    assert not set_(tightened, "rules", b"").relaxed


def test_privacy_does_not_hide_a_relaxation() -> None:
    private = set_(Overlay(), "privacy", b"ON")
    with pytest.raises(Refused):
        set_(private, "rules", LAXER)


def test_only_so_many_single_rules() -> None:
    overlay = Overlay(texts=tuple(f"{{name: r{n}, then: silhouette}}" for n in range(MAX_TEXTS)))
    with pytest.raises(Refused, match="as a whole set"):
        set_(overlay, "rules", b"{name: x, then: silhouette}")


def test_stored_overlays_are_checked_against_the_profile_of_today() -> None:
    overlay = set_(set_(Overlay(), "rules", b"default: solid\nrules: []"), "privacy", b"ON")
    assert settle(PROFILE, overlay, may_relax=False) == (overlay, effective(PROFILE, overlay), "")
    stricter = load("default: silhouette", "f")
    kept, rules, complaint = settle(stricter, overlay, may_relax=False)
    assert kept.texts == () and kept.privacy and rules.default.action is Action.PRIVACY
    assert "silhouette" in complaint and "were dropped" in complaint
    broken = Overlay(texts=("{name: a, when: {zone: till}, then: silhouette}",))
    kept, rules, complaint = settle(stricter, broken, may_relax=False)
    assert rules == stricter and "there is no zone 'till'" in complaint
    relaxed = set_(Overlay(), "rules", LAXER, may_relax=True)
    assert settle(PROFILE, relaxed, may_relax=True)[2] == ""
    assert settle(PROFILE, relaxed, may_relax=False)[1] == PROFILE


def test_a_relaxation_holds_over_the_profile_that_it_was_admitted_over() -> None:
    relaxed = set_(Overlay(), "rules", LAXER, may_relax=True)
    for text in ("default: privacy", "default: silhouette", "default: pixelate"):
        other = load(text, "f")
        kept, rules, complaint = settle(other, relaxed, may_relax=True)
        assert rules == other and not kept.relaxed and "were dropped" in complaint
    weaker = load("default: blur", "f")
    assert settle(weaker, relaxed, may_relax=True)[1].default.action is Action.BLUR
    stored = Overlay.from_data({**relaxed.to_data(), "relaxed": True})  # as it was stored once
    assert settle(PROFILE, stored, may_relax=True)[1] == PROFILE


def test_what_tightens_stays_when_a_relaxation_goes() -> None:
    relaxed = set_(Overlay(), "rules", b"{name: till, when: {zone: till}, then: blur}", may_relax=True)
    relaxed = set_(relaxed, "rules", b"{name: big, when: {height: {min: 70}}, then: silhouette}", may_relax=True)
    mixed = set_(set_(relaxed, "method", b"silhouette", may_relax=True), "privacy", b"ON")
    stronger = load("default: solid", "f")
    kept, rules, _ = settle(stronger, mixed, may_relax=True)
    assert kept.texts == relaxed.texts[1:] and kept.method is Action.SILHOUETTE and kept.privacy
    assert laxer(stronger, rules) is None


def test_overlays_are_plain_data() -> None:
    overlay = Overlay(False, True, Action.SOLID, ("a",), "0123abcd", 7)
    assert Overlay.from_data(json.loads(json.dumps(overlay.to_data()))) == overlay
    assert Overlay.from_data(Overlay().to_data()) == Overlay()
    good = overlay.to_data()
    for bad in (None, {}, {**good, "x": 1}, {**good, "method": "keep"}, {**good, "texts": [1]}, {**good, "enabled": 1}):
        with pytest.raises(ConfigError):
            Overlay.from_data(bad)


def test_profiles() -> None:
    switch(PROFILE, load(STRICT.decode(), "f"), may_relax=False)
    with pytest.raises(Refused, match="this profile is laxer"):
        switch(PROFILE, load(LAXER.decode(), "f"), may_relax=False)
    switch(PROFILE, load(LAXER.decode(), "f"), may_relax=True)


def test_fingerprints_tell_sets_apart() -> None:
    one, same, other = load("default: solid", "f"), load("default: {action: solid}", "g"), load("default: blur", "f")
    assert fingerprint(one) == fingerprint(same) != fingerprint(other) and len(fingerprint(one)) == 64


MESSAGES = st.sampled_from(
    [("privacy", b"ON"), ("privacy", b"OFF"), ("enabled", b"OFF"), ("enabled", b"ON"), ("method", b"")]
    + [("method", str(m).encode()) for m in METHODS]
    + [("rules", text) for text in (LAXER, STRICT, b"", b"rules: [", b"{}", b"default: solid")]
    + [
        ("rules", b"{name: big, when: {height: {min: %d}}, then: %s}" % (h, a))
        for h in (30, 70)
        for a in (b"blur", b"solid")
    ]
    + [("rules", b"{name: till, when: {zone: till}, then: %s}" % a) for a in (b"keep", b"replace", b"silhouette")]
    + [("rules", b"{name: small, when: {height: {max: %d}}, then: solid}" % h) for h in (10, 20, 30)]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(MESSAGES, max_size=8), st.integers(0, 2**32))
def test_no_order_of_messages_gets_below_the_profile(messages: list[tuple[str, bytes]], seed: int) -> None:
    overlay, rules = Overlay(), PROFILE
    for what, payload in messages:
        before = overlay
        try:
            overlay, rules = apply(PROFILE, overlay, Change(what, payload), may_relax=False)  # type: ignore[arg-type]
            assert overlay.version == before.version + 1
        except (Refused, InvalidFile):
            assert overlay == before
        assert laxer(PROFILE, rules) is None and not overlay.relaxed
        assert settle(PROFILE, overlay, may_relax=False) == (overlay, rules, "")
    rng = random.Random(seed)
    a, b = CameraRules(PROFILE, "gate"), CameraRules(rules, "gate")
    for _ in range(20):
        size = rng.choice([5, 15, 25, 60, 90])
        face = [FaceFacts(1, (rng.uniform(0, 1000 - size), rng.uniform(0, 1000 - size), size, size))]
        was, now = (side.decide(face, Picture("gate", 0.0, 1000, 1000)).faces[0].cover for side in (a, b))
        assert not now.weakness(was)
