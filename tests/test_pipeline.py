"""Whatever fails, no face leaves: each test has a control that shows what leaves when nothing is painted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anonymizer import pipeline as module
from anonymizer.faces.landmarks import Landmarks
from anonymizer.faces.topology import COUNT
from anonymizer.frame import Face, Frame, Planes
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Action, Policy
from anonymizer.policy.decision import Verdict
from anonymizer.policy.rules import Area
from anonymizer.synthesis.cover import BLANK
from tests import stages

ORIGINALS = {frame.index: stages.face_of(frame).copy() for frame in stages.frames(60)}


def through(stages_: Pipeline, count: int = 60) -> list[Frame]:
    out = []
    for frame in stages.frames(count):
        out += stages_.push(frame)
    return out + stages_.flush()


def leaks(frames: list[Frame]) -> list[int]:
    """Frames in which the face is still the original's: luma that correlates."""
    leaked = []
    for frame in frames:
        now, was = stages.face_of(frame).astype(float), ORIGINALS[frame.index].astype(float)
        if now.std() > 1 and np.corrcoef(now.ravel(), was.ravel())[0, 1] > 0.5:
            leaked.append(frame.index)
    return leaked


def blank(frame: Frame) -> bool:
    return bool((frame.planes.y == BLANK).all())


def test_every_frame_comes_out_once_in_order_with_its_face_covered() -> None:
    out = through(stages.pipeline(stages.SquareDetector()))
    assert [frame.index for frame in out] == list(range(60))
    assert not leaks(out)
    assert all(frame.faces and frame.faces[0].method == "solid" for frame in out)


def test_the_check_sees_a_leak_when_painting_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "paint", lambda *_: [])
    assert len(leaks(through(stages.pipeline(stages.SquareDetector())))) == 60


@pytest.mark.parametrize("lookahead", [0.0, 0.5])
def test_a_detector_that_raises_blanks_the_pictures_that_nothing_is_known_of(lookahead: float) -> None:
    detector = stages.SquareDetector()
    line = stages.pipeline(detector, lookahead=lookahead)
    out = []
    for frame in stages.frames(60):
        detector.failing = 20 <= frame.index < 40
        out += line.push(frame)
    out += line.flush()
    assert len(out) == 60
    assert not leaks(out)
    covered = [frame.index for frame in out if blank(frame)]
    assert set(range(26, 40)) <= set(covered)  # 0.2 s after the last good detection
    assert all(out[i].uncertain for i in covered)
    assert not any(blank(out[i]) for i in (*range(15), *range(45, 60)))


def test_a_detector_that_never_worked_blanks_everything() -> None:
    detector = stages.SquareDetector()
    detector.failing = True
    out = through(stages.pipeline(detector))
    assert len(out) == 60 and all(blank(frame) and frame.uncertain for frame in out)


def test_a_swapper_that_raises_covers_the_face_solid() -> None:
    out = through(stages.pipeline(stages.SquareDetector(), Action.REPLACE, swapper=stages.RaisingSwapper()))
    assert not leaks(out)
    assert {face.method for frame in out for face in frame.faces} == {"solid"}
    assert not any(blank(frame) for frame in out)


class Broken:
    """A part that raises whatever is asked of it."""

    def __call__(self, *_: object) -> None:
        raise RuntimeError("broken")

    def decide(self, *_: object) -> None:
        raise RuntimeError("broken")


@pytest.mark.parametrize("part", ["paint", "policy", "landmarks"])
def test_whatever_raises_between_detection_and_encoder_blanks_the_picture(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = stages.pipeline(stages.SquareDetector(), Action.REPLACE, swapper=stages.RaisingSwapper())
    if part == "paint":
        monkeypatch.setattr(module, "paint", Broken())
    elif part == "policy":
        line.policy = Broken()  # type: ignore[assignment]
    else:
        line._landmarker = Broken()  # type: ignore[assignment]
    out = through(line, 20)
    assert len(out) == 20 and all(blank(frame) and "broken" in frame.uncertain for frame in out)


@pytest.mark.parametrize("presence", [0.1, 1.0], ids=["hidden", "beside the detector's points"])
def test_a_face_that_is_doubted_is_covered_and_spares_the_landmark_net(presence: float) -> None:
    looks: list[int] = []

    class Doubting:
        def __call__(self, planes: Planes, faces: list[Face]) -> Landmarks:
            looks.append(len(faces))
            points = np.tile(np.arange(2.0 * COUNT, dtype=np.float32).reshape(COUNT, 2), (len(faces), 1, 1))
            depth = np.ones((len(faces), COUNT), np.float32)
            return Landmarks(points, depth, np.full(len(faces), presence, np.float32))

    class Choosy(stages.RaisingSwapper):
        def refusal(self, face: Face) -> str:
            return "doubted"

    line = stages.pipeline(stages.SquareDetector(), Action.REPLACE, swapper=Choosy())
    line._landmarker = Doubting()  # type: ignore[assignment]
    out = through(line)
    assert not leaks(out) and not any(blank(frame) for frame in out)
    assert 18 <= sum(looks) <= 21  # one in three of 60 pictures at 25 a second


def test_the_landmark_net_is_told_where_the_points_were_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.agreement, "doubt", lambda *_, **__: "")
    told: list[np.ndarray | None] = []
    points = np.tile(np.arange(2.0 * COUNT, dtype=np.float32).reshape(COUNT, 2), (1, 1, 1))

    class Still:
        def __call__(self, planes: Planes, faces: list[Face]) -> Landmarks:
            told.extend(face.landmarks for face in faces)
            doubtful = len(told) == 5
            return Landmarks(points, np.ones((1, COUNT), np.float32), np.full(1, 0.1 if doubtful else 1, np.float32))

    line = stages.pipeline(stages.SquareDetector(), Action.REPLACE, swapper=stages.RaisingSwapper())
    line._landmarker = Still()  # type: ignore[assignment]
    through(line, 20)
    # Neither of a new face nor of one that was doubted is anything believed.
    assert [one is None for one in told] == [i in (0, 5) for i in range(len(told))]
    assert all(np.abs(one - points[0]).max() < 20 for one in told if one is not None)


def test_keep_leaves_the_picture_untouched() -> None:
    """Not by the default, which may not be keep: by a policy that says so for each face."""
    line = stages.pipeline(stages.SquareDetector())
    decide = line.policy.decide

    def keeping(frame: Frame) -> object:
        verdict = decide(frame)
        for face in frame.faces:
            face.action = "keep"
        return verdict

    line.policy.decide = keeping  # type: ignore[assignment,method-assign]
    out = through(line, 20)
    assert all((stages.face_of(frame) == ORIGINALS[frame.index]).all() for frame in out)


def test_privacy_blanks_pictures_without_faces_too() -> None:
    line = stages.pipeline(stages.SquareDetector(), Action.PRIVACY)
    out = []
    for frame in stages.frames(20, square=False):
        out += line.push(frame)
    assert all(blank(frame) for frame in out + line.flush())


def test_masks_lie_under_the_paint_and_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing masked can be moved out by what is painted, and nothing painted lies over a mask."""
    beneath: list[bool] = []

    def move(planes: Planes, *_: object) -> list[object]:
        beneath.append(bool((planes.y[:40] == BLANK).all()))
        planes.y[:80] = planes.y[80:160]
        return []

    monkeypatch.setattr(module, "paint", move)
    line = stages.pipeline(stages.SquareDetector())
    sky = Area(polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 0.25), (0.0, 0.25)))
    line.policy.rules = replace(stages.rules(Action.SOLID), masks={"sky": sky})
    out = through(line, 10)
    assert beneath == [True] * 10 and all((frame.planes.y[:40] == BLANK).all() for frame in out)


def test_waiting_frames_obey_the_newest_rules() -> None:
    line = stages.pipeline(stages.SquareDetector(), Action.BLUR, lookahead=0.5)
    out = []
    for frame in stages.frames(30):
        if frame.index == 20:
            line.policy.rules = stages.rules(Action.SOLID)
        out += line.push(frame)
    out += line.flush()
    methods = [frame.faces[0].method for frame in out]
    first = methods.index("solid")
    assert first <= 9  # frame 20 was pushed when the frames from 8 on were still waiting
    assert set(methods[first:]) == {"solid"}


def test_in_overload_faces_are_covered_instead_of_replaced() -> None:
    line = stages.pipeline(stages.SquareDetector(), Action.REPLACE, swapper=stages.RaisingSwapper())
    line.replacing = False
    out = through(line, 20)
    assert not leaks(out)
    assert {face.method for frame in out for face in frame.faces} == {"solid"}


def test_a_doubt_about_the_rules_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    class Doubting(Policy):
        def decide(self, frame: Frame) -> Verdict:
            return replace(super().decide(frame), doubts=("the time is not known", "face 1: why"))

    line = stages.pipeline(stages.SquareDetector())
    line.policy = Doubting(stages.rules(Action.SOLID), "gate")
    assert len(through(line)) == 60
    told = sorted(record.getMessage().rpartition("was: ")[2] for record in caplog.records)
    assert told == ["face 1: why", "the time is not known"]
