from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from anonymizer import cli
from anonymizer.config import Config
from anonymizer.ingest.camera import CameraLost, SourceSettings
from anonymizer.ingest.probe import probe
from anonymizer.settings import Secret, build
from anonymizer.yamlfile import InvalidFile, parse
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
    assert cli.main(["camera", "probe", "rtsp://viewer:secret@127.0.0.1:9/user=x&password=secret?token=abc"]) == 4
    said = capsys.readouterr()
    assert "rtsp://127.0.0.1:9 cannot be reached" in said.err
    assert "secret" not in said.err and "abc" not in said.err
    for command in (["camera", "probe"], ["demo", "--source"]):
        assert cli.main([*command, "rtsp://viewer:secret#1@127.0.0.1:9/x"]) == 2
        said = capsys.readouterr()
        assert "write %23 for #" in said.err and "secret" not in said.err


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:SECRET#1@h/s", "rtsp://admin:SECRET/2@h:554/s", "rtsp://admin:SECRET?3@h", "rtsp://admin:SECRET@[::1/s",
        "rtsp://admin:SECRET", "rtsp://h:554/s@SECRET", " rtsp://admin:SECRET@h/s", "rtsp:/admin:SECRET@h/s",
        "admin:SECRET@h/s", "admin@SECRET/s",
    ],
)  # fmt: skip
def test_a_password_that_is_not_escaped_is_refused_and_never_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMERA", raising=False)
    text = "cameras: {gate: {source: {url: %s}}}"
    with pytest.raises(InvalidFile, match="f:1:32: this is neither an address nor a file") as caught:
        build(Config, parse(text % f'"{url}"', "f"))
    assert "SECRET" not in str(caught.value)
    source = build(Config, parse(text % "env:CAMERA", "f")).cameras["gate"].source
    monkeypatch.setenv("CAMERA", url)
    assert "SECRET" not in source.shown()


@pytest.mark.parametrize(
    ("url", "shown", "address"),
    [
        ("rtsp://h/s?a=1", "rtsp://h", "rtsp://me:a%40b@h/s?a=1"),
        ("RTSPS://old:p@ss@[::1]:322/user=a&password=b#c", "rtsps://[::1]:322", "RTSPS://me:a%40b@[::1]:322/user=a&password=b#c"),
        ("/dev/video0", "/dev/video0", "/dev/video0"),
        ("clips/a.mp4", "clips/a.mp4", "clips/a.mp4"),
        ("./a@10:00.mp4", "./a@10:00.mp4", "./a@10:00.mp4"),
    ],
)  # fmt: skip
def test_what_is_shown_and_what_is_asked(url: str, shown: str, address: str) -> None:
    assert SourceSettings(url=Secret(url)).address() == url
    source = SourceSettings(url=Secret(url), user="me", password=Secret("a@b"))
    assert (source.shown(), source.address()) == (shown, address)
