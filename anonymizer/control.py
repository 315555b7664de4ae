"""Which rules hold on each camera: the files' profile, and what MQTT lays over it. Persisted, and told to an audit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from anonymizer import assembly
from anonymizer.config import Config
from anonymizer.errors import AnonymizerError, ConfigError
from anonymizer.events.topics import Command, SetEnabled, SetMethod, SetPrivacy, SetProfile, SetRules, Signed, Topics
from anonymizer.policy import Action, RuleSet, overlay
from anonymizer.policy.envelope import Nonces, Refused, is_sealed, unseal
from anonymizer.policy.overlay import Change, Overlay
from anonymizer.record import chain
from anonymizer.statedir import StateDir

log = logging.getLogger(__name__)

_FILE = "overlays.json"


class Audit(Protocol):
    """Takes what happened, such as ``rules changed``, and its particulars. Where that cannot be written now, ``note``
    raises an AnonymizerError, and ``often`` has it wait."""

    def note(self, kind: str, **said: Any) -> None: ...

    def often(self, kind: str, **said: Any) -> None: ...


@dataclass(slots=True)
class CameraRules:
    """profile: the configured rules, None where they cannot be read, and then problem says why. rules: those in force,
    None as well then: the camera's pictures are covered whole."""

    profile: RuleSet | None
    overlay: Overlay
    rules: RuleSet | None
    problem: str = ""

    @property
    def floor(self) -> Action:
        """The weakest treatment that the configuration allows."""
        return Action.PRIVACY if self.profile is None else self.profile.default.action


class Control:
    """Used in the service's loop. ConfigError for a relax_key that is none, or a state that cannot be read."""

    def __init__(self, config: Config, state: StateDir, audit: Audit) -> None:
        self._state = state
        self._audit = audit
        self.problem = ""
        """Why what holds is not on disk, or empty. ``write`` tries again."""
        stored = state.read(_FILE) or {}
        if not isinstance(stored, dict):
            raise ConfigError(f"{state.path / _FILE} is broken; remove it to drop what was set over MQTT")
        self._stored: dict[str, Any] = stored.get("cameras", {})
        self._nonces = Nonces(stored.get("nonces", {}))
        self.profile: str = stored.get("profile", "")
        self.cameras: dict[str, CameraRules] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take the configuration's rules anew, and lay what is stored over them, as far as it still holds."""
        mqtt = config.mqtt
        self._config = config
        self._may_relax = mqtt is not None and mqtt.may_relax
        self._relax_key = None if mqtt is None or not mqtt.relax_key else public_key(mqtt.relax_key)
        if self.profile and self.profile not in config.profiles:
            log.error("the profile %r is not configured any more; the configured rules hold", self.profile)
            self.profile = ""
        self.cameras = {name: self._settle(name, self.profile) for name in config.cameras}

    def _configured(self, camera: str, profile: str) -> RuleSet:
        chosen = self._config.profiles[profile] if profile else ""
        return assembly.rules(chosen or self._config.cameras[camera].rules or self._config.rules)

    def _settle(self, camera: str, profile: str) -> CameraRules:
        try:
            rules = self._configured(camera, "")
            if profile:
                target = self._configured(camera, profile)
                overlay.switch(rules, target, may_relax=self._may_relax)
                rules = target
        except AnonymizerError as error:
            log.error("%s: covered whole until its rules can be read: %s", camera, error)
            return CameraRules(None, Overlay(), None, str(error))
        try:
            laid = Overlay.from_data(self._stored[camera]) if camera in self._stored else Overlay()
        except ConfigError as error:
            log.error("%s: what was set over MQTT is broken, privacy is on: %s", camera, error)
            laid = Overlay(privacy=True)
        laid, effective, complaint = overlay.settle(rules, laid, may_relax=self._may_relax)
        if complaint:
            log.warning("%s: %s", camera, complaint)
        return CameraRules(rules, laid, effective)

    def obey(self, command: Command, topics: Topics, now: float) -> list[str]:
        """Do what a command says; returns the cameras whose rules or switches changed.

        now: UTC seconds. ConfigError (Refused, InvalidFile) where it is not done; then nothing changed.
        """
        signed = False
        if isinstance(command, SetRules) and is_sealed(command.text.encode()):
            command = Signed(command.topic, command.text)
        if isinstance(command, Signed):
            if self._relax_key is None:
                raise Refused("there is no mqtt.relax_key to check this envelope with")
            payload, nonces = unseal(command.text.encode(), self._relax_key, command.topic, self._nonces, now)
            self._nonces, signed = nonces, True
            self.write()  # before the change: an envelope that was seen is used, whatever happens next
            command = topics.parse(command.topic, payload)
        may_relax = self._may_relax and (signed or self._relax_key is None)
        if isinstance(command, SetProfile):
            return self._switch(command.profile, may_relax)
        if isinstance(command, Signed):
            raise Refused("an envelope in an envelope")
        return self._change(command.camera, _change(command), may_relax)

    def profiles_offered(self) -> list[str]:
        """The profiles that may be switched to: at least as strong as the configured rules on every camera, or all
        where relaxing is allowed."""
        offered = []
        for profile in self._config.profiles:
            try:
                for name in self.cameras:
                    before, after = self._configured(name, ""), self._configured(name, profile)
                    overlay.switch(before, after, may_relax=self._may_relax)
            except AnonymizerError:
                continue
            offered.append(profile)
        return offered

    def _change(self, name: str, change: Change, may_relax: bool) -> list[str]:
        camera = self.cameras[name]
        if camera.profile is None:
            raise Refused(f"the configured rules cannot be read, the camera is covered whole: {camera.problem}")
        laid, rules = overlay.apply(camera.profile, camera.overlay, change, may_relax=may_relax)
        said = {"camera": name, "value": change.payload.decode(), "relaxed": bool(laid.relaxed)}
        said["hash"] = overlay.fingerprint(rules)
        tightens = overlay.tightens((camera.profile, camera.overlay), (camera.profile, laid))
        stored = {**self._stored, name: laid.to_data()}
        self._keep(f"{change.what} set over MQTT", said, tightens, stored, self.profile)
        camera.overlay, camera.rules = laid, rules
        return [name]

    def _switch(self, profile: str, may_relax: bool) -> list[str]:
        for name in self.cameras:
            overlay.switch(self._configured(name, ""), self._configured(name, profile), may_relax=may_relax)
        after = {name: self._settle(name, profile) for name in self.cameras}
        tightens = all(_tightens(self.cameras[name], after[name]) for name in after)
        said = {"profile": profile, "hash": {name: _digest(camera.rules) for name, camera in after.items()}}
        self._keep("profile set over MQTT", said, tightens, self._stored, profile)
        self.cameras = after
        return list(self.cameras)

    def _keep(self, what: str, said: dict[str, Any], tightens: bool, stored: dict[str, Any], profile: str) -> None:
        """Put a change on record and on disk. Where that fails a tightening holds all the same, and is written later;
        anything else is not done: AnonymizerError."""
        try:
            self._audit.note(what, **said)
        except AnonymizerError:
            if not tightens:
                raise
            self._audit.often(what, **said)
        before = self._stored, self.profile
        self._stored, self.profile = stored, profile
        self.write()
        if self.problem and not tightens:
            self._stored, self.profile = before
            raise Refused(f"{self.problem}, and so this is not done")

    def write(self) -> None:
        """Put what holds on disk, or say in ``problem`` why not."""
        try:
            self._state.write(_FILE, {"cameras": self._stored, "profile": self.profile, "nonces": self._nonces.used})
            self.problem = ""
        except OSError as error:
            problem = f"what is set over MQTT cannot be stored: {error.strerror}"
            if problem != self.problem:
                log.error("%s", problem)
            self.problem = problem


def _tightens(before: CameraRules, after: CameraRules) -> bool:
    if before.profile is None or after.profile is None:
        return after.profile is None  # covered whole
    return overlay.tightens((before.profile, before.overlay), (after.profile, after.overlay))


def _change(command: SetPrivacy | SetEnabled | SetMethod | SetRules) -> Change:
    if isinstance(command, SetRules):
        return Change("rules", command.text.encode())
    if isinstance(command, SetMethod):
        return Change("method", b"" if command.method is None else str(command.method).encode())
    return Change("privacy" if isinstance(command, SetPrivacy) else "enabled", b"ON" if command.on else b"OFF")


def _digest(rules: RuleSet | None) -> str:
    return "" if rules is None else overlay.fingerprint(rules)


def public_key(text: str) -> Ed25519PublicKey:
    """The key in ``mqtt.relax_key``. ConfigError where it is none."""
    try:
        return chain.public_key(text)
    except ValueError as error:
        raise ConfigError("mqtt.relax_key must be an Ed25519 public key: 32 bytes in base64") from error
