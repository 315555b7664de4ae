"""What the controller says of itself in every package: read from a file, since no camera knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anonymizer import assembly, registry, resources, settings, yamlfile
from anonymizer.config import Config
from anonymizer.export.contents import Figure, Identifiability, Model, Notice, Processing
from anonymizer.export.job import digest
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.settings import setting

NO_RULES = "no rule file: every face is replaced"


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """A measured figure, as `anonymizer evaluate` gives them."""

    what: str = setting("What", example="faces that a recogniser still matches")
    value: str = setting("Value", example="0.4 % (control 0.9 %)")
    how: str = setting("How it was measured", example="leak.py on three clips of our own")


@dataclass(frozen=True, kw_only=True)
class Particulars:
    """The controller's part of a package (Art. 15(1) GDPR)."""

    controller: str = setting("Controller", example="Mill Lane Ltd, 1 Mill Lane")
    contact: str = setting("Contact", example="privacy@example.org")
    officer: str = setting("Data protection officer", default="")
    purposes: tuple[str, ...] = setting("Purposes", single=True, minimum=1, example="safety of the yard")
    recipients: tuple[str, ...] = setting("Recipients", single=True, minimum=1, example="the person who asks")
    storage: str = setting("How long recordings are kept", example="30 days")
    source: str = setting("Where the data comes from", example="cameras in the yard")
    authority: str = setting("Supervisory authority that takes complaints")
    transfers: str = setting(
        "Transfers", default="No data goes to a country outside the EEA or to an international organisation."
    )
    dpia: str = setting("Reference of the impact assessment", default="")
    keep_days: float = setting("Days after which a package must be deleted", default=90.0, minimum=1, maximum=3650)
    figures: tuple[FigureSettings, ...] = setting("Measured figures", default=())

    @property
    def notice(self) -> Notice:
        return Notice(
            self.controller, self.contact, self.purposes, self.recipients, self.storage, self.source, self.authority,
            self.transfers, self.officer,
        )  # fmt: skip

    @property
    def identifiability(self) -> Identifiability:
        return Identifiability(tuple(Figure(f.what, f.value, f.how) for f in self.figures), self.dpia)


def read(path: Path) -> Particulars:
    """ConfigError with every problem found."""
    return settings.build(Particulars, yamlfile.read(path))


def processing(
    config: Config, cameras: Sequence[str], decided: Sequence[str], thresholds: dict[str, float],
    roles: Sequence[registry.Role], **more: Any,
) -> Processing:  # fmt: skip
    """The record of the processing, as configured now. decided: the rules that did. thresholds: besides those of
    finding faces. roles: of the models that were used. more: other settings that matter. ModelError where a model is
    not there."""
    finding = TrackerSettings()
    named = _named(config, cameras)
    return Processing(
        ", ".join(name or NO_RULES for name in named),
        hashlib.sha256(b"".join(_rules(name) for name in named)).hexdigest() if any(named) else "",
        tuple(sorted(set(decided))),
        tuple(_model(config, role) for role in roles),
        {"detector score that begins a face": finding.start, "detector score that continues one": finding.low}
        | thresholds,
        more,
    )


def drawers(config: Config, cameras: Sequence[str]) -> tuple[registry.Role, ...]:
    """The models that have a part in the cameras' own streams."""
    refined = any(assembly.refines(assembly.rules(name)) for name in _named(config, cameras))
    return ("detector", "landmarks", "face-model", "refiner") if refined else ("detector", "landmarks", "face-model")


def masks(config: Config, camera: str) -> dict[str, Any]:
    """The areas of a camera that stay covered."""
    own = config.cameras[camera].rules if camera in config.cameras else ""
    return {name: area for name, area in assembly.rules(own or config.rules).masks.items() if area.on(camera)}


def _named(config: Config, cameras: Sequence[str]) -> list[str]:
    """The names of the rules that the cameras obey."""
    return sorted({config.cameras[c].rules or config.rules if c in config.cameras else config.rules for c in cameras})


def _rules(name: str) -> bytes:
    if not name:
        return b""
    path = Path(name)
    return (path if path.suffix else resources.folder("rules") / f"{name}.yaml").read_bytes()


def _model(config: Config, role: registry.Role) -> Model:
    faces = config.faces
    choice = {
        "detector": faces.detector, "landmarks": faces.landmarks, "recogniser": faces.recogniser,
        "face-model": config.identity.model, "refiner": "auto",
    }[role]  # fmt: skip
    path = registry.resolve(role, choice)
    return Model(path.stem, role, digest(path))
