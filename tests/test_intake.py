from __future__ import annotations

import numpy as np

from anonymizer.frame import Frame, Planes
from anonymizer.ingest.camera import CameraLost, Loss
from anonymizer.intake import Connected, Intake

PLANES = Planes(np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))


def frame(index: int) -> Frame:
    return Frame(index, index, float(index), PLANES)


def taken(intake: Intake) -> list[object]:
    items = []
    while (item := intake.take(0)) is not None:
        items.append(item.index if isinstance(item, Frame) else item)
    return items


def test_the_oldest_frame_is_dropped_and_counted() -> None:
    intake = Intake(limit=3)
    for index in range(10):
        intake.frame(frame(index))
    assert taken(intake) == [7, 8, 9]
    assert (intake.received, intake.dropped) == (10, 7)


def test_news_is_never_dropped_for_frames_and_stays_in_order() -> None:
    intake = Intake(limit=2)
    lost = CameraLost("gate", Loss.ENDED)
    intake.connected(None)
    for index in range(5):
        intake.frame(frame(index))
    intake.lost(lost)
    assert taken(intake) == [Connected(None), 3, 4, lost]


def test_room_comes_back_as_frames_are_taken() -> None:
    intake = Intake(limit=2)
    for index in range(6):
        intake.frame(frame(index))
        intake.take(0)
    assert intake.dropped == 0
