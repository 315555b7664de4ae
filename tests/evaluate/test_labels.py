"""Label files and reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anonymizer.errors import SourceError
from anonymizer.evaluate.labels import find_labels, read_labels, read_report


def label(**more: object) -> dict[str, object]:
    faces = [
        {"track": 3, "box": [1, 2, 30, 40], "state": "face", "pose": "half"},
        {"track": 4, "box": [5, 5, 9, 9], "state": "ignore", "pose": "back"},
    ]
    return {"width": 640, "height": 360, "fps": 25.0, "frames": [{"index": 7, "faces": faces}], **more}


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def test_labels_are_read(tmp_path: Path) -> None:
    read = read_labels(write(tmp_path / "a.json", label()))
    (first, second) = read.frames[7]
    assert (first.track, first.box, first.required, first.pose) == (3, (1, 2, 30, 40), True, "half")
    assert not second.required and (read.width, read.fps) == (640, 25)


def test_reports_are_read(tmp_path: Path) -> None:
    face = {"track": 1, "box": [1, 2, 3, 4], "action": "replace", "method": "solid", "rule": "", "score": 0.9}
    kept = {**face, "action": "keep", "method": "keep", "person": 7}
    frames = [{"index": 0, "faces": [face, kept]}, {"index": 1, "faces": [], "covered": "blind"}]
    read = read_report(write(tmp_path / "r.json", {"source": "x", "settings": {}, "frames": frames}))
    assert [one.hidden for one in read[0].faces] == [True, False]
    assert [(one.person, one.shown) for one in read[0].faces] == [(None, 1), (7, 7)]
    assert not read[0].whole and read[1].whole


@pytest.mark.parametrize("data", [[], {}, {"frames": [{"index": 0}]}, {"frames": [{"faces": 3, "index": 0}]}])
def test_other_files_are_refused_by_name(tmp_path: Path, data: object) -> None:
    path = write(tmp_path / "wrong.json", data)
    for read in (read_labels, read_report):
        with pytest.raises(SourceError, match=r"wrong\.json"):
            read(path)
    with pytest.raises(SourceError, match="missing"):
        read_labels(tmp_path / "missing.json")


def test_labels_are_found_by_the_path_they_name_or_by_the_clips_name(tmp_path: Path) -> None:
    clip = tmp_path / "video" / "asl" / "again.mkv"
    clip.parent.mkdir(parents=True)
    clip.touch()
    labels = tmp_path / "labels"
    labels.mkdir()
    other = write(labels / "asl_again.json", label(bundle_path="video/asl/again.mkv"))
    assert find_labels(labels, clip) == other
    assert find_labels(other, clip) == other
    assert find_labels(labels, tmp_path / "asl_again.mp4") == other
    assert find_labels(labels, tmp_path / "nobody.mp4") is None
    with pytest.raises(SourceError):
        find_labels(tmp_path / "nowhere", clip)
