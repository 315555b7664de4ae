"""Face recognisers that judge: given by path, never shipped, never a default.

A recogniser is named FAMILY=PATH. The family says how a face is laid into the model's picture and how its pixels
enter; the model gives one embedding a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anonymizer import settings
from anonymizer.errors import ConfigError, ModelError
from anonymizer.evaluate.reidentify import unit
from anonymizer.faces.runtime import Contract, Port, open_session
from anonymizer.frame import F32, U8

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where the five points lie in a picture of 112 × 112 (InsightFace's template)."""

OMZ = 128 * np.array(
    [[0.31557, 0.46157], [0.68262, 0.46157], [0.50026, 0.64051], [0.34947, 0.82470], [0.65343, 0.82470]], np.float32
)
"""The same in 128 × 128, Open Model Zoo's face-reidentification-retail-0095."""


@dataclass(frozen=True, slots=True)
class Family:
    """template: float32 (5, 2); size: (width, height); a pixel value p enters as (p − mean) / std, RGB or BGR."""

    template: F32
    size: tuple[int, int]
    rgb: bool
    mean: float = 0.0
    std: float = 1.0


FAMILIES = {
    "omz-0095": Family(OMZ, (128, 128), rgb=False),
    "y1": Family(ARCFACE, (112, 112), rgb=False),
    "arcface": Family(ARCFACE, (112, 112), rgb=True, mean=127.5, std=127.5),
    "mobilefacenet-96": Family(ARCFACE - np.array([8, 0], np.float32), (96, 112), rgb=True, mean=127.5, std=128.0),
    "sface": Family(ARCFACE, (112, 112), rgb=True),  # OpenCV's FaceRecognizerSF swaps BGR on its way in
}
"""Known families. arcface: InsightFace's w600k models and EdgeFace. y1: its MobileFaceNet with the scaling inside."""


class Recogniser:
    """One model. name: how figures name it: the family, which the command line keeps apart from others."""

    def __init__(self, name: str, family: Family, path: Path, *, threads: int = 1) -> None:
        self.name, self.path = name, path
        self._family = family
        width, height = family.size
        contract = Contract((Port("", (None, 3, height, width)),), (Port(""),))
        self._session = open_session(path, threads=threads, contract=contract)
        port = self._session.get_inputs()[0]
        self._input, self._batches = port.name, not isinstance(port.shape[0], int)

    def __call__(self, bgr: U8, points: F32) -> F32:
        """Embeddings float32 (n, d) of length one of the faces with five points float32 (n, 5, 2) in a BGR picture.

        Points in the detector's order, pixels. Raises ModelError when the model fails.
        """
        family = self._family
        faces = [cv2.warpAffine(bgr, similarity(p, family.template), family.size) for p in points]
        batch = np.stack([face[:, :, ::-1] if family.rgb else face for face in faces]).transpose(0, 3, 1, 2)
        batch = (np.ascontiguousarray(batch, np.float32) - np.float32(family.mean)) / np.float32(family.std)
        try:
            parts = [batch] if self._batches else np.split(batch, len(batch))
            rows = [self._session.run(None, {self._input: part})[0].reshape(len(part), -1) for part in parts]
        except Exception as error:
            raise ModelError(f"recogniser {self.path} failed: {str(error).splitlines()[0]}") from error
        return unit(np.concatenate(rows).astype(np.float32))


def similarity(source: F32, target: F32) -> F32:
    """float32 (2, 3): the turn, scale and shift that lay points source (n, 2) on target with least squares.

    Umeyama 1991, in two dimensions and without reflection.
    """
    a, b = source.mean(0), target.mean(0)
    x, y = (source - a).astype(np.float64), (target - b).astype(np.float64)
    power = max(float((x**2).sum()), 1e-9)
    c = float((x * y).sum()) / power
    s = float((x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()) / power
    turn = np.array([[c, -s], [s, c]])
    return np.concatenate([turn, (b - turn @ a)[:, None]], 1).astype(np.float32)


def load_recognisers(given: Sequence[str]) -> list[Recogniser]:
    """Models named FAMILY=PATH. ConfigError for a wrong name, ModelError for a missing or wrong file."""
    out: list[Recogniser] = []
    for one in given:
        name, found, path = one.partition("=")
        if not found:
            raise ConfigError(f"recogniser {one!r}: write FAMILY=PATH; families: {', '.join(FAMILIES)}")
        if name not in FAMILIES:
            raise ConfigError(f"recogniser {one!r}: there is no family {name!r}.{settings.hint(name, FAMILIES)}")
        taken = sum(other.name.split(" ")[0] == name for other in out)
        out.append(Recogniser(f"{name} {taken + 1}" if taken else name, FAMILIES[name], Path(path)))
    return out
