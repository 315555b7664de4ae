"""``anonymizer evaluate`` as users run it, on a short piece of shared footage."""

from __future__ import annotations

import argparse
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from anonymizer.errors import ConfigError, SourceError
from anonymizer.evaluate import command, cost
from anonymizer.publish.encoder import EncoderSettings
from tests import videos


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers(required=True))
    given = parser.parse_args(["evaluate", *(str(one) for one in arguments)])
    return int(given.command(given))


def figures(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    data = json.loads((folder / "evaluation.json").read_text())
    return {(f["name"], f["of"]): f for section in data["sections"] for f in section["figures"]}


@pytest.fixture(scope="module")
def clip(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of the street, smaller; its labels are found by the clip's name."""
    target = tmp_path_factory.mktemp("clip") / "street.mp4"
    with av.open(str(shared / "footage" / "video" / "street_operahouse_1080p.mp4")) as reader:
        frames = [frame.reformat(960, 540) for _, frame in zip(range(12), reader.decode(video=0), strict=False)]
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"crf": "16", "preset": "veryfast"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 960, 540, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for index, frame in enumerate(frames):
            frame.pict_type, frame.pts, frame.time_base = av.video.frame.PictureType.NONE, index, Fraction(1, 25)
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


@pytest.fixture
def judges(shared: Path) -> list[str]:
    models = shared / "models"
    return [
        "--reference", str(models / "yunet_n_dynamic.onnx"), "--step", "4",
        "--recogniser", f"omz-0095={models / 'omz_face-reidentification-retail-0095.onnx'}",
    ]  # fmt: skip


def test_all_of_it_on_a_clip_that_is_redacted_first(
    shared: Path, clip: Path, judges: list[str], tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"faces: {{detector: {shared / 'models' / 'yunet_n_dynamic.onnx'}}}\n")
    arguments = ["--config", settings, "--method", "solid", "--no-cost", "--out", tmp_path]
    assert run("all", clip, *judges, *arguments) == 0
    said = figures(tmp_path)
    assert said["covered", "all faces"]["value"] > 80 and said["covered", "all faces"]["count"] > 10
    assert said["untouched", "faces of 20 px and more"]["value"] < 20
    assert said["outside the paint, PSNR", "all clips"]["value"] > 35
    assert said["outside the paint, changed blocks", "all clips"]["value"] < 1
    assert abs(said["outside the paint, PSNR", "lost against that"]["value"]) < 1
    assert said["temporal energy, by the original's motion", "solid, all"]["count"] >= 3
    page = (tmp_path / "evaluation.html").read_text()
    assert page.count("data:image/jpeg") >= 1 and "SHA-256" in page


def test_all_leaves_out_what_nothing_is_given_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = videos.write(tmp_path / "a.mp4", count=5)
    assert run("all", clip, "--no-cost", "--out", tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert "leaving out recall, which needs --labels" in said and "leaving out reidentify" in said
    assert "left out: recall" in (tmp_path / "out" / "evaluation.html").read_text()
    with pytest.raises(ConfigError, match="recall needs labels"):
        run("recall", clip, "--out", tmp_path / "out")


def test_a_clip_that_nobody_anonymised_is_found_out(clip: Path, judges: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    shutil.copy(clip, copy)
    assert run("all", clip, "--anonymised", copy, *judges, "--no-cost", "--out", tmp_path / "out") == 0
    said = figures(tmp_path / "out")
    assert said["untouched", "faces of 20 px and more"]["value"] == 100
    assert said["left", "faces of 20 px and more"]["value"] == 100
    assert said["still found", "unreported, 40 px and more"]["value"] == 100
    assert said["landmark error", "unreported, mean"]["value"] == 0
    assert 0 < said["landmark error", "unreported, original encoded anew, mean"]["value"] < 20
    assert said["same frame, rank-1", "omz-0095, unreported"]["value"] > 80
    assert said["temporal energy, by the original's motion", "unreported, all"]["value"] == pytest.approx(1)
    assert said["outside the faces, PSNR", "all clips"]["value"] > 100
    assert not any(name == "covered" for name, _ in said)  # nobody reported, so nobody claims
    assert "data:image/jpeg" not in (tmp_path / "out" / "evaluation.html").read_text()  # no face that is not hidden


def test_known_people(shared: Path, judges: list[str], tmp_path: Path) -> None:
    crops = shared / "footage" / "identity" / "lfw_gray_crops"
    for person in sorted(crops.iterdir())[:9]:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        for picture in sorted(person.iterdir())[:2]:
            small = cv2.resize(cv2.imread(str(picture)), (200, 200), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(tmp_path / "people" / person.name / picture.name), small)
    arguments = ["--people", tmp_path / "people", "--method", "solid", "--out", tmp_path / "out"]
    assert run("reidentify", *judges, *arguments) == 0
    said = figures(tmp_path / "out")
    assert said["enrolment, rank-1", "omz-0095, covered, original"]["value"] > 85
    assert said["enrolment, rank-1", "omz-0095, covered"]["value"] < 60
    trained = said["trained attacker, rank-1", "omz-0095, covered"]
    assert trained["count"] >= 3
    for method in ("replace", "solid", "pixelate", "blur", "silhouette", "control"):
        assert said["parrot attack, rank-1", f"omz-0095, {method}"]["count"] >= 8
    assert said["linkage of releases, rank-1", "omz-0095, scope track"]["count"] >= 5


def test_cost_of_a_drawn_clip(tmp_path: Path) -> None:
    clip = videos.write(tmp_path / "a.mp4", count=20)
    assert run("cost", clip, "--rounds", 1, "--out", tmp_path / "out") == 0
    said = figures(tmp_path / "out")
    assert said["CPU", "floor"]["value"] > 0 and said["CPU", "floor"]["count"] == 20
    assert said["CPU", "replace over the floor"]["value"] > 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["evaluation.html", "evaluation.json"]


def test_cost_is_that_of_the_configuration(tmp_path: Path) -> None:
    clip, settings = videos.write(tmp_path / "a.mp4", count=3), tmp_path / "settings.yaml"
    settings.write_text("faces: {detector: none.onnx}\n")
    with pytest.raises(SourceError, match=r"solid failed: .*none\.onnx"):
        cost.measure("solid", clip, tmp_path / "out.mp4", EncoderSettings(), settings)


def test_wrong_arguments_say_what_is_missing(tmp_path: Path) -> None:
    clip = videos.write(tmp_path / "a.mp4", count=5)
    with pytest.raises(ConfigError, match="--recogniser"):
        run("reidentify", clip, "--out", tmp_path)
    with pytest.raises(ConfigError, match="no family 'omz'"):
        run("reidentify", clip, "--recogniser", "omz=x.onnx", "--out", tmp_path)
    with pytest.raises(ConfigError, match="FAMILY=FILE"):
        run("reidentify", clip, "--recogniser", "x.onnx", "--out", tmp_path)
    with pytest.raises(ConfigError, match="labels"):
        run("recall", clip, "--anonymised", clip, "--out", tmp_path)
    with pytest.raises(SourceError, match=r"b\.mp4"):
        run("utility", tmp_path / "b.mp4", "--out", tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"text\.mp4"):
        run("utility", clip, tmp_path / "text.mp4", "--out", tmp_path / "unmade")
    assert not (tmp_path / "unmade").exists()  # said before any work
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        run("utility", "--out", tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match="no anonymised version"):
        run("utility", clip, "--anonymised", tmp_path / "folder", "--out", tmp_path)


def test_clips_that_do_not_belong_together_are_refused_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, other = videos.write(tmp_path / "a.mp4", count=8), videos.write(tmp_path / "b.mp4", count=5)
    out = ["--out", tmp_path / "out"]
    label = tmp_path / "label.json"
    label.write_text(json.dumps({"width": 192, "height": 144, "fps": 50.0, "frames": []}))
    for option, path in (("--anonymised", clip), ("--labels", label)):
        with pytest.raises(ConfigError, match="one file for 2 clips"):
            run("utility", clip, other, option, path, *out)
    with pytest.raises(ConfigError, match=r"a\.mp4: its labels are of 192 × 144 at 50"):
        run("utility", clip, "--labels", label, *out)
    assert run("utility", clip, "--anonymised", other, *out) == 0
    told = "a: the anonymised clip has 5 frames, the original 8"
    assert told in capsys.readouterr().err and told in (tmp_path / "out" / "evaluation.html").read_text()


def test_faces_of_the_sheet_are_hidden_ones() -> None:
    from anonymizer.evaluate.labels import Done, Painted
    from anonymizer.evaluate.recall import Known
    from anonymizer.evaluate.scene import Clip, Scene, Subject
    from anonymizer.evaluate.sheet import Sheet
    from anonymizer.frame import Planes

    noise = np.random.default_rng(1)

    def planes(luma: np.ndarray) -> Planes:
        half = np.full((100, 100), 128, np.uint8)
        return Planes(luma, half, half.copy())

    before = noise.integers(16, 235, (200, 200)).astype(np.uint8)
    after = before.copy()
    after[60:110, 40:90] = 90
    faces = [((40.0, 60.0, 50.0, 50.0), "solid"), ((120.0, 60.0, 50.0, 50.0), "solid")]
    clip = Clip("a", Path("a"), Path("b"), {0: Done([])})
    told = [Painted(i, box, method, method) for i, (box, method) in enumerate(faces)]
    subjects = [Subject(f"a/{i}", Known(i, box), None, None, told[i]) for i, (box, _) in enumerate(faces)]
    sheet = Sheet(0)
    pictures = planes(before), planes(after), planes(before)
    sheet.see(Scene(clip, 0, 0.0, True, *pictures, None, subjects))  # type: ignore[arg-type]
    ((caption, picture),) = sheet.sheets()
    # The second face is said to be hidden and is not: it stays off the sheet.
    for index in range(1, 40):
        sheet.see(Scene(clip, index, 0.0, True, *pictures, None, subjects))  # type: ignore[arg-type]
    assert "12 of 40 faces that may be shown" in sheet.sheets()[0][0]
    assert "1 of 1" in caption and picture.shape == (160, 960, 3)
