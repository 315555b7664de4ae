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
from anonymizer.frame import U8, Planes

SURE = TrackerSettings.start
"""Score from which on a single box of any size counts, as it does everywhere else."""
LARGEST = 28
"""Pixels of the network's picture: only boxes up to this height may be faint."""
CLOSER = 1.3
"""Mean score that makes a face of faint boxes, as a multiple of the faintest's, where they are looked at again closer:
among the faint boxes of a crowd there is more that is nothing."""
FAINT = 0.1, 0.5, 0.1
"""As ``TrackerSettings.faint``. Most above: a visor, a cap or the roof shades the upper half of such a face, and the
detector frames the chin and mouth that it sees."""
THOROUGH = 0.06
"""As ``LookSettings.faint``, for thorough mode: its two looks at a frame find more of what is nothing."""
OWN = "face_detector"
"""Our own detector, of whose faint boxes fewer are faces: they must score ``OWN_SHARE`` times as much."""
OWN_SHARE = 2.0

GLANCE = 2 / 3
"""Size of a glance's picture, as a share of the other's: a glance costs less than half as much."""
LINGER = 6
"""Looks after one that was worth it before a glance does again."""


class Doubtful:
    """detector, and its faint boxes where they are small: higher ones have to reach ``SURE``."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        """As ``Detector.detect``: boxes from floor on that are small, and from ``SURE`` on all."""
        return [
            found.take((found.scores >= SURE) | (found.boxes[:, 3] <= LARGEST))
            for found in self._detector.detect(pictures, floor)
        ]


class Glancing:
    """A detector, which looks only where a glance at a smaller picture, or a look just before, saw anything at all.

    A small face that scores enough at full size leaves a trace at two thirds of it, at one look in many at least; most
    empty pictures leave none. A look that found something twice as good as floor is followed by ``LINGER`` others, as
    long as they find anything.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._left = 0

    def detect(self, planes: Planes, size: tuple[int, int], floor: float) -> Detections:
        """Faces from floor on, in the pixels of a picture of this size (width, height)."""
        if not self._left:
            small = max(1, round(size[0] * GLANCE)), max(1, round(size[1] * GLANCE))
            (seen,) = self._detector.detect([planes.bgr(small)], floor)
            if not len(seen):
                return seen
            self._left = LINGER
        (found,) = self._detector.detect([planes.bgr(size)], floor)
        best = float(found.scores.max(initial=0.0))
        self._left = LINGER if best >= 2 * floor else self._left - 1 if best else 0
        return found


def tracking(detector: Detector, faint: float, closer: bool = False) -> TrackerSettings:
    """Boxes from faint on make a face together; the surer a face, the smaller its margin.

    What is to be covered beyond the face is the policy's to say: the tracker adds only what it does not know.
    """
    low = faint * (OWN_SHARE if detector.name == OWN else 1.0)
    return TrackerSettings(margin=0.0, low=low, evidence=CLOSER * low if closer else low, faint=FAINT)
