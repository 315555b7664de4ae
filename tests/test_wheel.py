"""What pip installs elsewhere works without this checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_every_package_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in (ROOT / "anonymizer").rglob("__init__.py")}
    assert listed == found | {"anonymizer.models", "anonymizer.rules"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: setuptools leaves a build folder behind
    for name in ("anonymizer", "models", "rules"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, capture_output=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_models_and_rules_and_no_training_code(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for model in (
        "face_detector.onnx",
        "face_landmarks.onnx",
        "face_refiner.onnx",
        "face_model.npz",
        "manifest.yaml",
        "cards/face_model.md",
    ):
        assert f"anonymizer/models/{model}" in names
    assert "anonymizer/rules/gdpr-default.yaml" in names
    assert not [name for name in names if "training" in name or name.startswith("tests")]


def test_an_installed_wheel_finds_its_models(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from anonymizer import registry; print([m.path for m in registry.manifest() if m.own and not m.present])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def pins(path: Path) -> set[str]:
    """Names and versions, without the Pythons and systems that they are for."""
    return {line.split()[0] for line in path.read_text().splitlines() if line[:1].isalnum()}


def test_images_hold_the_versions_that_are_tested_and_nothing_of_development() -> None:
    image = pins(ROOT / "deploy" / "requirements.lock")
    assert image < pins(ROOT / "requirements.lock")
    names = {pin.partition("==")[0] for pin in image}
    assert {"av", "onnxruntime", "cryptography"} <= names and not {"pytest", "mypy", "playwright", "onnx"} & names
