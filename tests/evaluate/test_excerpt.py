"""The first frames of a clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from anonymizer.config import Config
from anonymizer.errors import SourceError
from anonymizer.evaluate import excerpt
from anonymizer.evaluate.labels import Labels, read_report
from anonymizer.evaluate.recall import Known
from anonymizer.evaluate.scene import Clip
from anonymizer.ingest.file import FileSource
from anonymizer.policy import Action, RuleSet, Treatment
from anonymizer.publish.encoder import EncoderSettings
from tests import videos

SOLID = RuleSet(default=Treatment(action=Action.SOLID))


def count(path: Path) -> int:
    with FileSource(path) as source:
        return sum(1 for _ in excerpt.frames(source))


def test_no_more_is_redacted_than_asked(tmp_path: Path) -> None:
    source, target, report = videos.write(tmp_path / "a.mp4", count=12), tmp_path / "b.mp4", tmp_path / "b.json"
    excerpt.redacted(source, target, Config(), SOLID, report, 5)
    assert count(target) == 5 and sorted(read_report(report)) == list(range(5))
    excerpt.redacted(source, target, Config(), SOLID, report, 50)
    assert count(target) == 12 and len(read_report(report)) == 12


def test_encoding_alone_keeps_the_number_of_frames(tmp_path: Path) -> None:
    source = videos.write(tmp_path / "a.mp4", count=12)
    assert count(excerpt.encoded(source, tmp_path / "b.mp4", EncoderSettings(), None)) == 12
    assert count(excerpt.encoded(source, tmp_path / "b.mp4", EncoderSettings(), 7)) == 7


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(SourceError):
        excerpt.redacted(tmp_path / "a.mp4", tmp_path / "b.mp4", Config(), SOLID, tmp_path / "b.json", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_labels_of_later_frames_are_not_judged() -> None:
    labels = Labels({index: [Known(0, (0, 0, 20, 20))] for index in (10, 0, 5)}, 100, 100, 25.0)
    clip = Clip("a", Path("a"), Path("b"), labels=labels)
    assert [index for index, _ in clip.labelled()] == [0, 5, 10]
    clip = Clip("a", Path("a"), Path("b"), labels=labels, most=6)
    assert [index for index, _ in clip.labelled()] == [0, 5]
