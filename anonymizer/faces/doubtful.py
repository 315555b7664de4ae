"""A detector, and what its boxes count for, when nothing may be missed: faint small faces are told by time.

Below ``SURE`` a detector's single boxes are mostly no faces, and a wrong box costs as much of the picture as it is
large. But the faces that score so low are small, behind glass or turned away: large ones are seen well. A true one is
found again and again, at almost every look and where it went, even with scores of 0.1; what is no face flickers. So
faint boxes are kept where they are small, and the tracker takes them for a face once they are evident together.
"""

from __future__ import annotations

from collections.abc import Sequence

from anonymizer.faces.detectors import Detections, Detector
from anonymizer.faces.tracker import TrackerSettings
from anonymizer.frame import U8

SURE = TrackerSettings.start
"""Score from which on a single box of any size counts, as it does everywhere else."""
LARGEST = 28
"""Pixels of the network's picture: higher boxes have to reach ``SURE``."""
THOROUGH = 0.06
"""As ``LookSettings.faint``, for thorough mode: its two looks at a frame find more of what is nothing."""
OWN = "face_detector"
"""Our own detector, of whose faint boxes fewer are faces: they must score ``OWN_SHARE`` times as much."""
OWN_SHARE = 2.0


class Doubtful:
    """detector, and its faint boxes where they are small."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        """As ``Detector.detect``: boxes from floor on that are small, and from ``SURE`` on all."""
        return [
            found.take((found.scores >= SURE) | (found.boxes[:, 3] <= LARGEST))
            for found in self._detector.detect(pictures, floor)
        ]


def tracking(detector: Detector, faint: float) -> TrackerSettings:
    """Boxes from faint on make a face together; no margin is added to those that are sure.

    What is to be covered beyond the face is the policy's to say: the tracker adds only what it does not know.
    """
    low = faint * (OWN_SHARE if detector.name == OWN else 1.0)
    return TrackerSettings(margin=0.0, low=low, evidence=low)
