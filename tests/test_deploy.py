"""What lies in ``deploy``, as far as it can be told without Docker and systemd."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymizer import assembly, registry
from anonymizer.config import Config
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"


def test_the_service_finds_the_models_that_root_fetched() -> None:
    unit = (DEPLOY / "anonymizer.service").read_text().splitlines()
    assert "Environment=ANONYMIZER_MODELS=/var/lib/anonymizer/models" in unit
    assert "StateDirectory=anonymizer" in unit


def test_the_log_says_which_models_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANONYMIZER_MODELS", str(tmp_path))
    assert "detector " + str(ROOT / "models" / "face_detector.onnx") in assembly.models(Config())
    registry.find("yunet_n").path.write_bytes(b"")
    assert f"detector {tmp_path}" in assembly.models(Config())
