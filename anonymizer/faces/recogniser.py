"""Embeddings of faces, for rules that name a group of enrolled people. Never run unless a rule asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anonymizer.errors import ModelError
from anonymizer.faces.alignment import ARCFACE, RETAIL, aligned
from anonymizer.faces.runtime import open_session
from anonymizer.frame import F32, Planes


@dataclass(frozen=True)
class _Family:
    """size: side of the input; length: of the embedding; template: where the five points go."""

    name: str
    size: int
    length: int
    template: F32


FAMILIES = (_Family("SFace", 112, 128, ARCFACE), _Family("face-reidentification-retail-0095", 128, 256, RETAIL))
"""Both take BGR 0–255, NCHW."""


class Recogniser:
    """A recogniser of one of the families, told apart by its shapes. ModelError for a file that is none."""

    def __init__(self, model: Path, *, threads: int = 1, providers: Sequence[str] = ("cpu",)) -> None:
        self._session = open_session(model, threads=threads, providers=providers)
        source, result = self._session.get_inputs()[0], self._session.get_outputs()[0]
        lengths = [n for n in result.shape[1:] if isinstance(n, int) and n > 1]
        for family in FAMILIES:
            if list(source.shape[2:]) == [family.size] * 2 and lengths == [family.length]:
                self._family = family
                break
        else:
            raise ModelError(
                f"{model}: no recogniser of the families {', '.join(f.name for f in FAMILIES)}: "
                f"input {source.shape}, output {result.shape}"
            )
        self._input = source.name
        self.name = self._family.name

    def embed(self, planes: Planes, points: F32) -> F32 | None:
        """float32 (d,) of length 1 for the face at points, float32 (5, 2); None where it cannot be aligned."""
        crop = aligned(planes, points, self._family.template, self._family.size)
        if crop is None:
            return None
        batch = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)
        found = np.asarray(self._session.run(None, {self._input: batch})[0], np.float32).ravel()
        norm = float(np.linalg.norm(found))
        return found / norm if norm > 0 and np.isfinite(norm) else None
