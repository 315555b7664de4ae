"""What lies in ``deploy``, as far as it can be told without Docker and systemd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

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


def test_nothing_that_must_last_lies_in_a_folder_that_goes() -> None:
    claim, deployment = (find(DEPLOY / "kubernetes.yaml", kind) for kind in ("PersistentVolumeClaim", "Deployment"))
    volumes = {one["name"]: one for one in deployment["spec"]["template"]["spec"]["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (frigate,) = yaml.safe_load_all((DEPLOY / "frigate" / "compose.yaml").read_text())
    assert "frigate:/config" in frigate["services"]["frigate"]["volumes"] and "frigate" in frigate["volumes"]


@pytest.mark.parametrize("file", ["compose.yaml", "frigate/compose.yaml"])
def test_the_image_is_built_from_this_repository(file: str) -> None:
    build = yaml.safe_load((DEPLOY / file).read_text())["services"]["anonymizer"]["build"]
    assert ((DEPLOY / file).parent / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def find(path: Path, kind: str) -> Any:
    """The one object of a kind in a Kubernetes file."""
    (found,) = (one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == kind)
    return found
