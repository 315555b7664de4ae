"""Discovery: what Home Assistant is offered fits what is told and obeyed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anonymizer.events import homeassistant
from anonymizer.events.state import CameraState
from anonymizer.events.topics import Delivery, Topics
from anonymizer.policy.actions import Action

TOPICS = Topics("house/proxy", ("gate",), ("gdpr-default", "night"))


def announced(**more: Any) -> dict[str, Any]:
    given = {"floor": Action.REPLACE, "profiles": ["night"], "stills": True} | more
    message = homeassistant.device(TOPICS, "gate", **given)
    assert message.delivery is Delivery.RETAINED
    assert message.topic == "homeassistant/device/house_proxy_gate/config"
    return json.loads(message.payload)  # type: ignore[no-any-return]


def test_one_device_with_all_its_entities() -> None:
    payload = announced()
    assert payload["device"]["identifiers"] == ["house_proxy_gate"]
    assert payload["origin"]["name"] == "anonymizer"
    assert payload["availability"] == [{"topic": "house/proxy/available"}]
    assert {key: entity["platform"] for key, entity in payload["components"].items()} == {
        "privacy": "switch",
        "method": "select",
        "profile": "select",
        "faces": "sensor",
        "fps": "sensor",
        "latency_ms": "sensor",
        "online": "binary_sensor",
        "protected": "binary_sensor",
        "degraded": "binary_sensor",
        "still": "image",
    }
    ids = [entity["unique_id"] for entity in payload["components"].values()]
    assert len(set(ids)) == len(ids)


def test_every_state_topic_is_told_and_every_reading_is_in_the_state() -> None:
    told = {
        m.topic for m in (*TOPICS.states("gate", CameraState()), TOPICS.profile_state(""), TOPICS.still("gate", b""))
    }
    for key, entity in announced()["components"].items():
        assert {entity[name] for name in ("state_topic", "image_topic") if name in entity} <= told
        if entity["platform"] in ("sensor", "binary_sensor"):
            assert f"value_json.{key} " in entity["value_template"]
            assert key in CameraState().to_json()


def test_every_command_that_is_offered_is_understood() -> None:
    for entity in announced()["components"].values():
        for option in entity.get("options", ["ON", "OFF"]) if "command_topic" in entity else []:
            assert TOPICS.parse(entity["command_topic"], option.encode())


@pytest.mark.parametrize("floor", list(Action))
def test_no_method_is_offered_that_is_weaker_than_configured(floor: Action) -> None:
    rules, *offered = announced(floor=floor)["components"]["method"]["options"]
    assert rules == "rules"
    assert [Action[name.upper()] for name in offered] == [
        a for a in Action if a >= floor and a not in (Action.KEEP, Action.PRIVACY)
    ]


def test_the_way_back_to_what_is_configured_is_offered() -> None:
    assert announced()["components"]["profile"]["options"] == ["configured", "night"]


def test_what_there_is_none_of_is_not_offered() -> None:
    assert not {"profile", "still"} & announced(profiles=[], stills=False)["components"].keys()


def test_a_forgotten_camera_is_removed() -> None:
    message = homeassistant.forgotten(TOPICS, "gate", "ha")
    assert (message.topic, message.payload) == ("ha/device/house_proxy_gate/config", b"")
