"""Topics and commands: what is understood, and that everything else is refused with a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anonymizer import yamlfile
from anonymizer.errors import ConfigError
from anonymizer.events.state import CameraState
from anonymizer.events.topics import (
    Command,
    CommandError,
    Delivery,
    SetEnabled,
    SetMethod,
    SetPrivacy,
    SetProfile,
    SetRules,
    Signed,
    Topics,
)
from anonymizer.policy.actions import Action

TOPICS = Topics("house/proxy", ("gate", "yard"), ("gdpr-default", "night"))


@pytest.mark.parametrize(
    ("topic", "payload", "command"),
    [
        ("gate/privacy/set", b"ON", SetPrivacy("house/proxy/gate/privacy/set", "gate", True)),
        ("yard/enabled/set", b" off\n", SetEnabled("house/proxy/yard/enabled/set", "yard", False)),
        ("gate/method/set", b"solid", SetMethod("house/proxy/gate/method/set", "gate", Action.SOLID)),
        ("gate/method/set", b"rules", SetMethod("house/proxy/gate/method/set", "gate", None)),
        ("gate/rules/set", b"{a: 1}", SetRules("house/proxy/gate/rules/set", "gate", "{a: 1}")),
        ("profile/set", b"night", SetProfile("house/proxy/profile/set", "night")),
        ("profile/set", b"configured", SetProfile("house/proxy/profile/set", "")),
        ("profile/set", b'{"nonce": 1}', Signed("house/proxy/profile/set", '{"nonce": 1}')),
        ("gate/privacy/set", b' {"x": 1}', Signed("house/proxy/gate/privacy/set", '{"x": 1}')),
    ],
)
def test_commands(topic: str, payload: bytes, command: Command) -> None:
    assert TOPICS.parse(f"house/proxy/{topic}", payload) == command


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("gate/privacy/set", b"yes", "ON or OFF is due, not 'yes'"),
        ("gate/privacy/set", b"", "ON or OFF is due"),
        ("gate/privacy/set", b"\xff", "not UTF-8 text: byte 1"),
        ("gate/method/set", b"keep", "there is no method 'keep'.*Known: rules, blur, pixelate, replace, solid"),
        ("gate/method/set", b"blurr", "Did you mean 'blur'"),
        ("gate/method/set", b"privacy", "there is no method 'privacy'"),
        ("gaet/privacy/set", b"ON", "there is no camera 'gaet'. Did you mean 'gate'"),
        ("profile/set", b"nigth", "there is no profile 'nigth'. Did you mean 'night'"),
        ("gate/privacy/state", b"ON", "takes no commands"),
        ("gate/colour/set", b"ON", "takes no commands"),
        ("profile", b"night", "takes no commands"),
        ("profile/set/set", b"night", "takes no commands|no camera"),
        ("gate/privacy/set", b"{" + b" " * 20_000, "at most 16384"),
        ("gate/rules/set", b" " * (2 << 20), "at most 1048576"),
    ],
)
def test_refusals(topic: str, payload: bytes, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        TOPICS.parse(f"house/proxy/{topic}", payload)


def test_a_retained_command_is_refused() -> None:
    with pytest.raises(CommandError, match="without the retain flag"):
        TOPICS.parse("house/proxy/gate/privacy/set", b"OFF", retained=True)


def test_a_camera_named_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be named profile"):
        Topics("anonymizer", ("profile",))


def test_a_profile_named_configured_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be named configured"):
        Topics("anonymizer", (), ("configured",))


def test_the_state_of_the_profile_is_what_would_set_it() -> None:
    for profile in ("", "night"):
        told = TOPICS.profile_state(profile)
        assert TOPICS.parse(TOPICS.profile_set, told.payload) == SetProfile(TOPICS.profile_set, profile)


LEVELS = ["house", "proxy", "gate", "yard", "profile", "rules", "privacy", "method", "set", "", "+", "#"]
LEVEL = st.sampled_from(LEVELS)
NAMED = st.sampled_from(["rules", "privacy", "enabled", "method", "colour"])
TOPIC = st.one_of(
    st.text(), st.lists(LEVEL, max_size=6).map("/".join), NAMED.map(lambda name: f"house/proxy/gate/{name}/set")
)


@settings(deadline=None)
@given(TOPIC, st.one_of(st.binary(), st.sampled_from([b"ON", b"OFF", b"rules", b"night", b"{}"])), st.booleans())
@example("house/proxy/profile/set", b"\xed\xa0\x80", False)
def test_anything_is_a_command_for_a_known_camera_or_refused(topic: str, payload: bytes, retained: bool) -> None:
    command = refusal = None
    try:
        command = TOPICS.parse(topic, payload, retained=retained)
    except CommandError as error:
        refusal = error
    if command is None:
        answer = TOPICS.refusal(topic, refusal or CommandError())
        if answer is not None:
            assert json.loads(answer.payload)["error"] == str(refusal)
            assert not answer.topic.endswith("/set")
            assert answer.topic.startswith("house/proxy/")
        return
    assert not retained
    assert command.topic == topic
    assert topic == TOPICS.profile_set or command.topic.split("/")[2] in TOPICS.cameras
    assert any(_matches(topic, pattern) for pattern in TOPICS.subscriptions())


def _matches(topic: str, pattern: str) -> bool:
    levels, wanted = topic.split("/"), pattern.split("/")
    return len(levels) == len(wanted) and all(w in ("+", level) for level, w in zip(levels, wanted, strict=True))


def test_nothing_that_is_told_is_heard_again() -> None:
    told = [
        TOPICS.availability(True),
        TOPICS.event({}),
        *TOPICS.states("gate", CameraState()),
        TOPICS.rules_state("gate", 3, "sha256:00"),
        TOPICS.profile_state("night"),
        TOPICS.still("gate", b"\xff\xd8"),
        TOPICS.refusal("house/proxy/gate/rules/set", CommandError("x")),
        TOPICS.refusal("house/proxy/profile/set", CommandError("x")),
    ]
    for message in told:
        assert message is not None
        assert not any(_matches(message.topic, pattern) for pattern in TOPICS.subscriptions())


def test_states_say_the_same_in_all_places() -> None:
    state = CameraState(online=True, privacy=True, enabled=False, method="solid", reason="niño")
    by_topic = {m.topic.removeprefix("house/proxy/gate/"): m for m in TOPICS.states("gate", state)}
    assert {m.delivery for m in by_topic.values()} == {Delivery.RETAINED}
    assert json.loads(by_topic["state"].payload) == state.to_json()
    told = {name: m.payload for name, m in by_topic.items() if name != "state"}
    assert told == {"privacy/state": b"ON", "enabled/state": b"OFF", "method/state": b"solid"}


def test_forgotten_removes_everything_that_is_retained() -> None:
    retained = {m.topic for m in (*TOPICS.states("gate", CameraState()), TOPICS.rules_state("gate", 1, ""))}
    forgotten = TOPICS.forgotten("gate")
    assert {m.topic for m in forgotten} == retained
    assert all(m.payload == b"" and m.delivery is Delivery.RETAINED for m in forgotten)


def test_the_answer_to_broken_rules_names_the_line() -> None:
    with pytest.raises(yamlfile.InvalidFile) as caught:
        yamlfile.parse("a: 1\na: 2\n", "house/proxy/gate/rules/set")
    answer = TOPICS.refusal("house/proxy/gate/rules/set", caught.value)
    assert answer is not None
    assert answer.topic == "house/proxy/gate/rules/error"
    (problem,) = json.loads(answer.payload)["problems"]
    assert (problem["line"], problem["column"]) == (2, 1)
    assert "already given in line 1" in problem["message"]


def test_nobody_is_answered_about_an_unknown_camera() -> None:
    assert TOPICS.refusal("house/proxy/nowhere/privacy/set", CommandError("x")) is None
    assert TOPICS.refusal("elsewhere/gate/privacy/set", CommandError("x")) is None
