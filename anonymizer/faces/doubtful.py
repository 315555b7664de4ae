"""A detector for when nothing may be missed: it also tells of small faces that are in doubt.

Below ``SURE`` a detector's boxes are mostly no faces, and a wrong box costs as much of the picture as it is large. But
the faces that score so low are small, behind glass or turned away: large ones are seen well. So doubtful boxes count
where they are small, and are left out where they are large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anonymizer.faces.detectors import Detections, Detector
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.frame import U8
from anonymizer.settings import setting

SURE = TrackerSettings.start
"""Score from which on a box of any size counts, as it does everywhere else."""
LARGEST = 40
"""Pixels of the network's picture: higher boxes have to reach ``SURE``."""


class Doubtful:
    """detector, and its doubtful boxes where they are small."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        """As ``Detector.detect``: boxes from floor on that are small, and from ``SURE`` on all."""
        return [
            found.take((found.scores >= SURE) | (found.boxes[:, 3] <= LARGEST))
            for found in self._detector.detect(pictures, floor)
        ]


@dataclass(frozen=True, kw_only=True)
class LookSettings:
    """Looking at every frame, where nothing may be missed."""

    size: int = setting(
        "Input for clean GOPs",
        default=960,
        minimum=0,
        maximum=7680,
        unit="pixels",
        description="Longer side of the picture that the detector sees of every frame, to tell whether a GOP is clean; "
        "0 for the frame's own size",
    )
    doubt: float = setting(
        "Score of a doubtful face",
        default=0.2,
        minimum=0.05,
        maximum=0.35,
        description="Small faces from this score on are covered, and make a GOP not clean. Our own detector's weaker "
        "boxes are no faces: for it only 0.35 counts",
    )

    def floor(self, detector: Detector) -> float:
        """The score from which on the detector's boxes count."""
        return SURE if detector.name == "face_detector" else self.doubt


def tracking(floor: float) -> TrackerSettings:
    """Every box from floor on is covered, from its first sighting, and no pass that misses it takes that back.

    What is to be covered beyond the face is the policy's to say: the tracker adds only what it does not know.
    """
    return TrackerSettings(margin=0.0, low=floor, start=floor, refuted_by=1_000_000)
