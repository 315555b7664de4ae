"""Landmarks land where the net saw them, however the crop lies in the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from anonymizer.errors import ModelError
from anonymizer.faces import topology
from anonymizer.faces.landmarks import (
    LARGER,
    NEAR,
    TURNED,
    Crop,
    Landmarker,
    crop_around,
    crop_at,
    crop_of,
    cut,
    roll_of,
)
from anonymizer.frame import Face, Planes

SIDE = 96


def dotted(x: float, y: float, width: int = 400, height: int = 300, spread: float = 3.0) -> Planes:
    """A black picture with a soft white dot centred on (x, y), measured from the picture's corner."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    light = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    return Planes(np.rint(16 + 219 * light).astype(np.uint8), grey, grey.copy())


@pytest.fixture(scope="module")
def finder_of_dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the landmark net's contract that answers with the centre of mass of the light, 200 times."""
    places = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    columns, rows = np.tile(places, (SIDE, 1)), np.tile(places[:, None], (1, SIDE))
    grid = np.stack([columns, rows, np.zeros_like(rows)], 2).reshape(SIDE * SIDE, 3)
    constants = {
        "grid": grid,
        "channel": np.array([1], np.int64),
        "flat": np.array([0, SIDE * SIDE], np.int64),
        "last": np.array([1], np.int64),
        "three": np.array([0, 1, 3], np.int64),
        "times": np.array([1, topology.COUNT, 1], np.int64),
        "bright": np.array(10000.0, np.float32),
    }
    nodes = [
        helper.make_node("ReduceSum", ["crops", "channel"], ["light"], keepdims=0),
        helper.make_node("Reshape", ["light", "flat"], ["pixels"]),
        helper.make_node("ReduceSum", ["pixels", "last"], ["sum"], keepdims=1),
        helper.make_node("MatMul", ["pixels", "grid"], ["moment"]),
        helper.make_node("Div", ["moment", "sum"], ["place"]),
        helper.make_node("Reshape", ["place", "three"], ["one"]),
        helper.make_node("Tile", ["one", "times"], ["landmarks"]),
        helper.make_node("Div", ["sum", "bright"], ["share"]),
        helper.make_node("Tanh", ["share"], ["tall"]),
        helper.make_node("Squeeze", ["tall", "last"], ["presence"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dots",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["n", topology.COUNT, 3]),
            helper.make_tensor_value_info("presence", TensorProto.FLOAT, ["n"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path_factory.mktemp("models") / "dots.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@settings(deadline=None)
@given(
    x=st.floats(60, 340), y=st.floats(60, 240), side=st.floats(40, 300), roll=st.floats(-3, 3), dx=st.floats(-0.2, 0.2)
)
def test_a_dot_is_found_where_it_is(
    finder_of_dots: Path, x: float, y: float, side: float, roll: float, dx: float
) -> None:
    planes = dotted(x, y, spread=max(1.5, side / 40))
    found = Landmarker(finder_of_dots).at(planes, [Crop(x + dx * side, y - dx * side, side, roll)])
    assert found.points[0, 0] == pytest.approx([x, y], abs=max(0.3, 0.004 * side))


def test_a_batch_answers_as_single_faces_do(finder_of_dots: Path) -> None:
    planes, net = dotted(150, 120), Landmarker(finder_of_dots)
    crops = [Crop(150 + 3 * i, 118, 60 + 20 * i, 0.2 * i) for i in range(4)]
    together = net.at(planes, crops)
    for i, crop in enumerate(crops):
        alone = net.at(planes, [crop])
        np.testing.assert_allclose(together.points[i], alone.points[0], atol=1e-3)
        np.testing.assert_allclose(together.presence[i], alone.presence[0], atol=1e-5)
    assert together.points.shape == (4, 200, 2)
    assert together.solid.shape == (4, 200, 3)


def test_no_faces_no_run(finder_of_dots: Path) -> None:
    nothing = Landmarker(finder_of_dots)(dotted(50, 50), [])
    assert nothing.points.shape == (0, 200, 2)
    assert nothing.solid.shape == (0, 200, 3)
    assert nothing.presence.shape == (0,)


@pytest.mark.parametrize(
    "crop", [Crop(-200, -200, 50, 0), Crop(0, 0, 80, 1), Crop(399, 299, 500, 2), Crop(5000, 5, 9, 0)]
)
def test_crops_across_and_beyond_the_border_are_cut(crop: Crop) -> None:
    assert cut(dotted(10, 10), [crop], SIDE).shape == (1, SIDE, SIDE, 3)


def test_the_border_is_repeated() -> None:
    planes = dotted(200, 150)
    planes.y[:] = 235
    assert cut(planes, [Crop(0, 0, 100, 0)], SIDE).min() == 255


def test_crop_keeps_right_colours_and_side() -> None:
    planes = dotted(200, 150)
    planes.y[:], planes.u[:], planes.v[:] = 81, 90, 240  # BT.601 red
    planes.v[:, :100], planes.u[:, :100] = 110, 240  # and blue on the left
    (crop,) = cut(planes, [Crop(200, 150, 96, 0)], SIDE)
    assert crop[48, 80].argmax() == 2
    assert crop[48, 10].argmax() == 0


def test_crops_of_one_picture_do_not_mix() -> None:
    rng = np.random.default_rng(3)
    planes = Planes(*(rng.integers(16, 236, shape, np.uint8) for shape in ((300, 400), (150, 200), (150, 200))))
    crops = [Crop(120, 100, 90, 0.3), Crop(5000, 5, 9, 0), Crop(260, 180, 230, -1), Crop(390, 20, 60, 2)]
    together = cut(planes, crops, SIDE)
    for one, crop in zip(together, crops, strict=True):
        assert (cut(planes, [crop], SIDE)[0] == one).all()
    assert (together[1] == 0).all()


def test_both_ranges_look_alike() -> None:
    studio = dotted(200, 150, spread=30)
    studio.u[:, :100], studio.v[:, :100] = 110, 160
    full = Planes(
        np.rint((studio.y.astype(float) - 16) * 255 / 219).astype(np.uint8),
        *(np.rint((plane - 128.0) * 255 / 224 + 128).astype(np.uint8) for plane in (studio.u, studio.v)),
        full_range=True,
    )
    seen = [cut(planes, [Crop(200, 150, 180, 0.5)], SIDE).astype(int) for planes in (studio, full)]
    assert np.abs(seen[0] - seen[1]).max() <= 4
    # A table that is applied twice, or not at all, moves black and white by 16 levels and more.
    assert seen[1].min() <= 2 and seen[1].max() >= 253


def test_roll_of_turned_points() -> None:
    frontal = np.array([[-30, -20], [30, -20], [0, 10], [-22, 40], [22, 40]], np.float32)
    profile = np.array([[0, -20], [3, -20], [25, 10], [2, 40], [6, 40]], np.float32)
    for points in (frontal, profile):
        for degrees in (-60, -20, 0, 35, 80):
            angle = np.radians(degrees)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            off = np.degrees(roll_of(points)) if degrees == 0 else np.degrees(roll_of(points @ turn.T)) - degrees
            assert abs(off) < 5


def test_crop_of_a_turned_face_turns_with_it() -> None:
    rng = np.random.default_rng(1)
    points = np.zeros((200, 2), np.float32)
    points[:] = rng.uniform(-40, 40, (200, 2))
    points[topology.EYE_RIGHT], points[topology.EYE_LEFT] = (-30, -20), (30, -20)
    points[topology.points(61)], points[topology.points(291)] = (-20, 40), (20, 40)
    upright = crop_around(points + 200)
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = crop_around((points @ turn.T + 200).astype(np.float32))
    assert turned.side == pytest.approx(upright.side, rel=1e-4)
    assert np.degrees(turned.roll) == pytest.approx(25, abs=0.01)
    offset = turn @ (upright.x - 200, upright.y - 200)
    assert (turned.x - 200, turned.y - 200) == pytest.approx(offset, abs=1e-3)


def heart(x: float, y: float, size: float, roll: float) -> np.ndarray:
    """Landmarks (200, 2) that fill a square of that size around (x, y), turned."""
    points = np.random.default_rng(2).uniform(-0.5, 0.5, (200, 2))
    points[topology.EYE_RIGHT], points[topology.EYE_LEFT] = (-0.2, -0.2), (0.2, -0.2)
    points[topology.points(61)], points[topology.points(291)] = (-0.2, 0.3), (0.2, 0.3)
    points[:2] = (-0.5, -0.5), (0.5, 0.5)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return (size * points @ turn.T + (x, y)).astype(np.float32)


def test_crop_of_a_new_face_is_where_it_was_seen() -> None:
    five = np.random.default_rng(2).uniform(0, 90, (5, 2)).astype(np.float32)
    face = Face(0, (0, 0, 100, 100), 1, points=five)
    assert crop_of(face) == crop_at((0, 0, 100, 100), five)
    face.seen = (20, 20, 50, 60)
    assert crop_of(face) == crop_at((20, 20, 50, 60), five)
    face.landmarks = np.full((200, 2), np.nan, np.float32)
    assert crop_of(face) == crop_at((20, 20, 50, 60), five)


def test_crop_of_a_known_face_is_around_its_landmarks() -> None:
    box = (200.0, 100.0, 80.0, 100.0)
    face = Face(0, box, 1, landmarks=heart(241, 158, 88, 0.2))
    assert face.landmarks is not None
    assert crop_of(face) == pytest.approx(crop_around(face.landmarks), abs=1e-3)
    assert crop_of(face).roll == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("x", "y", "size", "roll"), [(400, 158, 88, 0), (240, 158, 8, 0), (240, 158, 900, 3)])
def test_landmarks_that_went_astray_do_not_lead_the_crop_away(x: float, y: float, size: float, roll: float) -> None:
    box = (200.0, 100.0, 80.0, 100.0)
    seen, crop = crop_at(box, None), crop_of(Face(0, box, 1, landmarks=heart(x, y, size, roll)))
    assert np.hypot(crop.x - seen.x, crop.y - seen.y) <= NEAR * seen.side + 1e-6
    assert 1 / LARGER - 1e-6 <= crop.side / seen.side <= LARGER + 1e-6
    assert abs(crop.roll - seen.roll) <= TURNED + 1e-6


def test_other_models_are_refused(tmp_path: Path, finder_of_dots: Path) -> None:
    model = onnx.load(finder_of_dots)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 64
    del model.graph.node[:]
    del model.graph.output[:]
    model.graph.node.append(helper.make_node("Identity", ["crops"], ["landmarks"]))
    model.graph.output.append(helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["n", 3, 64, 64]))
    wrong = tmp_path / "wrong.onnx"
    onnx.save(model, wrong)
    with pytest.raises(ModelError, match=r"expected .*96×96"):
        Landmarker(wrong)
    with pytest.raises(ModelError, match=r"nothing\.onnx"):
        Landmarker(tmp_path / "nothing.onnx")
