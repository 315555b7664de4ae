"""``anonymizer redact``, as users run it."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from anonymizer import cli
from anonymizer import redact as redacting
from anonymizer.config import Config
from anonymizer.errors import ModelError, PublishError
from anonymizer.faces.detectors import OnnxDetector
from anonymizer.ingest.picture import planes_of
from anonymizer.policy import Action, RuleSet, Treatment
from anonymizer.redact import redact
from anonymizer.report import Report
from anonymizer.synthesis import bank
from tests import videos
from tests.conftest import ROOT


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def luma(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as reader:
        return [planes_of(frame).y.copy() for frame in reader.decode(video=0)]


@pytest.fixture(scope="module")
def walking(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a street with people."""
    target = tmp_path_factory.mktemp("clip") / "walking.mp4"
    with (
        av.open(str(shared / "footage" / "video" / "people-walking.mp4")) as reader,
        av.open(str(target), "w") as writer,
    ):
        video = reader.streams.video[0]
        stream = writer.add_stream("libx264", rate=video.average_rate, options={"crf": "18", "preset": "veryfast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        stream.codec_context.time_base = video.time_base
        for index, frame in enumerate(reader.decode(video)):
            if index == 50:
                break
            frame.pict_type = av.video.frame.PictureType.NONE
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


@pytest.mark.parametrize("method", ["replace", "solid", "pixelate", "blur"])
def test_the_report_says_which_pixels_changed(walking: Path, tmp_path: Path, method: str) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    assert run("redact", walking, out, "--report", report, "--method", method, "--crf", "12", "--json") == 0
    said = json.loads(report.read_text())
    assert [frame["index"] for frame in said["frames"]] == list(range(50))
    methods = {face["method"] for frame in said["frames"] for face in frame["faces"]}
    assert methods <= {method, "solid"} and method in methods
    rules = {face["action"] for frame in said["frames"] for face in frame["faces"]}
    assert rules == {method}
    drawn = {face.get("person") for frame in said["frames"] for face in frame["faces"] if face["method"] == "replace"}
    assert drawn == set(range(1, len(drawn) + 1))
    assert not any("person" in f for frame in said["frames"] for f in frame["faces"] if f["method"] != "replace")
    changed_inside, boxes = [], 0
    for frame, before, after in zip(said["frames"], luma(walking), luma(out), strict=True):
        difference = np.abs(before.astype(int) - after)
        inside = np.zeros(before.shape, bool)
        for face in frame["faces"]:
            x, y, w, h = (round(v) for v in face["box"])
            grown = slice(max(0, y - h // 3), y + h + h // 3), slice(max(0, x - w // 3), x + w + w // 3)
            inside[grown] = True
            boxes += 1
            area = difference[max(0, y) : y + h, max(0, x) : x + w]
            if area.size and h >= 24:
                changed_inside.append(float((area > 4).mean()))
        assert difference[~inside].mean() < 1.5  # the rest is only encoded anew
    assert boxes > 200
    assert np.median(changed_inside) > {"solid": 0.5, "pixelate": 0.4, "replace": 0.35, "blur": 0.15}[method]


def test_the_reported_box_is_where_pixels_changed(tmp_path: Path, walking: Path) -> None:
    """The bounding rectangle of what changed around a face that stands alone is the reported one."""
    out, report = tmp_path / "out.mp4", tmp_path / "report.json"
    assert run("redact", walking, out, "--report", report, "--method", "solid", "--crf", "8") == 0
    overlaps = []
    frames = json.loads(report.read_text())["frames"]
    for frame, before, after in zip(frames, luma(walking), luma(out), strict=True):
        changed = np.abs(before.astype(int) - after) > 10
        for face in frame["faces"]:
            x, y, w, h = face["box"]
            reach = (
                slice(max(0, round(y - h / 2)), round(y + 1.5 * h)),
                slice(max(0, round(x - w / 2)), round(x + 1.5 * w)),
            )
            others = [one["box"] for one in frame["faces"] if one is not face]
            if h < 24 or any(abs(x - o[0]) < 1.6 * max(w, o[2]) and abs(y - o[1]) < 1.6 * max(h, o[3]) for o in others):
                continue
            rows, columns = np.nonzero(changed[reach])
            if not len(rows):
                continue
            left, top = columns.min() + reach[1].start, rows.min() + reach[0].start
            wide, high = np.ptp(columns) + 1, np.ptp(rows) + 1
            across = min(x + w, left + wide) - max(x, left)
            down = min(y + h, top + high) - max(y, top)
            overlaps.append(across * down / (w * h + wide * high - across * down))
    assert len(overlaps) > 20
    assert np.median(overlaps) > 0.8


def test_a_clip_without_faces_is_encoded_anew_with_every_picture(tmp_path: Path) -> None:
    source, target = videos.write(tmp_path / "in.mp4", metadata={"title": "Mrs Miller"}), tmp_path / "out.mp4"
    assert run("redact", source, target, "--method", "solid") == 0
    assert len(luma(target)) == 25
    assert b"Mrs Miller" not in target.read_bytes()


def test_names_that_are_no_text_are_names_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names = redacting.pipeline, list[str]()

    def pipeline(*arguments: Any, camera: str, **more: Any) -> Any:
        names.append(camera)
        return real(*arguments, camera=camera, **more)

    monkeypatch.setattr(redacting, "pipeline", pipeline)
    source, target = (tmp_path / os.fsdecode(name) for name in (b"t\xfcr.mp4", b"t\xfcr, new.mp4"))
    assert run("redact", videos.write(tmp_path / "in.mp4").rename(source), target) == 0
    assert target.is_file() and r"t\udcfcr, new.mp4: 25 frames" in capsys.readouterr().out
    assert bank.encode(names)


def test_errors_name_the_file_and_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = videos.write(tmp_path / "good.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(good.read_bytes()[:500])
    empty = tmp_path / "empty.mp4"
    empty.touch()
    before = sorted(tmp_path.iterdir())
    for source, target, code, words in (
        (tmp_path / "missing.mp4", "out.mp4", 4, "missing.mp4"),
        (broken, "out.mp4", 4, "broken.mp4"),
        (empty, "out.mp4", 4, "empty"),
        (tmp_path, "out.mp4", 2, "folder"),
        (good, "out.gif", 2, ".gif"),
        (good, "good.mp4", 2, "same file"),
        (good, "no/out.mp4", 6, "no/out.mp4"),
    ):
        assert run("redact", source, tmp_path / target, "--report", tmp_path / "r.json") == code, words
        error = capsys.readouterr().err
        assert words in error and "Traceback" not in error
        assert sorted(tmp_path.iterdir()) == before, words


def test_source_output_and_report_are_three_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = videos.write(tmp_path / "in.mp4")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to(source)
    before = source.read_bytes(), sorted(tmp_path.iterdir())
    for report, code, words in (
        ("in.mp4", 2, "source and report are the same file"),
        ("link.json", 2, "source and report are the same file"),
        ("folder/../out.mp4", 2, "output and report are the same file"),
        ("folder", 6, "folder"),
    ):
        assert run("redact", source, tmp_path / "out.mp4", "--report", tmp_path / report) == code, report
        assert words in capsys.readouterr().err
        assert (source.read_bytes(), sorted(tmp_path.iterdir())) == before, report


def test_without_its_report_the_output_is_taken_back(tmp_path: Path) -> None:
    source, out, report = videos.write(tmp_path / "in.mp4"), tmp_path / "out.mp4", tmp_path / "report.json"
    rules = RuleSet(default=Treatment(action=Action.SOLID))
    with pytest.raises(PublishError, match=r"report\.json"):
        redact(source, out, Config(), rules, report=report, progress=lambda *_: report.mkdir(exist_ok=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "report.json"]


def test_a_report_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    """Here a limit on the size of files stands for a full disk; small texts are written only when it is closed."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    report = Report(tmp_path / "report.json", "in.mp4", {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        with pytest.raises(PublishError, match=r"report\.json"):
            report.close()
        report.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_cut_file_gives_what_is_readable_a_warning_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = videos.write(tmp_path / "in.mkv", count=250)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert run("redact", source, tmp_path / "out.mp4", "--method", "solid", "--json") == 3
    told = capsys.readouterr()
    assert "cut" in told.err
    summary = json.loads(told.out)
    assert summary["frames"] == len(luma(tmp_path / "out.mp4")) > 50


def test_pictures_that_could_not_be_judged_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = OnnxDetector.detect, itertools.count()

    def failing(*arguments: Any) -> Any:
        if next(looks) > 1:
            raise ModelError("out of memory")
        return real(*arguments)

    monkeypatch.setattr(OnnxDetector, "detect", failing)
    source = videos.write(tmp_path / "in.mp4")
    assert run("redact", source, tmp_path / "out.mp4", "--method", "solid", "--json") == 3
    told = capsys.readouterr()
    summary = json.loads(told.out)
    sentence = f"{summary['covered_whole']} pictures could not be judged and are covered whole"
    assert summary["covered_whole"] > 10 and sentence in told.err and "out of memory" in summary["problems"][0]


def test_wrong_settings_say_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("faces:\n  lookahed: 1\n")
    source = videos.write(tmp_path / "in.mp4")
    assert run("redact", source, tmp_path / "out.mp4", "--config", settings) == 2
    error = capsys.readouterr().err
    assert f"{settings}:2:3" in error and "Did you mean 'lookahead'?" in error


def test_a_missing_model_is_an_error_and_not_an_unprotected_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("faces: {detector: /nonexistent/model.onnx}\n")
    source = videos.write(tmp_path / "in.mp4")
    assert run("redact", source, tmp_path / "out.mp4", "--config", settings) == 5
    assert "/nonexistent/model.onnx" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_file_under_the_outputs_name(tmp_path: Path, number: signal.Signals) -> None:
    source = videos.write(tmp_path / "in.mp4", count=3000, size=(640, 480))
    target = tmp_path / "out.mp4"
    # Background jobs ignore Ctrl-C, and so would their children: here it counts again.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from anonymizer import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "redact", str(source), str(target), "--method", "solid"]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".out.mp4.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    assert not target.exists()
    if number is not signal.SIGKILL:
        assert "Traceback" not in error
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4"]


RULES = """
masks: {reflection: {camera: front, polygon: [[0, 0], [1, 0], [1, 1], [0, 1]]}}
zones: {cabin: {camera: cabin, polygon: [[0, 0], [1, 0], [1, 1]]}}
rules: [{name: own cabin, when: {zone: cabin}, then: solid}]
"""


@pytest.mark.parametrize("folder", [False, True])
def test_which_camera_a_file_is_of_can_be_said(
    tmp_path: Path, folder: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "config.yaml").write_text(f"rules: {tmp_path}/rules.yaml\n")
    source = tmp_path / "in" / "clip1.mp4"
    source.parent.mkdir()
    videos.write(source, count=3)
    given, out = (source.parent, tmp_path / "out") if folder else (source, tmp_path / "out.mp4")
    written = out / source.name if folder else out
    assert run("redact", given, out, "--config", tmp_path / "config.yaml") == 0
    told = capsys.readouterr().err
    assert told.count("warning") == 1 and "cabin, front" in told and "--camera" in told
    open_ = luma(written)
    assert run("redact", given, out, "--config", tmp_path / "config.yaml", "--camera", "front") == 0
    assert not capsys.readouterr().err
    assert all(np.ptp(picture) < 8 for picture in luma(written)), "the mask covers all of it"
    assert any(np.ptp(picture) > 8 for picture in open_)
