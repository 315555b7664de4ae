"""What the configuration says of models reaches all of them."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer import assembly
from anonymizer.config import Config, FacesSettings
from anonymizer.faces import runtime
from anonymizer.frame import Planes
from anonymizer.policy import Policy, load
from anonymizer.synthesis.refiner import Rendered
from anonymizer.synthesis.swapper import Drawing


def test_every_model_is_opened_with_the_providers_that_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def known(short: tuple[str, ...]) -> list[str]:
        asked.append(tuple(short))
        return [runtime.PROVIDERS["cpu"]]

    monkeypatch.setattr(runtime, "provider_names", known)
    faces = FacesSettings(providers=("openvino", "cpu"))
    assembly.pipeline(Config(faces=faces), Policy(load("default: replace", "f"), "gate"), camera="gate")
    crop = Planes(*(np.zeros((side, side), np.uint8) for side in (64, 32, 32)))
    points = np.random.default_rng(0).uniform(16, 48, (200, 2)).astype(np.float32)
    assembly.refiner(faces)([Rendered(crop, Drawing(crop, np.zeros((64, 64), np.uint8)), points)])
    assert asked == [("openvino", "cpu")] * 3  # detector, landmarks, refiner
