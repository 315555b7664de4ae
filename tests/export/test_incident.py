from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest
from pyrage.x25519 import Identity

from anonymizer.config import Config
from anonymizer.errors import PublishError
from anonymizer.export import incident, package, particulars
from anonymizer.export.job import Job
from anonymizer.export.join import join, runs
from anonymizer.load import Level
from anonymizer.record import audit, label, mp4
from anonymizer.record.catalogue import Catalogue, File
from anonymizer.statedir import StateDir
from tests.conftest import ROOT
from tests.export import scene
from tests.export.scene import WALL


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def times(start: float, stop: float) -> list[str]:
    return ["--from", label.utc(WALL + start), "--to", label.utc(WALL + stop)]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as source:
        return [bytes(packet) for packet in source.demux(video=0) if packet.size]


def test_segments_are_joined_bit_by_bit_and_cut_at_key_frames(tmp_path: Path, state: StateDir) -> None:
    files = scene.recorded(state, tmp_path / "recordings")
    assert len(files) == 3
    everything = [packet for file in files for packet in packets(Path(file.path))]
    (tmp_path / "out").mkdir()
    (whole,) = join(files, WALL - 1, WALL + 99, tmp_path / "out", sound=False).videos
    assert packets(whole.path) == everything and whole.frames == 300 == len(everything)
    assert [source.sha256 for source in whole.sources] == [file.sha256 for file in files]
    whole.path.unlink()
    joined = join(files, WALL + 3, WALL + 7.5, tmp_path / "out", sound=False)
    (part,) = joined.videos
    assert not joined.gaps and part.start == pytest.approx(WALL + 2, abs=1e-3)  # the key frame before
    assert part.stop >= WALL + 7.5 - 1e-3 and packets(part.path) == everything[50 : 50 + part.frames]
    with av.open(str(part.path)) as source:
        assert [round(f.pts * f.time_base * 25) for f in source.decode(video=0)] == list(range(part.frames))
        assert source.metadata["title"] == "gate" and source.metadata["date"] == label.utc(part.start)
    assert label.SOURCE_TYPE.encode() in part.path.read_bytes()


def test_the_record_names_the_refiner_where_a_rule_asks_for_it(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("default: {action: replace, enhance: light}\n")
    plain = particulars.drawers(Config(), ["gate"])
    refined = particulars.drawers(replace(Config(), rules=str(rules)), ["gate"])
    assert set(refined) - set(plain) == {"refiner"}
    record = particulars.processing(replace(Config(), rules=str(rules)), ["gate"], [], {}, refined)
    assert [model.name for model in record.models if model.role == "refiner"] == ["face_refiner"]


def test_fragments_are_read_as_they_were_written() -> None:
    samples = [mp4.Sample(b"abc", 3600, True, 7), mp4.Sample(b"de", 3600, False, -7)]
    sound = [mp4.Sample(b"x" * 9, 1024)]
    written = [mp4.Run(mp4.VIDEO, 90000, samples), mp4.Run(mp4.AUDIO, 8000, sound)]
    head = mp4.header("gate", WALL, mp4.Video("mjpeg", 64, 48), mp4.Audio("pcmu", 8000), synthetic=True)
    data = head + mp4.fragment(1, WALL, written)
    front, (part,) = mp4.parts(data)
    assert front == len(head) and runs(data, part) == written


def test_gaps_and_damage_are_told(tmp_path: Path, state: StateDir) -> None:
    files = scene.recorded(state, tmp_path / "recordings")
    Path(files[1].path).write_bytes(Path(files[1].path).read_bytes()[:-1])
    (tmp_path / "out").mkdir()
    joined = join(files, WALL - 5, WALL + 20, tmp_path / "out", sound=False)
    assert [video.frames for video in joined.videos] == [100, 100]
    told = [(round(gap.start - WALL), round(gap.stop - WALL), gap.reason.split()[0]) for gap in joined.gaps]
    assert told == [(-5, 0, "nothing"), (4, 8, "the"), (12, 20, "nothing")]


def test_an_incident_is_exported_whole_and_told_before(
    tmp_path: Path, state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    files = scene.recorded(state, tmp_path / "recordings")
    log = audit.AuditFile(state)
    smaller, half = Level.SMALL_DETECTOR.meaning, Level.HALF_RATE.meaning
    for at, kind, reason, last in (
        (-30, "picture degraded", "long before", -20),
        (-3, "camera away", "connecting", 2),
        (5, "picture degraded", smaller, 9),
        (6, "picture degraded", "no detection for 0.2 s", 6),
        (7, "picture degraded", half, 7),
    ):
        said = {"camera": "gate", "reason": reason}
        log.append((WALL + at, kind, said))
        if last > at:
            told = {"first": label.utc(WALL + at), "last": label.utc(WALL + last), "times": 2}
            log.append((WALL + last, kind, said | told))
    target, officer = tmp_path / "c1.zip", Identity.generate()
    words = scene.arguments(tmp_path, "incident", target, "--camera", "gate", *times(1, 20))
    assert scene.run(words) == 0
    assert "missing: gate" in capsys.readouterr().out
    assert scene.verdict(target, state) == "valid"
    held = scene.contents(target)
    (name,) = [name for name in held if name.endswith(".mp4")]
    (tmp_path / "got.mp4").write_bytes(held[name])
    assert len(packets(tmp_path / "got.mp4")) == 300
    text = b"".join(data for name, data in held.items() if name.endswith(".json"))
    for said in (files[0].sha256, "gate-1-7", "nothing is recorded", "C-1", "default"):
        assert said.encode() in text, said
    covered = json.loads(held["redactions.json"])["covered"]
    assert [(one["how"], one["reason"]) for one in covered] == [
        ("away", "connecting"), ("reduced", smaller), ("blanked", "no detection for 0.2 s"), ("thinned", half)
    ]  # fmt: skip
    for one in covered:
        assert WALL <= datetime.fromisoformat(one["start"]).timestamp() <= WALL + 20 and one["frames"] is None
    assert b"not counted" in held["index.html"]
    kinds = [entry.kind for entry in audit.entries(state.path)]
    assert kinds[-3:] == ["export begun", "exported", "export finished"]
    assert not list((state.path / "exports").iterdir()), "the work folder goes"
    assert scene.run(words) == 2, "what is there is not written over"
    assert not list((state.path / "exports").iterdir()), "what is refused leaves nothing"
    assert scene.run(["export", "delivered", str(target), "--to", "the police", "--how", "courier", "--state",
                      str(state.path)]) == 0  # fmt: skip
    sealed = tmp_path / "sealed.age"
    (tmp_path / "officer").write_text(f"{officer}\n")
    words = scene.arguments(tmp_path, "incident", sealed, "--camera", "gate", *times(1, 9))
    assert scene.run([*words, "--encrypt-to", str(officer.to_public())]) == 0
    assert sealed.read_bytes().startswith(b"age-encryption.org/")
    assert scene.verdict(sealed, state, tmp_path / "officer") == "valid"


def test_the_package_names_the_rules_that_held_then(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    log = audit.AuditFile(state)
    for at, kind, said in (
        (-60, "rules in force", {"camera": "gate", "hash": "a" * 64}),
        (-30, "rules in force", {"camera": "gate", "hash": "b" * 64}),
        (-20, "rules in force", {"camera": "yard", "hash": "c" * 64}),
        (5, "method set over MQTT", {"camera": "gate", "hash": "d" * 64}),
        (6, "profile set over MQTT", {"profile": "night", "hash": {"gate": "e" * 64, "yard": "f" * 64}}),
        (30, "rules in force", {"camera": "gate", "hash": "9" * 64}),
    ):
        log.append((WALL + at, kind, said))
    target = tmp_path / "c1.zip"
    assert scene.run(scene.arguments(tmp_path, "incident", target, "--camera", "gate", *times(1, 10))) == 0
    held = scene.contents(target)
    told = json.loads(held["processing.json"])["record"]["settings"]["rules in force"]
    assert [line.rpartition(" ")[2] for line in told] == ["b" * 64, "d" * 64, "e" * 64]
    assert told[0].startswith("gate since 20") and ("b" * 64).encode() in held["index.html"]


@pytest.mark.parametrize(("newest", "told"), [(30, True), (90, False)])
def test_what_began_before_and_was_not_told_again_may_be_going_on(state: StateDir, newest: float, told: bool) -> None:
    log = audit.AuditFile(state)
    log.append((WALL, "picture degraded", {"camera": "gate", "reason": "no detection for 0.2 s"}))
    log.append((WALL + newest, "access stop", {}))
    video = cast(Any, SimpleNamespace(name="gate.mp4", camera="gate", start=WALL + 10, stop=WALL + 20))
    covered = [(one.start - WALL, one.stop - WALL) for one in incident._covered(state, video)]
    assert covered == ([(10, 20)] if told else [])


def test_nothing_to_export_is_an_error_and_leaves_nothing(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    target = tmp_path / "c1.zip"
    assert scene.run(scene.arguments(tmp_path, "incident", target, "--camera", "gate", *times(100, 200))) == 2
    words = scene.arguments(tmp_path, "incident", target, "--camera", "gate", *times(1, 5))
    words[words.index("--reason") + 1] = " "
    assert scene.run(words) == 2
    assert not target.exists()
    kinds = [entry.kind for entry in audit.entries(state.path)]
    assert "export abandoned" in kinds and "export finished" not in kinds
    assert not list((state.path / "exports").iterdir())


def test_an_unfinished_export_is_given_up(tmp_path: Path, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise PublishError("the disk is full")

    scene.recorded(state, tmp_path / "recordings")
    words = scene.arguments(tmp_path, "incident", tmp_path / "c1.zip", "--camera", "gate", *times(1, 5))
    with monkeypatch.context() as patched:
        patched.setattr(package, "write", broken)
        assert scene.run(words) == 6
    assert list((state.path / "exports").iterdir())
    discard = ["export", "discard", "C-1", "--reason", "withdrawn", "--state", str(state.path)]
    assert scene.run([*discard[:2], "C-2", *discard[3:]]) == 2
    assert scene.run(discard) == 0
    assert not list((state.path / "exports").iterdir())
    *_, last = audit.entries(state.path)
    assert last.kind == "export abandoned" and (last.said["case"], last.said["reason"]) == ("C-1", "withdrawn")
    assert scene.run(discard) == 2


def test_steps_that_are_done_stay_done(tmp_path: Path, state: StateDir) -> None:
    calls = []

    def make(folder: Path) -> object:
        calls.append(1)
        (folder / "a").write_text("a")
        return {"n": len(calls)}

    order = {"case": "C-1"}
    with Job.open(state, "export", order) as job:
        assert job.step("one", make) == {"n": 1}
    assert Job.orders(state, "export") == [order]
    with Job.open(state, "export", order) as job:
        assert job.step("one", make) == {"n": 1} and len(calls) == 1
        (job.place("one") / "a").write_text("b")
        assert job.step("one", make) == {"n": 2}, "a changed file is made again"
        job.remove()
    assert not Job.orders(state, "export")


def test_the_catalogue_may_be_written_meanwhile(tmp_path: Path, state: StateDir) -> None:
    scene.recorded(state, tmp_path / "recordings")
    with Catalogue(state.path) as service:
        target = tmp_path / "c1.zip"
        assert scene.run(scene.arguments(tmp_path, "incident", target, "--camera", "gate", *times(0, 5))) == 0
        service.add(File("segment", "gate", "later.mp4", WALL + 50, WALL + 60, "camera", 1, "0" * 64))
    assert json.loads(scene.contents(target)["manifest.json"])


@pytest.mark.parametrize("moments", [pytest.param(5, id="some"), pytest.param(50, id="many", marks=pytest.mark.soak)])
def test_an_export_that_is_killed_goes_on(tmp_path: Path, moments: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.killing", "exporting", tmp_path, str(moments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("and went on") == moments, done.stderr


def test_a_package_that_cannot_be_read_was_not_handed_over(
    tmp_path: Path, state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.AuditFile(state)
    words = ["--to", "the police", "--how", "courier", "--state", str(state.path)]
    for package_, why in ((tmp_path / "nope.zip", "No such file"), (tmp_path, "Is a directory")):
        assert scene.run(["export", "delivered", str(package_), *words]) == 4
        assert f"{package_}: cannot be read: {why}" in capsys.readouterr().err
