"""Clean GOPs keep the camera's own bits; all others are encoded anew, and the two make one stream."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer import gops
from anonymizer import redact as redacting
from anonymizer.access_unit import split
from anonymizer.config import Config, FacesSettings
from anonymizer.faces.detectors import load_detector
from anonymizer.faces.finder import Finder, FinderSettings
from anonymizer.faces.look import LookSettings
from anonymizer.faces.schedule import ScheduleSettings
from anonymizer.ingest.picture import planes_of
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Policy, RuleSet, load
from anonymizer.redact import Summary
from tests import stages, videos
from tests.conftest import need
from tests.stages import WHITE

GOP = 20
QUIET = (22, 23, 24, 25)
"""Photographs of shared/photos/scenes in which the detector finds nothing."""
SOLID = load("default: solid", "f")
EVERY_FRAME = ScheduleSettings(interval=0.0, still=0.0, regions=0)


@pytest.fixture
def _squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are bright squares."""

    def pipeline(config: Config, policy: Policy, *, camera: str, replace: bool, every: bool) -> Pipeline:
        finder = Finder(stages.SquareDetector(), FinderSettings(0.2, schedule=EVERY_FRAME))
        return Pipeline(finder, None, policy, None, stages.NoCast())  # type: ignore[arg-type]

    monkeypatch.setattr(redacting, "pipeline", pipeline)


def clip(
    path: Path,
    count: int,
    faces: Callable[[int], bool],
    *,
    times: Sequence[int] | None = None,
    size: tuple[int, int] = (256, 192),
    codec: str = "libx264",
    audio: bool = False,
    **options: str,
) -> Path:
    """Textured pictures, 25 a second, with a bright square of 40 px where faces(index)."""
    width, height = size
    noise = np.random.default_rng(5)
    ground = noise.integers(60, 110, (height, width + 200)).astype(np.uint8)
    face = noise.integers(WHITE - 20, 236, (40, 40)).astype(np.uint8)
    with av.open(str(path), "w") as output:
        defaults = {"g": str(GOP), "keyint_min": str(GOP), "sc_threshold": "0", "preset": "veryfast", "bf": "0"}
        stream = output.add_stream(codec, rate=25, options=defaults | options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = base = Fraction(1, 1000)
        sound = output.add_stream("aac", rate=8000, layout="mono") if audio else None
        for index in range(count):
            picture = av.VideoFrame(width, height, "yuv420p")
            planes = planes_of(picture)
            planes.y[:] = ground[:, index : index + width]
            planes.u[:], planes.v[:] = 128, 128
            if faces(index):
                planes.y[60:100, 30 + index % 40 : 70 + index % 40] = face
            picture.pts, picture.time_base = times[index] if times else index * 40, base
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 320 * count), np.float32), "fltp", "mono")
            samples.rate, samples.pts, samples.time_base = 8000, 0, Fraction(1, 8000)
            output.mux(sound.encode(samples))
            output.mux(sound.encode(None))
    return path


def run(source: Path, target: Path, rules: RuleSet = SOLID, **options: bool) -> tuple[Summary, list[dict[str, object]]]:
    report = target.with_suffix(".json")
    summary = redacting.redact(source, target, Config(), rules, report=report, copy=True, **options)
    return summary, json.loads(report.read_text()).get("gops")


def luma(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as reader:
        return [planes_of(frame).y.copy() for frame in reader.decode(video=0)]


def slices(path: Path) -> list[list[bytes]]:
    """The slice NAL units of each packet, in decoding order."""
    with av.open(str(path)) as reader:
        stream = reader.streams.video[0]
        avcc = (stream.codec_context.extradata or b"")[:1] == b"\1"
        found = []
        for packet in reader.demux(stream):
            data, units = bytes(packet), []
            while avcc and data:
                size = int.from_bytes(data[:4])
                units.append(data[4 : 4 + size])
                data = data[4 + size :]
            units = units if avcc else split(data)
            found.append([unit for unit in units if unit[0] & 31 in (1, 5)])
        return [units for units in found if units]


def played(path: Path) -> None:
    """ffmpeg and GStreamer play it without an error, with as many pictures as PyAV."""
    expected = len(luma(path))
    if shutil.which("ffmpeg"):
        told = subprocess.run(
            [
                "ffmpeg",
                "-v",
                "error",
                "-xerror",
                "-i",
                path,
                "-vsync",
                "passthrough",
                "-enc_time_base",
                "-1",
                "-f",
                "null",
                "-",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0 and not told.stderr, told.stderr
    if shutil.which("gst-launch-1.0"):
        line = f"filesrc location={path} ! decodebin ! video/x-raw ! fakesink silent=false sync=false -v"
        told = subprocess.run(
            ["gst-launch-1.0", *line.split()], capture_output=True, text=True, check=False, timeout=60
        )
        if "missing" in told.stderr or "no element" in told.stderr:
            return
        assert told.returncode == 0, told.stderr
        assert told.stdout.count("chain   *****") == expected


squares = pytest.mark.usefixtures("_squares")


@squares
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
@pytest.mark.parametrize("bframes", ["0", "2"])
def test_clean_gops_keep_their_bits(tmp_path: Path, suffix: str, bframes: str) -> None:
    """Faces in the third GOP's middle and at the fifth's very beginning, seen from the fourth by nobody."""
    source = clip(tmp_path / "in.mp4", 7 * GOP + 5, lambda i: 48 <= i < 52 or 80 <= i < 84, bf=bframes)
    target = tmp_path / f"out{suffix}"
    summary, told = run(source, target)
    before, after = luma(source), luma(target)
    assert len(before) == len(after) == summary.frames
    if suffix == ".ts" and bframes != "0":  # its times would move
        assert summary.copied_gops == 0 and "order" in str(told[0]["reason"])
        return
    copied = [entry["first"] for entry in told if entry["copied"]]
    # what a track is held and filled backwards for reaches into the neighbours: frames 43 to 58 and 75 to 90
    assert copied == [0, 20, 100, 120, 140]
    assert summary.copied_gops == 5 and summary.copied_frames == 85 and summary.gops == 8
    own, written = slices(source), slices(target)
    for entry in told:
        part = slice(entry["first"], entry["first"] + entry["frames"])
        assert (own[part] == written[part]) == entry["copied"]
        alike = [bool((x == y).all()) for x, y in zip(before[part], after[part], strict=True)]
        assert all(alike) if entry["copied"] else not any(alike)
    for index in [*range(48, 52), *range(80, 84)]:
        x = 30 + index % 40
        assert np.median(after[index][64:96, x + 4 : x + 36]) < WHITE - 60  # covered
    played(target)


@squares
@pytest.mark.parametrize("bframes", ["0", "2"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_are_the_sources(tmp_path: Path, suffix: str, bframes: str) -> None:
    noise = np.random.default_rng(2)
    times = np.cumsum(noise.integers(15, 90, 5 * GOP)).tolist()
    source = clip(tmp_path / "in.mkv", 5 * GOP, lambda i: 25 < i < 30, times=times, bf=bframes)
    summary, _ = run(source, tmp_path / f"out{suffix}")
    assert summary.copied_gops == 4
    assert [round(1000 * t) for t in videos.times_of(tmp_path / f"out{suffix}") if t is not None] == times
    with av.open(str(tmp_path / f"out{suffix}")) as reader:
        stamps = [packet.dts for packet in reader.demux(video=0) if packet.dts is not None]
    assert all(a < b for a, b in pairwise(stamps))


@squares
def test_a_face_late_in_a_gop_covers_its_pictures_that_went_by(tmp_path: Path) -> None:
    """They are decoded again: each comes out at its place, alike but for the coding."""
    source = clip(tmp_path / "in.mp4", 3 * 50, lambda i: 84 <= i < 89, g="50", bf="2")
    summary, told = run(source, tmp_path / "out.mp4")
    assert [entry["copied"] for entry in told] == [True, False, True] and summary.frames == 150
    assert told[1]["reason"] == "faces in frame 79"  # filled backwards by the look-ahead
    for x, y in zip(luma(source)[50:80], luma(tmp_path / "out.mp4")[50:80], strict=True):
        assert np.abs(x.astype(int) - y).mean() < 4


@squares
def test_nothing_but_slices_is_kept(tmp_path: Path) -> None:
    source, target = clip(tmp_path / "in.mp4", 2 * GOP, lambda i: False), tmp_path / "out.mp4"
    assert b"x264 - core" in source.read_bytes()  # user data in an SEI
    assert run(source, target)[0].copied_frames == 2 * GOP
    assert b"x264 - core" not in target.read_bytes()
    with av.open(str(target)) as reader:
        for packet in reader.demux(video=0):
            data = bytes(packet)
            kinds = []
            while data:
                size = int.from_bytes(data[:4])
                kinds.append(data[4] & 31)
                data = data[4 + size :]
            assert set(kinds) <= {1, 5, 7, 8}
            assert not packet.is_keyframe or {5, 7, 8} <= set(kinds)  # parameter sets in band


@squares
def test_sound_comes_along(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", 3 * GOP, lambda i: i > 50, audio=True)
    run(source, tmp_path / "out.mp4", audio=True)
    with av.open(str(tmp_path / "out.mp4")) as reader:
        assert sum(frame.samples for frame in reader.decode(audio=0)) >= 320 * 60


@squares
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x264-params": "open-gop=1", "bf": "2", "g": "10"}, ""),
        ({"x264-params": "interlaced=1"}, "interlaced"),
        ({"codec": "libx265", "x265-params": "log-level=0"}, "only H.264"),
        ({"codec": "mpeg4"}, "only H.264"),
    ],
)
def test_what_is_in_doubt_is_encoded_anew(tmp_path: Path, options: dict[str, str], words: str) -> None:
    source = clip(tmp_path / "in.mp4", 3 * GOP, lambda i: i == 45, **options)
    summary, told = run(source, tmp_path / "out.mp4")
    assert summary.copied_gops == 0 and summary.frames == 3 * GOP == len(luma(tmp_path / "out.mp4"))
    assert words in summary.nothing_copied or all(words in str(entry["reason"]) for entry in told)
    if words == "":  # one closed GOP, with open ones inside
        assert [entry["frames"] for entry in told] == [60]


@squares
def test_a_hidden_part_of_the_picture_is_not_passed_on(tmp_path: Path) -> None:
    """Cropping hides a face from the detector, but not from who reads the file."""
    need("ffmpeg")
    source = clip(tmp_path / "in.mp4", GOP, lambda i: False, size=(256, 192))
    cut = tmp_path / "cut.h264"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", source, "-c", "copy", "-bsf:v", "h264_metadata=crop_left=64", "-f", "mp4", cut],
        check=True,
    )
    summary, told = run(cut, tmp_path / "out.mp4")
    assert summary.copied_gops == 0
    assert "cropping" in str(told[0]["reason"]) if told else "sides" in summary.nothing_copied


@squares
def test_masks_and_privacy_touch_every_gop(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", 2 * GOP, lambda i: False)
    for text in ("masks: {sky: {polygon: [[0, 0], [1, 0], [1, 0.1]]}}", "default: privacy"):
        summary, told = run(source, tmp_path / "out.mp4", load(text, "f"))
        assert summary.copied_gops == 0 and all("covered in part" in str(entry["reason"]) for entry in told)


def test_a_failing_detector_leaves_nothing_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = stages.SquareDetector()
    detector.failing = True

    def pipeline(config: Config, policy: Policy, **_: object) -> Pipeline:
        finder = Finder(detector, FinderSettings(0.2, schedule=EVERY_FRAME))
        return Pipeline(finder, None, policy, None, stages.NoCast())  # type: ignore[arg-type]

    monkeypatch.setattr(redacting, "pipeline", pipeline)
    source = clip(tmp_path / "in.mp4", 2 * GOP, lambda i: False)
    summary, _ = run(source, tmp_path / "out.mp4")
    assert summary.copied_gops == 0 and summary.covered_whole == 2 * GOP


@squares
def test_damage_is_not_passed_on(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.ts", 5 * GOP, lambda i: False)
    data = bytearray(source.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle + 20 : middle + 150] = bytes(130)
    (tmp_path / "bad.ts").write_bytes(data)
    summary, told = run(tmp_path / "bad.ts", tmp_path / "out.mp4")
    assert summary.frames == len(luma(tmp_path / "out.mp4"))
    assert [entry["copied"] for entry in told].count(False) >= 1
    assert all("damaged" in str(e["reason"]) for e in told if not e["copied"])
    played(tmp_path / "out.mp4")


@squares
def test_parameter_sets_that_are_cut_off_or_endless_stop_nothing(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.h264", 2 * GOP, lambda i: i == 5)
    bad = tmp_path / "bad.h264"
    for unit in (b"\x67", b"\x68", b"\x67\x64\x00\x1f" + bytes(50_000) + b"\xff" * 50_000):
        bad.write_bytes(b"\0\0\0\1" + unit + source.read_bytes())
        summary, _ = run(bad, tmp_path / "out.mp4")
        assert summary.frames == 2 * GOP == len(luma(tmp_path / "out.mp4"))


@squares
def test_a_last_picture_of_another_size_is_not_passed_on(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.ts", 2 * GOP, lambda i: False)
    last = clip(tmp_path / "last.ts", 1, lambda i: False, size=(128, 96))
    source.write_bytes(source.read_bytes() + last.read_bytes())
    summary, told = run(source, tmp_path / "out.mp4")
    assert [entry["copied"] for entry in told] == [True, False, False]  # the second is damaged where the files meet
    assert summary.frames == 2 * GOP + 1
    assert {picture.shape for picture in luma(tmp_path / "out.mp4")} == {(192, 256)}


@squares
def test_a_gop_too_long_for_memory_is_encoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gops, "MOST_BYTES", 20_000)
    source = clip(tmp_path / "in.mp4", 3 * GOP, lambda i: False, g="60")
    summary, told = run(source, tmp_path / "out.mp4")
    assert summary.frames == 60 == len(luma(tmp_path / "out.mp4"))
    assert [entry["reason"] for entry in told] == ["too long to be kept in memory"]


@squares
def test_pictures_that_differ_a_second_time_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the file is encoded anew as a whole."""
    source = clip(tmp_path / "in.mp4", 3 * GOP, lambda i: i == 35)
    keep = gops.Gop.keep
    monkeypatch.setattr(
        gops.Gop, "keep", lambda self, coded: keep(self, gops.Coded(coded.slices, coded.data, coded.pts + 1, coded.idr))
    )
    summary, told = run(source, tmp_path / "out.mp4")
    assert "second time" in summary.nothing_copied and told is None
    assert summary.frames == 60 == len(luma(tmp_path / "out.mp4"))


@squares
@pytest.mark.parametrize(
    "name", ["h264_4bf_pyramid_nobsrestriction.mp4", "sample_edit_list_only_preroll_sync_sample.mp4", "brokensps.mp4",
             "interlaced_crop.mp4", "mp4-init-nonkeyframe.mp4", "test_iibbibb_neg_ctts.mp4", "two_first_slice.mp4",
             "sample_h265.ts", "packed_bframes.avi", "sample_no_bframes.mp4"],
)  # fmt: skip
def test_odd_streams_come_out_as_without_copying(shared: Path, tmp_path: Path, name: str) -> None:
    """The same number of pictures at the same times, whatever is passed on."""
    source = shared / "footage" / "codecs" / name
    plain = redacting.redact(source, tmp_path / "plain.mkv", Config(), SOLID)
    summary, _ = run(source, tmp_path / "out.mkv")
    assert summary.frames == plain.frames and summary.problems == plain.problems
    assert videos.times_of(tmp_path / "out.mkv") == pytest.approx(videos.times_of(tmp_path / "plain.mkv"), abs=2e-3)
    played(tmp_path / "out.mkv")


def pan(path: Path, shared: Path, photos: Sequence[int], face: int | None = None) -> Path:
    """Two seconds of 720p over each photograph without faces, with a camera's noise; a portrait in one of them."""
    noise = np.random.default_rng(3)
    grain = noise.normal(0, 3, (784, 1344)).astype(np.int16)
    with av.open(str(path), "w") as output:
        options = {"g": "50", "keyint_min": "50", "sc_threshold": "0", "bf": "0", "crf": "23", "preset": "veryfast"}
        stream = output.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number, photo in enumerate(photos):
            scene = cv2.imread(str(shared / "photos" / "scenes" / f"{photo:04}.jpg"))
            scale = max(1472 / scene.shape[1], 828 / scene.shape[0])
            scene = cv2.resize(scene, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            if number == face:
                portrait = cv2.imread(str(sorted((shared / "faces").glob("*.jpg"))[40]))
                scene[300:460, 600:760] = cv2.resize(portrait, (160, 160), interpolation=cv2.INTER_AREA)
            for index in range(50):
                x, y = (scene.shape[1] - 1280) * index // 50, (scene.shape[0] - 720) * index // 50
                view = np.ascontiguousarray(scene[y : y + 720, x : x + 1280])
                picture = av.VideoFrame.from_ndarray(view, format="bgr24").reformat(format="yuv420p")
                dy, dx = noise.integers(0, 64, 2)
                planes = planes_of(picture)
                planes.y[:] = np.clip(planes.y + grain[dy : dy + 720, dx : dx + 1280], 16, 235)
                output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def test_the_bits_of_clean_groups_are_kept(shared: Path, tmp_path: Path) -> None:
    """Photographs panned over, a portrait in one of them."""
    source = pan(tmp_path / "in.mp4", shared, QUIET, face=1)
    report = tmp_path / "copy.json"
    redacting.redact(source, tmp_path / "copy.mp4", Config(), SOLID, report=report, copy=True)
    kept = json.loads(report.read_text())
    busy = {frame["index"] // 50 for frame in kept["frames"] if frame["faces"]}  # a neighbour too, by the look-ahead
    assert [entry["copied"] for entry in kept["gops"]] == [number not in busy for number in range(4)]
    assert 1 in busy and not busy & {2, 3}
    own, written = slices(source), slices(tmp_path / "copy.mp4")
    before, after = luma(source), luma(tmp_path / "copy.mp4")
    assert own[100:] == written[100:]
    assert all((x == y).all() for x, y in zip(before[100:], after[100:], strict=True))
    played(tmp_path / "copy.mp4")


def test_copying_costs_less_than_encoding(shared: Path, tmp_path: Path) -> None:
    """Photographs panned over: fewer CPU seconds than plain with every frame looked at, at the default settings."""
    source = pan(tmp_path / "in.mp4", shared, QUIET)
    costs = {"plain": math.inf, "copy": math.inf}
    for name in ("plain", "copy") * 2:  # the least of two, in turn: another test may share the core with one
        start = time.process_time()
        summary = redacting.redact(source, tmp_path / f"{name}.mp4", Config(), SOLID, copy=name == "copy")
        costs[name] = min(costs[name], time.process_time() - start)
    assert summary.copied_gops == summary.gops == 4
    assert costs["copy"] < 0.9 * costs["plain"], costs


@pytest.mark.soak
def test_what_is_passed_on_shows_nobody(shared: Path, tmp_path: Path) -> None:
    """Footage in which people come and go, every frame looked at as it is; judged by another detector."""
    source = shared / "footage" / "video" / "one-by-one-person-detection.mp4"
    report = tmp_path / "out.json"
    config = Config(faces=FacesSettings(look=LookSettings(size=0)))
    summary = redacting.redact(source, tmp_path / "out.mp4", config, SOLID, report=report, copy=True)
    assert summary.frames == 1394 and summary.copied_gops >= 50
    judge = load_detector(shared / "attackers" / "scrfd_2.5g_kps.onnx")
    copied = {
        index
        for gop in json.loads(report.read_text())["gops"]
        if gop["copied"]
        for index in range(gop["first"], gop["first"] + gop["frames"])
    }
    with av.open(str(tmp_path / "out.mp4")) as reader:
        for index, frame in enumerate(reader.decode(video=0)):
            if index in copied and index % 3 == 0:
                assert not len(judge.detect([planes_of(frame).bgr()], 0.5)[0]), index
    played(tmp_path / "out.mp4")
