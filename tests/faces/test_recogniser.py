"""Alignment and embeddings, on a model whose answer is known: the mean of each channel that it is given."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anonymizer.errors import ModelError
from anonymizer.faces.alignment import ARCFACE, aligned, cut, similarity
from anonymizer.faces.recogniser import FAMILIES, Recogniser
from anonymizer.frame import F32, U8
from anonymizer.ingest.picture import Picture
from tests.faces import graphs

COLOUR = (10, 60, 200)  # blue, green, red


def means(path: Path, size: tuple[int, int], batch: int | str = 1) -> Path:
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["data"], ["out"], axes=[2, 3], keepdims=0)],
        "means",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, size[1], size[0]])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def painted(points: F32) -> U8:
    picture = np.zeros((300, 400, 3), np.uint8)
    (x0, y0), (x1, y1) = points.min(0) - 80, points.max(0) + 80
    picture[max(0, int(y0)) : int(y1), max(0, int(x0)) : int(x1)] = COLOUR
    return picture


POINTS = ARCFACE * np.float32(0.5) + np.array([150, 90], np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_gets_its_size_colours_and_scaling(family: str, tmp_path: Path) -> None:
    known = FAMILIES[family]
    recogniser = Recogniser(means(tmp_path / "net.onnx", known.size), family)
    found = recogniser(painted(POINTS), np.stack([POINTS, POINTS]))
    channels = np.array(COLOUR[::-1] if known.rgb else COLOUR, np.float64)
    wanted = (channels - known.mean) / known.std
    assert found.shape == (2, 3) and found.dtype == np.float32
    assert found == pytest.approx(np.tile(wanted / np.linalg.norm(wanted), (2, 1)), abs=1e-4)
    assert recogniser.name == family


def test_a_batch_is_run_at_once_where_the_model_takes_one(tmp_path: Path) -> None:
    recogniser = Recogniser(means(tmp_path / "net.onnx", (112, 112), "n"), "arcface", name="attacker")
    assert recogniser(painted(POINTS), np.stack([POINTS] * 3)).shape == (3, 3) and recogniser.name == "attacker"


def test_families_are_told_apart_by_shape_and_strangers_refused(tmp_path: Path) -> None:
    for name, size, length in (("sface", 112, 128), ("omz-0095", 128, 256)):
        path = graphs.write(tmp_path / f"{name}.onnx", {"out": np.ones((1, length))}, (1, 3, size, size))
        assert Recogniser(path).name == name
    other = graphs.write(tmp_path / "other.onnx", {"out": np.ones((1, 7))}, (1, 3, 112, 112))
    with pytest.raises(ModelError, match="sface, omz-0095"):
        Recogniser(other)
    with pytest.raises(ModelError, match="wrong inputs"):
        Recogniser(means(tmp_path / "small.onnx", (96, 112)), "arcface")


def test_planes_and_pictures_give_the_same_face(tmp_path: Path) -> None:
    recogniser = Recogniser(means(tmp_path / "net.onnx", (112, 112)), "arcface")
    picture = painted(POINTS)
    planes = Picture(av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")).planes()
    found = recogniser.embed(planes, POINTS)
    assert found == pytest.approx(recogniser(picture, POINTS[None])[0], abs=0.02)
    assert recogniser.embed(planes, POINTS + 5000) is None  # outside
    assert recogniser.embed(planes, np.full((5, 2), 50, np.float32)) is None  # one place
    crop = cut(planes, POINTS, ARCFACE, (112, 112))
    assert crop is not None
    assert np.abs(crop.astype(int) - aligned(planes.bgr(), POINTS, ARCFACE, (112, 112))).max() <= 2


def test_a_similarity_is_found_again() -> None:
    turn = np.array([[0.8, -0.6], [0.6, 0.8]], np.float32) * 3
    points = ARCFACE @ turn.T + np.array([40, -7], np.float32)
    matrix = similarity(points, ARCFACE)
    assert points @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(ARCFACE, abs=1e-3)
