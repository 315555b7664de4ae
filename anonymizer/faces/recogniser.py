"""Embeddings of faces: for rules that name a group of enrolled people, and for the attackers that an evaluation is
given. Never run unless a rule or an evaluation asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anonymizer.errors import ModelError
from anonymizer.faces.alignment import ARCFACE, RETAIL, aligned, cut
from anonymizer.faces.runtime import Contract, Port, check, open_session
from anonymizer.frame import F32, U8, Planes


@dataclass(frozen=True, slots=True)
class Family:
    """template: float32 (5, 2), pixels of the input of this size (width, height). A pixel value p enters as
    (p − mean) / std, RGB or BGR. length: of the embedding, where it tells the family; 0 for families that only an
    evaluation uses."""

    template: F32
    size: tuple[int, int]
    rgb: bool
    mean: float = 0.0
    std: float = 1.0
    length: int = 0


FAMILIES = {
    "sface": Family(ARCFACE, (112, 112), rgb=True, length=128),  # OpenCV's FaceRecognizerSF swaps BGR on its way in
    "omz-0095": Family(RETAIL, (128, 128), rgb=False, length=256),
    "y1": Family(ARCFACE, (112, 112), rgb=False),
    "arcface": Family(ARCFACE, (112, 112), rgb=True, mean=127.5, std=127.5),
    "mobilefacenet-96": Family(ARCFACE - np.array([8, 0], np.float32), (96, 112), rgb=True, mean=127.5, std=128.0),
}
"""Known families: OpenCV Zoo's SFace; Open Model Zoo's face-reidentification-retail-0095; y1, InsightFace's
MobileFaceNet with the scaling inside; arcface, InsightFace's w600k models and EdgeFace; MobileFaceNets of 112 × 96."""


class Recogniser:
    """One model. family: its key in FAMILIES; without it SFace and omz-0095 are told apart by their shapes.

    ModelError for a file that is none. name: the family's key, or what the caller wants the model to be called.
    """

    def __init__(
        self, model: Path, family: str = "", *, name: str = "", threads: int = 1, providers: Sequence[str] = ("cpu",)
    ) -> None:
        self._session = open_session(model, threads=threads, providers=providers)
        source = self._session.get_inputs()[0]
        key = family or self._told(model)
        self._family, self.name, self.path = FAMILIES[key], name or key, model
        width, height = self._family.size
        check(model, self._session, Contract((Port("", (None, 3, height, width)),), (Port(""),)))
        self._input, self._batches = source.name, not isinstance(source.shape[0], int)

    def embed(self, planes: Planes, points: F32) -> F32 | None:
        """float32 (d,) of length 1 for the face at points, float32 (5, 2); None where it cannot be aligned."""
        crop = cut(planes, points, self._family.template, self._family.size)
        if crop is None:
            return None
        found = self._embed([crop])[0]
        return found if np.isfinite(found).all() and found.any() else None

    def __call__(self, bgr: U8, points: F32) -> F32:
        """Embeddings float32 (n, d) of length 1 of the faces with five points float32 (n, 5, 2) in a BGR picture.

        Points in the detector's order, pixels.
        """
        return self._embed([aligned(bgr, p, self._family.template, self._family.size) for p in points])

    def _embed(self, crops: Sequence[U8]) -> F32:
        family = self._family
        faces = np.stack([crop[:, :, ::-1] if family.rgb else crop for crop in crops]).transpose(0, 3, 1, 2)
        batch = (np.ascontiguousarray(faces, np.float32) - np.float32(family.mean)) / np.float32(family.std)
        try:
            parts = [batch] if self._batches else [one[None] for one in batch]
            rows = [np.asarray(self._session.run(None, {self._input: p})[0]).reshape(len(p), -1) for p in parts]
        except Exception as error:
            raise ModelError(f"recogniser {self.path} failed: {str(error).splitlines()[0]}") from error
        return unit(np.concatenate(rows).astype(np.float32))

    def _told(self, model: Path) -> str:
        """The family, by the shapes."""
        source, result = self._session.get_inputs()[0], self._session.get_outputs()[0]
        lengths = [n for n in result.shape[1:] if isinstance(n, int) and n > 1]
        known = [key for key, family in FAMILIES.items() if family.length]
        for key in known:
            width, height = FAMILIES[key].size
            if list(source.shape[2:]) == [height, width] and lengths == [FAMILIES[key].length]:
                return key
        raise ModelError(
            f"{model}: no recogniser of the families {', '.join(known)}: input {source.shape}, output {result.shape}"
        )


def unit(embeddings: F32) -> F32:
    """The same directions, of length one, along the last axis."""
    length = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return np.asarray(embeddings / np.maximum(length, 1e-9), np.float32)
