from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import pytest
from pyrage.x25519 import Identity

from anonymizer.errors import ConfigError, PublishError
from anonymizer.export import package
from anonymizer.export.contents import Video
from anonymizer.record import label
from anonymizer.record.audit import AuditFile
from anonymizer.statedir import StateDir
from tests import videos
from tests.conftest import ROOT
from tests.export import packages
from tests.export.packages import NOW, START, contents, files, made, signing


def write(folder: Path, **changed: object) -> package.Written:
    return package.write(folder / "p.zip", contents(folder, **changed), signing(folder / "state"), NOW)


def test_the_records_say_what_was_given(tmp_path: Path) -> None:
    content = files(made(tmp_path))
    records = {name[:-5]: json.loads(data) for name, data in content.items() if name.endswith(".json")}
    assert records["request"]["verification"] == "ID seen, note 5"
    assert records["request"]["deadline"] == label.utc(NOW + 29 * 86400) == "2026-10-20T15:13:20.000Z"
    assert records["processing"]["record"]["models"] == [
        {"name": "face_detector", "role": "detector", "sha256": "ef" * 32}
    ]
    assert [one["subject"] for one in records["redactions"]["tracks"]] == [False, True]
    assert records["redactions"]["covered"][0]["how"] == "blanked"
    assert records["redactions"]["signoff"]["reviewer"] == "C. Shaw"
    assert records["completeness"]["gaps"][0]["stop"] == label.utc(START)
    assert records["completeness"]["clocks"] == [{"camera": "gate", "offset": 0.25, "source": "camera"}]
    assert records["retention"]["holds"] == ["h1: court"]
    said = records["manifest"]
    assert said["videos"][0]["sources"][0]["sha256"] == "ab" * 32
    assert said["label"]["digitalSourceType"] == label.SOURCE_TYPE
    assert "path" not in said["videos"][0]


def test_nothing_of_the_machine_and_no_other_case_is_in_it(tmp_path: Path) -> None:
    data = made(tmp_path)
    assert str(tmp_path).encode() not in data
    assert b"2026/99" not in data, "the audit's lines of another case"
    for secret in (tmp_path / "state" / "signing.key").read_bytes().splitlines():
        assert secret not in data


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    whole = contents(tmp_path)
    first = package.write(tmp_path / "a.zip", whole, signing(tmp_path / "state"), NOW)
    second = package.write(tmp_path / "b.zip", whole, signing(tmp_path / "state"), NOW)
    assert (first.sha256, first.bytes) == (second.sha256, (tmp_path / "a.zip").stat().st_size)
    assert (tmp_path / "a.zip").stat().st_mode & 0o777 == 0o600


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    told: list[float] = []
    package.write(tmp_path / "p.zip", contents(tmp_path), signing(tmp_path / "state"), NOW, (), told.append)
    assert told == sorted(told) and told[-1] == 1 and told[0] <= 0.5


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}], ids=["plain", "fragmented"])
def test_a_video_without_the_label_gets_it_and_plays_on(tmp_path: Path, options: dict[str, str]) -> None:
    path = videos.write(tmp_path / "v.mp4", count=10, **options)
    before = path.read_bytes()
    whole = contents(tmp_path, videos=(Video("v.mp4", path, "Gate <1> & Söhne", START, START + 1, 10, ()),))
    package.write(tmp_path / "p.zip", whole, signing(tmp_path / "state"), NOW)
    content = files((tmp_path / "p.zip").read_bytes())["videos/v.mp4"]
    assert content.startswith(before) and path.read_bytes() == before
    assert label.SOURCE_TYPE.encode() in content and "Gate &lt;1&gt; &amp; Söhne".encode() in content
    (tmp_path / "out.mp4").write_bytes(content)
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10
    again = replace(whole, videos=(replace(whole.videos[0], path=tmp_path / "out.mp4"),))
    package.write(tmp_path / "q.zip", again, signing(tmp_path / "state"), NOW)
    assert files((tmp_path / "q.zip").read_bytes())["videos/v.mp4"] == content, "it is labelled once"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "no movie"])
def test_what_is_no_whole_video_makes_no_package(tmp_path: Path, damage: str) -> None:
    whole = contents(tmp_path)
    path = whole.videos[0].path
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        broken = {"empty": b"", "cut": data[:-3], "text": b"What is this?", "no movie": b"\0\0\0\x08mdat"}
        path.write_bytes(broken[damage])
    with pytest.raises(PublishError, match=r"gate\.mp4"):
        package.write(tmp_path / "p.zip", whole, signing(tmp_path / "state"), NOW)
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("change", [b"", b"longer than what was there before" * 100, None])
def test_a_video_that_changes_meanwhile_makes_no_package(tmp_path: Path, change: bytes | None, sealed: bool) -> None:
    whole = contents(tmp_path)
    path = whole.videos[0].path

    def meddle(done: float) -> None:
        if done == 0.5:
            path.write_bytes(path.read_bytes().replace(b"picture", b"pictura") if change is None else change)

    to = [str(Identity.generate().to_public())] if sealed else []
    (tmp_path / "p.zip").write_bytes(b"an older package")
    with pytest.raises(PublishError, match=r"gate\.mp4 was changed while it was exported"):
        package.write(tmp_path / "p.zip", whole, signing(tmp_path / "state"), NOW, to, meddle)
    assert (tmp_path / "p.zip").read_bytes() == b"an older package" and not list(tmp_path.glob(".*"))


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contents(tmp_path)
    key = signing(tmp_path / "state")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PublishError, match="No space left"):
        package.write(tmp_path / "p.zip", whole, key, NOW)
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


def test_an_interruption_leaves_nothing_half_made(tmp_path: Path) -> None:
    def interrupt(done: float) -> None:
        if done > 0.7:
            raise KeyboardInterrupt

    whole = contents(tmp_path)
    for to in ([], [str(Identity.generate().to_public())]):
        with pytest.raises(KeyboardInterrupt):
            package.write(tmp_path / "p.zip", whole, signing(tmp_path / "state"), NOW, to, interrupt)
        assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


def test_a_kill_at_any_step_leaves_a_whole_package_or_none(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.export.packages", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) > 20 and told[-1]["lived"]
    assert [one["there"] for one in told] == sorted(one["there"] for one in told), "there from one step on"
    assert all(one["valid"] for one in told if one["there"]) and not told[0]["there"]


@pytest.mark.parametrize("name", ["../v.mp4", "a/b.mp4", "a b.mp4", "v.avi", ".mp4", ""])
def test_a_video_needs_a_plain_name(tmp_path: Path, name: str) -> None:
    video = contents(tmp_path).videos[0]
    with pytest.raises(ConfigError, match="names of their own"):
        write(tmp_path, videos=(replace(video, name=name),))


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    video = contents(tmp_path).videos[0]
    with pytest.raises(ConfigError, match="names of their own"):
        write(tmp_path, videos=(video, video))


def test_a_recipient_that_is_none_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no age public key"):
        package.write(tmp_path / "p.zip", contents(tmp_path), signing(tmp_path / "state"), NOW, ["age1nobody"])


def test_a_private_key_is_refused(tmp_path: Path) -> None:
    request = replace(packages.request(), reason=str(Identity.generate()))
    with pytest.raises(ConfigError, match="private key") as raised:
        write(tmp_path, request=request)
    assert request.reason not in str(raised.value)


def test_settings_that_are_no_json_are_refused(tmp_path: Path) -> None:
    processing = replace(contents(tmp_path).processing, settings={"x": float("nan")})
    with pytest.raises(ConfigError, match="JSON"):
        write(tmp_path, processing=processing)


def test_a_trail_that_another_key_signed_makes_no_package(tmp_path: Path) -> None:
    """As after a rotation between two lives of an export: nobody could verify it."""
    whole = contents(tmp_path)
    AuditFile(StateDir(tmp_path / "state")).rotate()
    with pytest.raises(ConfigError, match="rotated"):
        package.write(tmp_path / "p.zip", whole, signing(tmp_path / "state"), NOW)
    assert not list(tmp_path.glob("*.zip"))
