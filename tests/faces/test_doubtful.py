"""Faint boxes: which are kept, and when the detector takes the closer look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anonymizer.faces import doubtful
from anonymizer.faces.detectors import Detections
from anonymizer.faces.doubtful import CLOSER, LARGEST, LINGER, SURE, Doubtful, Glancing
from anonymizer.faces.look import LookSettings
from anonymizer.frame import U8, Planes

PICTURE = np.zeros((96, 150, 3), np.uint8)
PLANES = Planes(np.zeros((192, 300), np.uint8), np.zeros((96, 150), np.uint8), np.zeros((96, 150), np.uint8))


class Scripted:
    """Finds boxes of the given heights and scores in the picture, in the small one those of ``glance``."""

    def __init__(self, name: str = "yunet", glance: Sequence[tuple[float, float]] = ()) -> None:
        self.name = name
        self.full: Sequence[tuple[float, float]] = ()
        self.glance = glance
        self.widths: list[int] = []

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        self.widths.append(pictures[0].shape[1])
        told = [one for one in (self.full if pictures[0].shape[1] == 150 else self.glance) if one[1] >= floor]
        boxes = np.array([(10, 10, height, height) for height, _ in told], np.float32).reshape(-1, 4)
        scores = np.array([score for _, score in told], np.float32)
        return [Detections(boxes, scores, np.zeros((len(told), 5, 2), np.float32)) for _ in pictures]


def test_only_small_boxes_may_be_faint() -> None:
    detector = Scripted()
    detector.full = [(LARGEST, 0.06), (LARGEST + 1, SURE - 0.01), (LARGEST + 1, SURE), (12, 0.04)]
    (kept,) = Doubtful(detector).detect([PICTURE], 0.05)
    assert [(round(float(b[3])), round(float(s), 2)) for b, s in zip(kept.boxes, kept.scores, strict=True)] == [
        (LARGEST, 0.06),
        (LARGEST + 1, SURE),
    ]


def test_a_glance_saves_the_look_until_it_sees_anything() -> None:
    detector = Scripted()
    detector.full = [(12, 0.12)]
    glancing = Glancing(detector)
    assert not len(glancing.detect(PLANES, (150, 96), 0.05))
    assert detector.widths == [100]
    detector.glance = [(8, 0.05)]
    assert len(glancing.detect(PLANES, (150, 96), 0.05)) == 1
    assert detector.widths == [100, 100, 150]
    detector.glance = []
    for _ in range(3 * LINGER):  # as long as the look itself is worth it
        assert len(glancing.detect(PLANES, (150, 96), 0.05)) == 1
    assert set(detector.widths[3:]) == {150}


def test_after_the_last_worthy_look_some_more_follow() -> None:
    detector = Scripted(glance=[(8, 0.05)])
    detector.full = [(12, 0.1)]
    glancing = Glancing(detector)
    glancing.detect(PLANES, (150, 96), 0.05)
    detector.glance, detector.full = [], [(12, 0.06)]
    seen = [len(glancing.detect(PLANES, (150, 96), 0.05)) for _ in range(LINGER + 3)]
    assert seen == [1] * LINGER + [0, 0, 0]
    detector.glance, detector.full = [(8, 0.05)], []
    detector.widths.clear()
    for _ in range(2):  # a look that finds nothing is not repeated without another glance
        assert not len(glancing.detect(PLANES, (150, 96), 0.05))
    assert detector.widths == [100, 150, 100, 150]


def test_our_own_detector_must_score_more() -> None:
    faint = LookSettings().faint
    other, own = (doubtful.tracking(Scripted(name), faint) for name in ("yunet", doubtful.OWN))
    assert (other.low, other.evidence, other.margin) == (faint, faint, 0)
    assert own.low == own.evidence == 2 * faint
    closer = doubtful.tracking(Scripted(), faint, closer=True)
    assert (closer.low, closer.evidence) == (faint, CLOSER * faint)
