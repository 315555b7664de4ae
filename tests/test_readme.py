"""What the README shows can be used as it stands there."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from anonymizer import config, policy
from anonymizer.export import particulars
from anonymizer.policy.decision import CameraRules, FaceFacts, Picture
from anonymizer.settings import declared
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def example(begins: str) -> str:
    """The YAML block whose first line begins so."""
    (found,) = (block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if block.startswith(begins))
    return found


@pytest.mark.parametrize(
    ("when", "action"),
    [
        ("2026-11-24T12:00", "replace"),  # a Tuesday
        ("2026-11-24T20:00", "solid"),
        ("2026-11-29T12:00", "solid"),  # a Sunday
        ("2026-11-30T08:59", "solid"),
        ("2026-11-30T09:00", "replace"),
    ],
)
def test_nobody_is_shown_at_the_till_after_hours(when: str, action: str) -> None:
    rules = policy.load(example("default:"), "README.md")
    time = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(rules.timezone)).timestamp()
    face = FaceFacts(
        track=1, box=(1400, 500, 60, 80), age=0.0, confidence=1.0, time_in_view=1.0, pose_usable=True, known=None
    )
    verdict = CameraRules(rules, "shop").decide([face], Picture("shop", time, 1920, 1080))
    assert str(verdict.faces[0].action) == action


@pytest.mark.parametrize("file", ["README.md", "deploy/frigate/anonymizer.yaml"])
def test_home_assistant_finds_the_cameras(tmp_path: Path, file: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(example("rules:") if file == "README.md" else (ROOT / file).read_text())
    mqtt = config.load(path).mqtt
    assert mqtt is not None and mqtt.homeassistant.discovery


def test_the_controllers_file_shows_every_key(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(example("controller:"))
    particulars.read(path)
    assert set(yaml.safe_load(path.read_text())) == {one.name for one in declared(particulars.Particulars)}
