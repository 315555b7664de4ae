from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from anonymizer import cli
from anonymizer.ingest.camera import CameraLost, SourceSettings
from anonymizer.ingest.probe import probe
from anonymizer.settings import Secret
from tests import videos


def look(path: Path) -> list[str]:
    return probe(SourceSettings(url=Secret(str(path)))).advice()


def test_a_good_stream_needs_no_change_but_its_clock(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "v.mp4", count=75, base=Fraction(1, 12800), options={"bf": "0", "g": "25"})
    found = probe(SourceSettings(url=Secret(str(path))))
    assert (found.codec, found.width, found.height, round(found.rate), found.reordered) == ("h264", 192, 144, 25, False)
    assert found.key_distance == pytest.approx(1.0)
    assert [line for line in found.advice() if "NTP" not in line] == []


def test_what_should_be_changed_is_told(tmp_path: Path) -> None:
    told = " ".join(look(videos.write(tmp_path / "v.mkv", count=75, options={"bf": "2", "g": "250"}, audio=True)))
    assert "B-frames" in told and "key frame" in told and "aac" in told


def test_h265_is_told(tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none:bframes=0"}
    assert any("H.264" in line for line in look(videos.write(tmp_path / "v.mkv", codec="libx265", options=options)))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CameraLost, match="cannot be reached"):
        probe(SourceSettings(url=Secret("rtsp://127.0.0.1:9/x")))


def test_the_command_prints_no_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["camera", "probe", "rtsp://viewer:secret@127.0.0.1:9/x?token=abc"]) == 4
    said = capsys.readouterr()
    assert "127.0.0.1:9/x" in said.err
    assert "secret" not in said.err and "abc" not in said.err
