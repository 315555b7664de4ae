"""Stages for tests: a detector that finds bright squares, and pipelines around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import av
import cv2
import numpy as np

from anonymizer.faces.detectors import NOTHING, Detections
from anonymizer.faces.finder import Finder, FinderSettings
from anonymizer.frame import U8, Face, Frame
from anonymizer.ingest.picture import Picture
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Action, Policy, RuleSet, Treatment
from anonymizer.synthesis.swapper import Drawing, Order

WHITE = 225


class SquareDetector:
    """Finds the brightest blob as if it were a face. ``failing``: raises instead."""

    name = "squares"

    def __init__(self) -> None:
        self.failing = False
        self.calls = 0

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        self.calls += 1
        if self.failing:
            raise RuntimeError("the detector fell over")
        return [self._one(picture) for picture in pictures]

    @staticmethod
    def _one(picture: U8) -> Detections:
        bright = (picture.min(2) > WHITE - 45).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(bright)
        if w < 4 or h < 4:
            return NOTHING
        points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32) * (w, h) + (x, y)
        return Detections(
            np.array([[x, y, w, h]], np.float32), np.array([0.9], np.float32), points[None].astype(np.float32)
        )


class RaisingSwapper:
    """A swapper that takes every face and then fails."""

    def refusal(self, face: Face) -> str:
        return ""

    def reach(self, face: Face) -> tuple[float, float, float, float]:
        x, y, w, h = face.box
        return x, y, x + w, y + h

    def draw(self, orders: Sequence[Order], time: float) -> list[Drawing]:
        raise RuntimeError("the swapper fell over")


class NoCast:
    """Nobody plays anybody."""

    def scene(self, frame: Frame, verdict: object) -> object:
        return lambda face: None


def rules(action: Action) -> RuleSet:
    return RuleSet(default=Treatment(action=action))


def pipeline(
    detector: object, action: Action = Action.SOLID, lookahead: float = 0.2, swapper: object = None
) -> Pipeline:
    finder = Finder(detector, FinderSettings(lookahead))  # type: ignore[arg-type]
    return Pipeline(finder, None, Policy(rules(action), "gate"), swapper, NoCast())  # type: ignore[arg-type]


def frames(count: int, *, rate: float = 25.0, square: bool = True, start: float = 0.0) -> Iterator[Frame]:
    """Grey pictures of 320 × 192 with texture, and a bright textured square of 40 px that moves to the right."""
    noise = np.random.default_rng(7)
    ground = noise.integers(60, 110, (192, 320)).astype(np.uint8)
    face = noise.integers(WHITE - 20, 236, (40, 40)).astype(np.uint8)
    for index in range(count):
        picture = av.VideoFrame(320, 192, "yuv420p")
        coded = Picture(picture)
        planes = coded.edit()
        planes.y[:] = ground
        planes.u[:], planes.v[:] = 128, 128
        if square:
            x = place(index)
            planes.y[70:110, x : x + 40] = face
        time = start + index / rate
        yield Frame(index, index, time, coded.planes(), picture=coded, wall=time)


def place(index: int) -> int:
    """Where the square begins in picture ``index``."""
    return 30 + 3 * (index % 70)


def face_of(frame: Frame) -> U8:
    """The square's place in a painted frame, luma."""
    x = place(frame.index)
    return frame.planes.y[70:110, x : x + 40]
