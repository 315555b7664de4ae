"""What MQTT may change, what it may not, and what of it survives a restart."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.config import CameraSettings, Config
from anonymizer.control import Control
from anonymizer.errors import ConfigError
from anonymizer.events.settings import MqttSettings
from anonymizer.events.topics import Topics
from anonymizer.ingest.camera import SourceSettings
from anonymizer.policy import Action
from anonymizer.policy.envelope import Refused, seal
from anonymizer.record.audit import AuditError
from anonymizer.settings import Secret
from anonymizer.statedir import StateDir

TOPICS = Topics("anonymizer", ("gate",), ("day", "night"))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = 1_800_000_000.0


class Trail:
    """An audit that keeps what it is told: ``broken`` takes only what may wait."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.broken = False

    def note(self, kind: str, **said: Any) -> None:
        if self.broken:
            raise AuditError("the audit is full")
        self.often(kind, **said)

    def often(self, kind: str, **said: Any) -> None:
        self.told.append((kind, said))


class Bench:
    """A control over one camera, and its audit."""

    def __init__(self, folder: Path, default: str = "replace", **mqtt: Any) -> None:
        rules = folder / "rules.yaml"
        if not rules.exists():
            rules.write_text(f"default: {default}\n")
        (folder / "day.yaml").write_text("default: blur\n")
        (folder / "night.yaml").write_text("default: silhouette\n")
        camera = CameraSettings(source=SourceSettings(url=Secret("rtsp://127.0.0.1/x")))
        self.rules = rules
        self.config = Config(
            cameras={"gate": camera},
            rules=str(rules),
            profiles={"day": str(folder / "day.yaml"), "night": str(folder / "night.yaml")},
            mqtt=MqttSettings(host="127.0.0.1", **mqtt),
        )
        self.trail = Trail()
        self.state = StateDir(folder / "state")
        self.control = Control(self.config, self.state, self.trail)

    def send(self, topic: str, payload: str | bytes, now: float = NOW) -> list[str]:
        raw = payload.encode() if isinstance(payload, str) else payload
        return self.control.obey(TOPICS.parse(f"anonymizer/{topic}", raw), TOPICS, now)

    @property
    def action(self) -> Action:
        rules = self.control.cameras["gate"].rules
        assert rules is not None
        return rules.default.action


def test_a_tightening_is_obeyed_audited_and_survives_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.send("gate/method/set", "solid") == ["gate"]
    assert bench.action is Action.SOLID
    assert bench.trail.told[0][0] == "method set over MQTT" and bench.trail.told[0][1]["camera"] == "gate"
    assert Bench(tmp_path).action is Action.SOLID
    bench.send("gate/method/set", "rules")
    assert Bench(tmp_path).action is Action.REPLACE


@pytest.mark.parametrize(
    ("topic", "payload"), [("gate/method/set", "blur"), ("gate/rules/set", "default: blur"), ("profile/set", "day")]
)
def test_a_relaxation_is_refused_and_changes_nothing(tmp_path: Path, topic: str, payload: str) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(Refused, match="laxer"):
        bench.send(topic, payload)
    assert bench.action is Action.REPLACE and not bench.trail.told
    assert Bench(tmp_path).action is Action.REPLACE


def test_profiles_switch_up_and_back_and_survive(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.control.profiles_offered() == ["night"]
    bench.send("profile/set", "night")
    assert bench.action is Action.SILHOUETTE
    assert Bench(tmp_path).action is Action.SILHOUETTE
    bench.send("profile/set", "configured")
    assert bench.action is Action.REPLACE


def test_privacy_and_enabled(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send("gate/privacy/set", "ON")
    bench.send("gate/enabled/set", "OFF")
    again = Bench(tmp_path)
    assert again.action is Action.PRIVACY
    assert again.control.cameras["gate"].overlay.enabled is False


UNDONE = {"gate/privacy/set": "OFF", "gate/enabled/set": "ON", "gate/method/set": "rules", "gate/rules/set": "",
          "profile/set": "configured"}  # fmt: skip
TIGHTENINGS = [("gate/privacy/set", "ON"), ("gate/enabled/set", "OFF"), ("gate/method/set", "solid"),
               ("gate/rules/set", "default: solid"), ("profile/set", "night")]  # fmt: skip


def held(bench: Bench) -> tuple[Any, ...]:
    camera = bench.control.cameras["gate"]
    return camera.overlay, camera.rules, bench.control.profile


def full_disk(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.state, "write", full)


@pytest.mark.parametrize(("topic", "payload"), TIGHTENINGS)
def test_a_loosening_that_cannot_be_stored_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: str, payload: str
) -> None:
    bench = Bench(tmp_path)
    bench.send(topic, payload)
    before = held(bench)
    full_disk(monkeypatch, bench)
    with pytest.raises(Refused, match="cannot be stored: No space left"):
        bench.send(topic, UNDONE[topic])
    assert held(bench) == before
    monkeypatch.undo()
    bench.control.write()
    assert not bench.control.problem and held(Bench(tmp_path)) == before


@pytest.mark.parametrize(("topic", "payload"), TIGHTENINGS)
def test_a_loosening_that_cannot_be_audited_is_not_done(tmp_path: Path, topic: str, payload: str) -> None:
    bench = Bench(tmp_path)
    bench.send(topic, payload)
    before = held(bench)
    bench.trail.broken = True
    with pytest.raises(AuditError, match="full"):
        bench.send(topic, UNDONE[topic])
    assert held(bench) == before == held(Bench(tmp_path))


@pytest.mark.parametrize(("topic", "payload"), TIGHTENINGS)
def test_a_tightening_needs_neither_disk_nor_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: str, payload: str
) -> None:
    bench = Bench(tmp_path)
    before = held(bench)
    full_disk(monkeypatch, bench)
    bench.trail.broken = True
    assert bench.send(topic, payload) == ["gate"]
    assert held(bench) != before and "No space left" in bench.control.problem and len(bench.trail.told) == 1
    monkeypatch.undo()
    bench.control.write()
    assert not bench.control.problem and held(Bench(tmp_path)) == held(bench)


def test_an_envelope_that_cannot_be_noted_loosens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, may_relax=True, relax_key=relax_key())
    full_disk(monkeypatch, bench)
    with pytest.raises(Refused, match="cannot be stored"):
        bench.send("gate/method/set", seal(KEY, "anonymizer/gate/method/set", b"blur", "0123456789abcdef", NOW + 60))
    assert bench.action is Action.REPLACE
    bench.send("gate/privacy/set", seal(KEY, "anonymizer/gate/privacy/set", b"ON", "fedcba9876543210", NOW + 60))
    assert bench.action is Action.PRIVACY


def relax_key() -> str:
    return base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


def test_a_signed_relaxation_works_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, may_relax=True, relax_key=relax_key())
    with pytest.raises(Refused, match="laxer"):
        bench.send("gate/method/set", "blur")
    envelope = seal(KEY, "anonymizer/gate/method/set", b"blur", "0123456789abcdef", NOW + 60)
    bench.send("gate/method/set", envelope)
    assert bench.action is Action.BLUR
    bench.send("gate/method/set", "rules")
    with pytest.raises(Refused, match="used before"):
        bench.send("gate/method/set", envelope)
    with pytest.raises(Refused, match="used before"):  # nor after a restart
        Bench(tmp_path, may_relax=True, relax_key=relax_key()).send("gate/method/set", envelope)
    assert bench.action is Action.REPLACE


@pytest.mark.parametrize(
    ("topic", "expires", "key", "words"),
    [
        ("anonymizer/gate/method/set", NOW - 1, KEY, "expired"),
        ("anonymizer/gate/method/set", NOW + 10**6, KEY, "too long"),
        ("anonymizer/yard/method/set", NOW + 60, KEY, "topic"),
        ("anonymizer/gate/method/set", NOW + 60, Ed25519PrivateKey.generate(), "signature"),
    ],
)
def test_bad_envelopes_are_refused(
    tmp_path: Path, topic: str, expires: float, key: Ed25519PrivateKey, words: str
) -> None:
    bench = Bench(tmp_path, may_relax=True, relax_key=relax_key())
    with pytest.raises(Refused, match=words):
        bench.send("gate/method/set", seal(key, topic, b"blur", "0123456789abcdef", expires))
    assert bench.action is Action.REPLACE


def test_an_envelope_without_a_key_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, may_relax=False)
    with pytest.raises(Refused, match="relax_key"):
        bench.send("gate/method/set", seal(KEY, "anonymizer/gate/method/set", b"blur", "0123456789abcdef", NOW + 60))


def test_broken_rules_at_start_leave_no_rules_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("default: keep\n")
    camera = Bench(tmp_path).control.cameras["gate"]
    assert camera.rules is None and "keep" in camera.problem


def test_broken_stored_switches_turn_privacy_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.state.write("overlays.json", {"cameras": {"gate": {"method": 7}}, "profile": "", "nonces": {}})
    assert Bench(tmp_path).action is Action.PRIVACY


def test_a_stronger_configuration_drops_what_has_become_laxer(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send("gate/rules/set", "default: solid")
    bench.rules.write_text("default: silhouette\n")
    assert Bench(tmp_path).action is Action.SILHOUETTE


def test_a_stronger_profile_ends_a_relaxation(tmp_path: Path) -> None:
    bench = Bench(tmp_path, may_relax=True)
    bench.send("gate/rules/set", "default: blur")
    assert bench.action is Action.BLUR
    assert Bench(tmp_path, may_relax=True).action is Action.BLUR
    bench.send("profile/set", "night")
    assert bench.action is Action.SILHOUETTE
    bench.send("gate/rules/set", "default: blur")
    bench.send("profile/set", "configured")
    assert bench.action is Action.REPLACE


def test_stronger_configured_rules_end_a_relaxation(tmp_path: Path) -> None:
    bench = Bench(tmp_path, may_relax=True)
    bench.send("gate/method/set", "blur")
    bench.rules.write_text("default: solid\n")
    bench.control.configure(bench.config)
    assert bench.action is Action.SOLID


def test_a_key_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="relax_key"):
        Bench(tmp_path, may_relax=True, relax_key="nonsense")


def test_the_state_folder_is_the_owners_only(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send("gate/method/set", "solid")
    folder = tmp_path / "state"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "overlays.json").stat().st_mode) == 0o600
    assert json.loads((folder / "overlays.json").read_text())["cameras"]["gate"]["method"] == "solid"
    assert [p.name for p in folder.iterdir()] == ["overlays.json"]
