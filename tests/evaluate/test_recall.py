"""Covered, missed, spilled: on drawn scenes, and against the shared script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluate.labels import read_labels
from anonymizer.evaluate.recall import Known, Looked, score

SIZE = (640, 360)
FACE = (100.0, 100.0, 40.0, 40.0)


def looked(painted: list[list[tuple[float, float, float, float]]], known: list[Known] | None = None) -> list[Looked]:
    faces = [Known(1, FACE, pose="frontal")] if known is None else known
    return [Looked(i, i / 25, faces, boxes) for i, boxes in enumerate(painted)]


def test_what_is_painted_on_the_spot_is_covered() -> None:
    found = score(looked([[FACE]] * 10), SIZE)
    assert [v.covered for v in found.verdicts] == [True] * 10
    assert not found.misses and found.false == 0 and found.spill == 0


def test_a_constant_shift_is_one_long_miss() -> None:
    x, y, w, h = FACE
    found = score(looked([[(x + 0.3 * w, y, w, h)]] * 50), SIZE)
    assert all(v.share == pytest.approx(0.7) for v in found.verdicts)
    (miss,) = found.misses
    assert (miss.track, miss.first, miss.frames) == (1, 0, 50)
    assert miss.seconds == pytest.approx(2.0)


def test_two_gaps_are_two_runs_with_their_lengths() -> None:
    painted: list[list[tuple[float, float, float, float]]] = [[FACE]] * 30
    for i in (*range(5, 8), *range(20, 30)):
        painted[i] = []
    found = score(looked(painted), SIZE)
    assert [(m.first, m.frames) for m in found.misses] == [(5, 3), (20, 10)]
    assert [m.seconds for m in found.misses] == pytest.approx([0.12, 0.4])


def test_several_boxes_together_cover_a_face() -> None:
    x, y, w, h = FACE
    found = score(looked([[(x, y, w / 2, h), (x + w / 2, y, w / 2, h)]]), SIZE)
    assert found.verdicts[0].share == pytest.approx(1)


def test_faces_that_need_no_cover_excuse_a_box_and_ask_for_none() -> None:
    known = [Known(1, FACE, required=False)]
    found = score(looked([[FACE], []], known), SIZE)
    assert not found.verdicts and found.false == 0 and not found.misses


def test_boxes_in_the_open_are_false_and_spill() -> None:
    found = score(looked([[FACE, (400, 200, 64, 36)]] * 4), SIZE)
    assert found.false == 4
    assert found.spill == pytest.approx(0.01, rel=0.05)


def test_a_frame_covered_whole_covers_everything() -> None:
    found = score([Looked(0, 0, [Known(1, FACE)], [], whole=True)], SIZE)
    assert found.verdicts[0].covered and found.whole == 1 and found.false == 0


def test_heights_fall_into_their_classes() -> None:
    known = [Known(i, (0, 0, 10, h)) for i, h in enumerate((8, 12, 19.9, 20, 40, 64, 300))]
    assert [v.height_class for v in score(looked([[]], known), SIZE).verdicts] == [0, 0, 0, 1, 2, 3, 3]


def test_agrees_with_the_shared_script(shared: Path, tmp_path: Path) -> None:
    labels = shared / "labels" / "dev" / "people-walking.json"
    read = read_labels(labels)
    random = np.random.default_rng(4)
    frames = []
    for index, known in read.frames.items():
        boxes = [
            [x + w * random.normal(0, 0.12), y, w, h]
            for (x, y, w, h) in (face.box for face in known)
            if random.random() > 0.2
        ]
        boxes += [[random.uniform(0, 1000), random.uniform(0, 500), 40, 40]] * (index % 2)
        frames.append({"index": index, "boxes": boxes})
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps({"frames": frames}))
    command = [sys.executable, str(shared / "labels" / "recall.py"), str(labels), str(predictions), "--json"]
    expected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["total"]
    ours = score(
        [Looked(f["index"], f["index"] / 25, read.frames[f["index"]], [tuple(b) for b in f["boxes"]]) for f in frames],
        (read.width, read.height),
    )
    assert len(ours.verdicts) == expected["faces"]
    assert 100 * np.mean([v.covered for v in ours.verdicts]) == pytest.approx(expected["cov"])
    assert len(ours.misses) == expected["miss_runs"]
    assert max(m.frames for m in ours.misses) == expected["longest"]
    assert ours.false / ours.frames == pytest.approx(expected["fp_per_frame"])
    assert 100 * ours.spill == pytest.approx(expected["spill"])
