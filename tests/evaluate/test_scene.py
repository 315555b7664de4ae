"""Two clips side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anonymizer.errors import ConfigError
from anonymizer.evaluate.labels import Labels
from anonymizer.evaluate.scene import Clip, Linker, Walk, pose_word
from anonymizer.faces.detectors import NOTHING, Detections
from anonymizer.frame import U8
from anonymizer.publish.encoder import EncoderSettings
from tests import videos

ENCODER = EncoderSettings()


class Blind:
    """A detector that sees nothing."""

    name = "blind"

    def detect(self, pictures: Sequence[U8], floor: float) -> list[Detections]:
        return [NOTHING for _ in pictures]


def test_boxes_that_move_keep_their_number() -> None:
    link = Linker()
    assert link(0.0, [(0, 0, 20, 20), (100, 0, 20, 20)]) == [0, 1]
    assert link(0.1, [(104, 0, 20, 20), (4, 0, 20, 20)]) == [1, 0]
    assert link(0.2, [(8, 0, 20, 20), (300, 0, 20, 20)]) == [0, 2]
    assert link(0.9, [(108, 0, 20, 20)]) == [1]
    assert link(5.0, [(108, 0, 20, 20)]) == [3]


def test_two_boxes_never_share_a_number() -> None:
    link = Linker()
    link(0.0, [(0, 0, 20, 20)])
    assert sorted(link(0.1, [(0, 0, 20, 20), (2, 0, 20, 20)])) == [0, 1]


def test_poses_in_words() -> None:
    frontal = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)
    assert pose_word(frontal) == "frontal"
    assert pose_word(frontal[:, ::-1] * (1, -1)) == "frontal"  # lying on the side
    half, profile = frontal.copy(), frontal.copy()
    half[2, 0], profile[2, 0] = 62, 75
    assert (pose_word(half), pose_word(profile)) == ("half", "profile")


def test_samples_and_the_frame_after_each(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "a.mp4", count=12)
    walk = Walk(Clip("a", path, path), Blind(), ENCODER, step=5)
    assert [(s.index, s.first) for s in walk] == [
        (0, True), (1, False), (5, True), (6, False), (10, True), (11, False),
    ]  # fmt: skip
    assert walk.frames == [12, 12]
    assert [s.index for s in Walk(Clip("a", path, path, most=3), Blind(), ENCODER)] == [0, 1, 2]


def test_frames_without_labels_in_a_labelled_clip_are_not_judged(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "a.mp4", count=12)
    labels = Labels({0: [], 3: [], 10: []}, 192, 144, 25.0)
    walk = Walk(Clip("a", path, path, labels=labels), Blind(), ENCODER, step=5)
    assert [s.index for s in walk] == [0, 1, 10, 11]
    assert walk.judged == 2 and walk.frames == [12, 12]


def test_lost_frames_are_counted_and_other_sizes_refused(tmp_path: Path) -> None:
    path, short = videos.write(tmp_path / "a.mp4", count=12), videos.write(tmp_path / "b.mp4", count=9)
    walk = Walk(Clip("a", path, short), Blind(), ENCODER)
    assert len(list(walk)) == 9 and walk.frames == [12, 9]
    large = videos.write(tmp_path / "c.mp4", count=3, size=(384, 288))
    with pytest.raises(ConfigError, match="384 × 288"):
        list(Walk(Clip("a", path, large), Blind(), ENCODER))
    padded = videos.write(tmp_path / "d.mp4", count=3, size=(192, 146))
    assert {s.anonymised.height for s in Walk(Clip("a", path, padded), Blind(), ENCODER)} == {144}
