"""Every MQTT topic and payload, in one place. Pure.

Told (retained where marked R):

    <prefix>/available                  R  online, offline (also the last will)
    <prefix>/events                        a track is new, changed, or has ended: JSON of ``tracks.TrackEvent``
    <prefix>/profile/state              R  the rule set in force, or 'configured'
    <prefix>/profile/error                 why the last command was refused: JSON
    <prefix>/<camera>/state             R  JSON of ``state.CameraState``
    <prefix>/<camera>/privacy/state     R  ON, OFF; so is enabled/state
    <prefix>/<camera>/method/state      R  rules, or the treatment laid over them
    <prefix>/<camera>/rules/state       R  version and hash: JSON
    <prefix>/<camera>/rules/error          why the last command for the camera was refused: JSON
    <prefix>/<camera>/still                an anonymised JPEG

Obeyed, where the policy allows:

    <prefix>/profile/set                   the name of a rule set, or 'configured'
    <prefix>/<camera>/rules/set            rules in YAML or JSON
    <prefix>/<camera>/privacy/set          ON, OFF; so is enabled/set
    <prefix>/<camera>/method/set           rules, or a treatment to lay over them

A payload of the last four that begins with ``{`` is a signed envelope. Retained commands are refused: the broker would
repeat them at each connection, and so undo what was ordered since.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from anonymizer.errors import ConfigError
from anonymizer.events.state import RULES, CameraState
from anonymizer.policy.actions import Action
from anonymizer.settings import hint
from anonymizer.yamlfile import MAX_BYTES, InvalidFile

METHODS = tuple(action for action in Action if Action.KEEP < action < Action.PRIVACY)
"""What can be laid over the rules, from the weakest to the strongest. Privacy has a switch of its own."""

CONFIGURED = "configured"
"""The profile of a service in which each camera has the rules that its configuration names."""

ENVELOPE_BYTES = 16 << 10

_OF_CAMERA = ("rules", "privacy", "enabled", "method")


class Delivery(Enum):
    RETAINED = "retained"
    """The broker keeps the newest, and it is sent again at each connection. An empty payload removes it."""
    QUEUED = "queued"
    """Each counts: they wait for the broker in a bounded queue."""
    NEWEST = "newest"
    """Only the newest counts, and only while there is a broker."""


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class SetPrivacy:
    topic: str
    camera: str
    on: bool


@dataclass(frozen=True, slots=True)
class SetEnabled:
    topic: str
    camera: str
    on: bool


@dataclass(frozen=True, slots=True)
class SetMethod:
    """method: the weakest treatment of every face that the rules cover; those that they keep stay kept. None lets the
    rules alone decide."""

    topic: str
    camera: str
    method: Action | None


@dataclass(frozen=True, slots=True)
class SetRules:
    topic: str
    camera: str
    text: str


@dataclass(frozen=True, slots=True)
class SetProfile:
    """profile: "" for what is configured."""

    topic: str
    profile: str


@dataclass(frozen=True, slots=True)
class Signed:
    """An envelope, unopened. Whoever has checked it hands its inner payload to ``Topics.parse`` with this topic."""

    topic: str
    text: str


Command = SetPrivacy | SetEnabled | SetMethod | SetRules | SetProfile | Signed


class CommandError(ConfigError):
    """A command that cannot be understood; the message says what is wrong and what is due."""


@dataclass(frozen=True)
class Topics:
    """prefix, cameras and profiles as configured. ConfigError for a name that means something else here."""

    prefix: str
    cameras: Collection[str]
    profiles: Collection[str] = ()

    def __post_init__(self) -> None:
        if "profile" in self.cameras:
            raise ConfigError(f"a camera cannot be named profile: {self.prefix}/profile/set is taken; rename it")
        if CONFIGURED in self.profiles:
            raise ConfigError(
                f"a profile cannot be named {CONFIGURED}: that stands for the cameras' own rules; rename it"
            )

    # What is told

    @property
    def available(self) -> str:
        return f"{self.prefix}/available"

    def availability(self, online: bool) -> Message:
        return self._retained("available", "online" if online else "offline")

    def event(self, event: Mapping[str, Any]) -> Message:
        """event: ``TrackEvent.to_json()``."""
        return Message(f"{self.prefix}/events", _json(event), Delivery.QUEUED)

    def states(self, camera: str, state: CameraState) -> list[Message]:
        return [
            Message(f"{self.prefix}/{camera}/state", _json(state.to_json()), Delivery.RETAINED),
            self._retained(f"{camera}/privacy/state", _on_off(state.privacy)),
            self._retained(f"{camera}/enabled/state", _on_off(state.enabled)),
            self._retained(f"{camera}/method/state", state.method),
        ]

    def rules_state(self, camera: str, version: int, digest: str) -> Message:
        """version: counts up with every change. digest: of the rules in force."""
        payload = _json({"version": version, "hash": digest})
        return Message(f"{self.prefix}/{camera}/rules/state", payload, Delivery.RETAINED)

    def profile_state(self, profile: str) -> Message:
        """profile: "" for what is configured."""
        return self._retained("profile/state", profile or CONFIGURED)

    def still(self, camera: str, jpeg: bytes) -> Message:
        return Message(f"{self.prefix}/{camera}/still", jpeg, Delivery.NEWEST)

    def refusal(self, topic: str, error: Exception) -> Message | None:
        """The answer to a command that came by topic; None where nobody is there to be told: an unknown camera."""
        camera = self._levels(topic)[0]
        if camera != "profile" and camera not in self.cameras:
            return None
        problems = error.problems if isinstance(error, InvalidFile) else ()
        answer = {
            "topic": topic,
            "error": str(error),
            "problems": [{"line": p.mark.line, "column": p.mark.column, "message": p.message} for p in problems],
        }
        place = "profile/error" if camera == "profile" else f"{camera}/rules/error"
        return Message(f"{self.prefix}/{place}", _json(answer), Delivery.NEWEST)

    def forgotten(self, camera: str) -> list[Message]:
        """Removes what the broker keeps of a camera that is no longer configured."""
        kept = ("state", "privacy/state", "enabled/state", "method/state", "rules/state")
        return [self._retained(f"{camera}/{name}", "") for name in kept]

    # What is obeyed

    def of(self, camera: str, name: str) -> str:
        """The topic of one of a camera's messages, such as ``privacy/set``."""
        return f"{self.prefix}/{camera}/{name}"

    @property
    def profile_set(self) -> str:
        return f"{self.prefix}/profile/set"

    def subscriptions(self) -> list[str]:
        """The topic filters of all commands."""
        return [self.profile_set, *(self.of("+", f"{name}/set") for name in _OF_CAMERA)]

    def parse(self, topic: str, payload: bytes, *, retained: bool = False) -> Command:
        """The command in a message. retained: it comes from the broker's memory. Raises CommandError."""
        subject, *rest = self._levels(topic)
        name = "profile" if topic == self.profile_set else rest[0] if rest[1:] == ["set"] else ""
        if name != "profile" and name not in _OF_CAMERA:
            raise CommandError(f"{topic} takes no commands")
        if name != "profile" and subject not in self.cameras:
            raise CommandError(f"there is no camera {subject[:40]!r}.{hint(subject[:40], self.cameras)}")
        if retained:
            raise CommandError(
                "a retained command is not obeyed, because it would be repeated at each connection; "
                "remove it with an empty retained message, and send it without the retain flag"
            )
        text = _text(payload, MAX_BYTES if name == "rules" else ENVELOPE_BYTES)
        if name == "rules":
            return SetRules(topic, subject, text)
        text = text.strip()
        if text.startswith("{"):
            return Signed(topic, text)
        if name == "profile":
            name = _choice(text, "profile", [CONFIGURED, *self.profiles])
            return SetProfile(topic, "" if name == CONFIGURED else name)
        if name == "privacy":
            return SetPrivacy(topic, subject, _switch(text))
        if name == "enabled":
            return SetEnabled(topic, subject, _switch(text))
        known: dict[str, Action | None] = {RULES: None, **{str(method): method for method in METHODS}}
        return SetMethod(topic, subject, known[_choice(text, "method", list(known))])

    def _levels(self, topic: str) -> list[str]:
        """The levels after the prefix; [''] for somebody else's topic."""
        head, tail = topic[: len(self.prefix) + 1], topic[len(self.prefix) + 1 :]
        return tail.split("/") if head == f"{self.prefix}/" else [""]

    def _retained(self, name: str, text: str) -> Message:
        return Message(f"{self.prefix}/{name}", text.encode(), Delivery.RETAINED)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _on_off(on: bool) -> str:
    return "ON" if on else "OFF"


def _text(payload: bytes, limit: int) -> str:
    if len(payload) > limit:
        raise CommandError(f"the payload has {len(payload)} bytes; at most {limit} are read")
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"the payload is not UTF-8 text: byte {error.start + 1} is none of it") from None


def _switch(text: str) -> bool:
    if text.upper() not in {"ON", "OFF"}:
        raise CommandError(f"ON or OFF is due, not {text[:40]!r}")
    return text.upper() == "ON"


def _choice(text: str, what: str, known: list[str]) -> str:
    if text in known:
        return text
    near = hint(text[:40], known).partition(" Known")[0]
    raise CommandError(f"there is no {what} {text[:40]!r}.{near} Known: {', '.join(known)}.")
