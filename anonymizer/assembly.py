"""Builds a source's pipeline from the configuration: which models, which settings."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

import cv2

from anonymizer import registry
from anonymizer.config import Config, FacesSettings
from anonymizer.errors import AnonymizerError, ConfigError
from anonymizer.faces import doubtful
from anonymizer.faces.detectors import Detector, load_detector
from anonymizer.faces.doubtful import Doubtful
from anonymizer.faces.finder import Finder, FinderSettings
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.recogniser import Recogniser
from anonymizer.faces.schedule import ScheduleSettings
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.groups import Gallery, Member
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Action, Policy, RuleSet, files
from anonymizer.policy.actions import Enhance
from anonymizer.recognition import Recognition
from anonymizer.synthesis.bank import Bank, FaceModel
from anonymizer.synthesis.cast import Cast
from anonymizer.synthesis.embedded import EmbeddedSwapper
from anonymizer.synthesis.refiner import Refiner

log = logging.getLogger(__name__)

NATIVE = 1 << 16
"""Pixels: a limit of the detector's input that no picture reaches."""


def detectors(faces: FacesSettings) -> tuple[Detector, Detector | None]:
    """The detector and, where one is named, the second one. ModelError where a file is missing or wrong."""
    first = _detector(faces, faces.detector)
    return first, _detector(faces, faces.second_detector) if faces.second_detector else None


def _detector(faces: FacesSettings, choice: str) -> Detector:
    return load_detector(registry.resolve("detector", choice), threads=faces.threads, providers=faces.providers)


def models(config: Config) -> str:
    """Which files are taken for the models, in words, for the log."""
    faces = config.faces
    chosen: tuple[tuple[registry.Role, str], ...] = (
        ("detector", faces.detector), ("landmarks", faces.landmarks), ("face-model", config.identity.model),
    )  # fmt: skip
    told = []
    for role, choice in chosen:
        try:
            told.append(f"{role} {registry.resolve(role, choice)}")
        except AnonymizerError as error:
            told.append(f"{role} none ({error})")
    return ", ".join(told)


def rules(name: str) -> RuleSet:
    """The rules in a file, or the shipped ones of that name; without a name every face is replaced.

    Calendars that they name lie beside the file. ConfigError with every problem found.
    """
    return files.read(files.find(name)) if name else RuleSet()


def replaces(rules: RuleSet) -> bool:
    """Whether the rules ever replace a face, so that its models are needed."""
    return Action.REPLACE in (rules.default.action, *(rule.then.action for rule in rules.rules))


def refines(rules: RuleSet) -> bool:
    """Whether the rules ever ask for replaced faces to be refined."""
    return any(then.enhance is not Enhance.OFF for then in (rules.default, *(rule.then for rule in rules.rules)))


def refiner(faces: FacesSettings) -> Refiner:
    """What refines replaced faces. Its model is read when a rule first asks for it."""
    return Refiner(lambda: registry.resolve("refiner", "auto"), threads=faces.threads, providers=faces.providers)


def recognition(faces: FacesSettings, rules: RuleSet, members: Sequence[Member]) -> Recognition | None:
    """The stage that recognises members; None where the rules ask for nobody, and then no model is read.

    ModelError where they ask and there is no recogniser.
    """
    if not rules.asks_groups or not members:
        return None
    model = registry.resolve("recogniser", faces.recogniser)
    recogniser = Recogniser(model, threads=faces.threads, providers=faces.providers)
    return Recognition(recogniser, Gallery([one for one in members if one.recogniser == recogniser.name]))


def pipeline(
    config: Config, policy: Policy, *, camera: str, epoch: int = 0, replace: bool = True, every: bool = False
) -> Pipeline:
    """The stages of one source. replace: whether the rules may ever ask for it; without, its models stay unread.
    every: every frame is looked at whole, as faces.look says, and faint faces are covered too.

    ModelError where a model is missing or wrong, ConfigError where the bank key is none.
    """
    # OpenCV's own threads wait by spinning: on pictures the size of faces they cost half as much again and save no time
    cv2.setNumThreads(1)
    faces = config.faces
    if log.isEnabledFor(logging.INFO):  # asking for the models reads the manifest
        log.info("models: %s", models(config))
    first, second = detectors(faces)
    schedule = ScheduleSettings(size=faces.size, first_size=max(faces.size, ScheduleSettings.first_size))
    # What is covered beyond the face is the policy's to say: the tracker adds only what it does not know.
    tracking = TrackerSettings(margin=0.0)
    if every:
        size = faces.look.size or NATIVE
        schedule = ScheduleSettings(interval=0.0, still=0.0, size=size, first_size=size, regions=0)
    by_need = every and faces.look.size > 0 and not faces.thorough
    if every or faces.thorough:
        tracking = doubtful.tracking(first, doubtful.THOROUGH if faces.thorough else faces.look.faint, by_need)
        first, second = Doubtful(first), second and Doubtful(second)
    finding = FinderSettings(
        faces.lookahead, thorough=faces.thorough, by_need=by_need, schedule=schedule, tracker=tracking
    )
    try:
        key = config.identity.bank_key() or secrets.token_bytes(32)
    except ValueError as error:
        raise ConfigError(f"identity.key: {error}") from error
    model = FaceModel.load(registry.resolve("face-model", config.identity.model))
    landmarker, swapper = None, None
    if replace:
        net = registry.resolve("landmarks", faces.landmarks)
        landmarker = Landmarker(net, threads=faces.threads, providers=faces.providers)
        swapper = EmbeddedSwapper(model, refiner=refiner(faces))
    return Pipeline(Finder(first, finding, second), landmarker, policy, swapper, Cast(Bank(model, key), camera, epoch))
