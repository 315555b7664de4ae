"""Builds a source's pipeline from the configuration: which models, which settings."""

from __future__ import annotations

import secrets

from anonymizer import registry
from anonymizer.config import Config, FacesSettings
from anonymizer.errors import ConfigError
from anonymizer.faces.detectors import Detector, load_detector
from anonymizer.faces.finder import Finder, FinderSettings
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.schedule import ScheduleSettings
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.pipeline import Decides, Pipeline
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.synthesis.cast import Cast
from anonymizer.synthesis.embedded import EmbeddedSwapper


def detectors(faces: FacesSettings) -> tuple[Detector, Detector | None]:
    """The detector and, where one is named, the second one. ModelError where a file is missing or wrong."""
    first = _detector(faces, faces.detector)
    return first, _detector(faces, faces.second_detector) if faces.second_detector else None


def _detector(faces: FacesSettings, choice: str) -> Detector:
    return load_detector(registry.resolve("detector", choice), threads=faces.threads, providers=faces.providers)


def pipeline(config: Config, policy: Decides, *, camera: str, epoch: int = 0, replace: bool = True) -> Pipeline:
    """The stages of one source. replace: whether any rule may ask for replacement; without, its models stay unread.

    ModelError where a model is missing or wrong, ConfigError where the bank key is none.
    """
    faces = config.faces
    first, second = detectors(faces)
    schedule = ScheduleSettings(size=faces.size, first_size=max(faces.size, ScheduleSettings.first_size))
    finder = Finder(first, FinderSettings(faces.lookahead, thorough=faces.thorough, schedule=schedule, tracker=TrackerSettings(margin=0.0)), second)
    landmarker, swapper = None, None
    model = FaceModel.load(registry.resolve("face-model", config.identity.model))
    try:
        key = config.identity.bank_key() or secrets.token_bytes(32)
    except ValueError as error:
        raise ConfigError(f"identity.key: {error}") from error
    if replace:
        landmarker = Landmarker(registry.resolve("landmarks", faces.landmarks), threads=faces.threads)
        swapper = EmbeddedSwapper(model)
    return Pipeline(finder, landmarker, policy, swapper, Cast(Bank(model, key), camera, epoch))
