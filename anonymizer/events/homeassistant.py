"""Home Assistant's MQTT discovery: one device for each camera. Pure.

One message announces a device with all its entities, as Home Assistant reads it since 2024.12
(https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import anonymizer
from anonymizer.events.state import RULES, CameraState
from anonymizer.events.topics import CONFIGURED, METHODS, Delivery, Message, Topics
from anonymizer.policy.actions import Action

_SENSORS: dict[str, dict[str, Any]] = {
    "faces": {"state_class": "measurement", "icon": "mdi:face-recognition"},
    "fps": {"state_class": "measurement", "entity_category": "diagnostic", "icon": "mdi:filmstrip"},
    "latency_ms": {"state_class": "measurement", "device_class": "duration", "entity_category": "diagnostic"},
}
_BINARY_SENSORS: dict[str, dict[str, Any]] = {
    "online": {"device_class": "connectivity", "entity_category": "diagnostic"},
    "protected": {"icon": "mdi:shield-check"},
    "degraded": {"device_class": "problem", "entity_category": "diagnostic"},
}


def methods(floor: Action) -> list[str]:
    """What the method's select may offer where floor is the weakest treatment that the configuration allows."""
    return [RULES, *(str(method) for method in METHODS if method >= floor)]


def device(
    topics: Topics,
    camera: str,
    *,
    floor: Action,
    profiles: Sequence[str],
    stills: bool,
    discovery_prefix: str = "homeassistant",
) -> Message:
    """The message that announces a camera.

    floor: see ``methods``. profiles: those that are at least as strong as the configured one; without any there is no
    select. stills: whether stills go out over MQTT; without them there is no image.
    """
    node = _node(topics, camera)
    readings = {f.name: f.metadata for f in dataclasses.fields(CameraState)}
    state = topics.of(camera, "state")

    def entity(key: str, platform: str, name: str, **more: Any) -> dict[str, Any]:
        return {"platform": platform, "unique_id": f"{node}_{key}", "name": name, **more}

    components = {
        "privacy": entity(
            "privacy",
            "switch",
            readings["privacy"]["title"],
            icon="mdi:eye-off",
            command_topic=topics.of(camera, "privacy/set"),
            state_topic=topics.of(camera, "privacy/state"),
        ),
        "method": entity(
            "method",
            "select",
            readings["method"]["title"],
            icon="mdi:blur",
            options=methods(floor),
            command_topic=topics.of(camera, "method/set"),
            state_topic=topics.of(camera, "method/state"),
        ),
    }
    if profiles:
        components["profile"] = entity(
            "profile",
            "select",
            readings["profile"]["title"],
            icon="mdi:shield-account",
            options=[CONFIGURED, *profiles],
            command_topic=topics.profile_set,
            state_topic=f"{topics.prefix}/profile/state",
        )
    for key, more in _SENSORS.items():
        unit = {"unit_of_measurement": unit} if (unit := readings[key]["unit"]) else {}
        template = f"{{{{ value_json.{key} }}}}"
        components[key] = entity(
            key, "sensor", readings[key]["title"], state_topic=state, value_template=template, **unit, **more
        )
    for key, more in _BINARY_SENSORS.items():
        template = f"{{{{ 'ON' if value_json.{key} else 'OFF' }}}}"
        components[key] = entity(
            key, "binary_sensor", readings[key]["title"], state_topic=state, value_template=template, **more
        )
    components["degraded"] |= {
        "json_attributes_topic": state,
        "json_attributes_template": "{{ {'reason': value_json.reason} | tojson }}",
    }
    if stills:
        components["still"] = entity(
            "still", "image", "Still", image_topic=topics.of(camera, "still"), content_type="image/jpeg"
        )
    payload = {
        "device": {
            "identifiers": [node],
            "name": camera,
            "manufacturer": "anonymizer",
            "model": "Privacy proxy",
            "sw_version": anonymizer.__version__,
        },
        "origin": {"name": "anonymizer", "sw_version": anonymizer.__version__},
        "availability": [{"topic": topics.available}],
        "qos": 1,
        "components": components,
    }
    return Message(_topic(discovery_prefix, node), json.dumps(payload).encode(), Delivery.RETAINED)


def forgotten(topics: Topics, camera: str, discovery_prefix: str = "homeassistant") -> Message:
    """Removes the device of a camera that is no longer configured."""
    return Message(_topic(discovery_prefix, _node(topics, camera)), b"", Delivery.RETAINED)


def _node(topics: Topics, camera: str) -> str:
    return f"{re.sub('[^A-Za-z0-9-]', '_', topics.prefix)}_{camera}"


def _topic(discovery_prefix: str, node: str) -> str:
    return f"{discovery_prefix}/device/{node}/config"
