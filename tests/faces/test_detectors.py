"""Detectors: each family's arithmetic on known outputs, and what suppression keeps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anonymizer.errors import ModelError
from anonymizer.faces.detectors import NOTHING, Detections, joined, load_detector, overlaps, suppress
from tests.faces import graphs

BOX = np.array([20.0, 12.0, 16.0, 24.0])
POINTS = np.array([(24, 20), (32, 20), (28, 26), (25, 31), (31, 31)], np.float64)


def yunet(score: float = 0.9, *, side: int = 64) -> dict[str, np.ndarray]:
    """YuNet's outputs for one face, BOX and POINTS, in cell (3, 4) of stride 8."""
    outputs = {
        f"{kind}_{stride}": np.zeros((1, (side // stride) ** 2, n), np.float32)
        for kind, n in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in (8, 16, 32)
    }
    at, corner = 3 * (side // 8) + 4, np.array([4, 3]) * 8
    outputs["cls_8"][0, at], outputs["obj_8"][0, at] = score, score
    outputs["bbox_8"][0, at] = [*((BOX[:2] + BOX[2:] / 2 - corner) / 8), *np.log(BOX[2:] / 8)]
    outputs["kps_8"][0, at] = ((POINTS - corner) / 8).ravel()
    return outputs


def scrfd(score: float = 0.9) -> dict[str, np.ndarray]:
    """SCRFD's outputs for the same face, in the second anchor of cell (1, 1) of stride 16."""
    counts = [2 * (64 // stride) ** 2 for stride in (8, 16, 32)]
    outputs = {f"out{3 * k + i}": np.zeros((1, c, n)) for k, n in enumerate((1, 4, 10)) for i, c in enumerate(counts)}
    at, corner = 2 * (1 * 4 + 1) + 1, np.array([16, 16])
    outputs["out1"][0, at] = score
    outputs["out4"][0, at] = np.concatenate([corner - BOX[:2], BOX[:2] + BOX[2:] - corner]) / 16
    outputs["out7"][0, at] = ((POINTS - corner) / 16).ravel()
    return outputs


def centerface(score: float = 0.9) -> dict[str, np.ndarray]:
    """CenterFace's outputs for the same face, whose centre lies in cell (6, 7) of stride 4."""
    heat, scale, offset, kps = (np.zeros((1, n, 16, 16)) for n in (1, 2, 2, 10))
    heat[0, 0, 6, 7] = score
    scale[0, :, 6, 7] = np.log(BOX[3:1:-1] / 4)
    offset[0, :, 6, 7] = (BOX[1] + BOX[3] / 2) / 4 - 6.5, (BOX[0] + BOX[2] / 2) / 4 - 7.5
    kps[0, :, 6, 7] = ((POINTS - BOX[:2]) / BOX[2:])[:, ::-1].ravel()
    return {"537": heat, "538": scale, "539": offset, "540": kps}


FAMILIES = {"yunet": yunet, "scrfd": scrfd, "centerface": centerface}
PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_decodes(family: str, tmp_path: Path) -> None:
    detector = load_detector(graphs.write(tmp_path / f"{family}.onnx", FAMILIES[family](), (1, 3, 64, 64)))
    for found in detector.detect([PICTURE, PICTURE], 0.5):
        assert np.allclose(found.boxes, [BOX], atol=1e-3)
        assert np.allclose(found.points, [POINTS], atol=1e-3)
        assert np.allclose(found.scores, [0.9])
    assert len(detector.detect([PICTURE], 0.95)[0]) == 0
    assert detector.detect([], 0.5) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_fixed_input_scales_back(family: str, tmp_path: Path) -> None:
    """A picture of 128 × 96 enters a network of 64 × 64 at half its size, in the upper left."""
    detector = load_detector(graphs.write(tmp_path / f"{family}.onnx", FAMILIES[family](), (1, 3, 64, 64)))
    found = detector.detect([np.zeros((96, 128, 3), np.uint8)], 0.5)[0]
    assert np.allclose(found.boxes, [BOX * 2], atol=1e-2)


def test_odd_sizes_are_filled_up(tmp_path: Path) -> None:
    detector = load_detector(graphs.write(tmp_path / "net.onnx", yunet(), (1, 3, "h", "w")))
    assert np.allclose(detector.detect([np.zeros((61, 33, 3), np.uint8)], 0.5)[0].boxes, [BOX], atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_broken_numbers_are_an_error_not_an_empty_picture(family: str, tmp_path: Path) -> None:
    outputs = FAMILIES[family]()
    outputs[next(iter(outputs))][:] = np.nan
    detector = load_detector(graphs.write(tmp_path / "damaged.onnx", outputs, (1, 3, 64, 64)))
    with pytest.raises(ModelError, match="detector damaged failed"):
        detector.detect([PICTURE], 0.5)


def test_boxes_turned_inside_out_are_still_boxes(tmp_path: Path) -> None:
    for family, output, size in (("yunet", "bbox_8", -200.0), ("scrfd", "out4", -1.0)):
        outputs = FAMILIES[family]()
        outputs[output][..., 2:] = np.where(outputs[output][..., 2:] != 0, size, 0)
        detector = load_detector(graphs.write(tmp_path / f"{family}.onnx", outputs, (1, 3, 64, 64)))
        (found,) = detector.detect([PICTURE], 0.5)
        assert len(found) == 1 and found.boxes[:, 2:].min() >= 1


def test_wrong_number_of_cells_is_an_error(tmp_path: Path) -> None:
    detector = load_detector(graphs.write(tmp_path / "net.onnx", yunet(), (1, 3, "h", "w")))
    with pytest.raises(ModelError, match="84 cells instead of 336"):
        detector.detect([np.zeros((128, 128, 3), np.uint8)], 0.5)


def test_unknown_family_is_refused(tmp_path: Path) -> None:
    path = graphs.write(tmp_path / "net.onnx", {"a": np.zeros((1, 7))}, (1, 3, 64, 64))
    with pytest.raises(ModelError, match=r"net\.onnx is no face detector .* a\[1, 7\]"):
        load_detector(path)


def test_incomplete_yunet_is_refused(tmp_path: Path) -> None:
    outputs = yunet()
    del outputs["kps_32"]
    with pytest.raises(ModelError, match="kps_32"):
        load_detector(graphs.write(tmp_path / "net.onnx", outputs, (1, 3, 64, 64)))


def test_yunet_finds_a_face_where_it_is(shared: Path) -> None:
    detector = load_detector(shared / "models" / "yunet_n_dynamic.onnx")
    face = cv2.imread(str(sorted((shared / "faces").glob("SFHQ_sample_*.jpg"))[0]))
    scene = np.full((300, 500, 3), 90, np.uint8)
    scene[40:168, 330:458] = cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA)
    plain, mirrored = (d.take(d.scores > 0.6) for d in detector.detect([scene, scene[:, ::-1]], 0.3))
    assert len(plain) == len(mirrored) == 1
    assert (plain.boxes[0, :2] > (320, 30)).all()
    assert (plain.boxes[0, :2] + plain.boxes[0, 2:] < (468, 178)).all()
    assert np.allclose(mirrored.mirrored(500).points, plain.points, atol=6)
    assert plain.points[0, 0, 0] < plain.points[0, 1, 0]  # the right eye is on the left of the picture


boxes = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(4, 40), st.integers(4, 40))
faces = st.lists(st.tuples(boxes, st.integers(1, 99)), max_size=12)


def detections(items: list[tuple[tuple[int, int, int, int], int]]) -> Detections:
    if not items:
        return NOTHING
    box = np.array([b for b, _ in items], np.float32)
    return Detections(box, np.array([s / 100 for _, s in items], np.float32), np.zeros((len(items), 5, 2), np.float32))


@given(faces, st.randoms())
def test_suppression(items: list[tuple[tuple[int, int, int, int], int]], random: object) -> None:
    found = detections(items)
    kept = suppress(found)
    shuffled = list(items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = suppress(detections(shuffled))
    assert np.array_equal(kept.boxes, again.boxes)
    union, _ = overlaps(kept.boxes, kept.boxes)
    assert (union - np.eye(len(kept)) <= 0.4 + 1e-6).all()
    # What was dropped lies under something kept that is at least as sure.
    union, inside = overlaps(found.boxes, kept.boxes)
    held = ((union > 0.4) | (inside > 0.8)) & (kept.scores[None] >= found.scores[:, None])
    assert held.any(1).all() if len(found) else len(kept) == 0


def test_small_face_before_a_large_one_is_kept() -> None:
    assert len(suppress(detections([((0, 0, 40, 40), 90), ((10, 10, 10, 10), 50)]))) == 2
    assert len(suppress(detections([((0, 0, 40, 40), 90), ((8, 8, 28, 28), 50)]))) == 1


@given(faces)
def test_mirroring_and_mapping_go_back(items: list[tuple[tuple[int, int, int, int], int]]) -> None:
    found = detections(items)
    assert np.allclose(found.mirrored(100).mirrored(100).boxes, found.boxes)
    there = found.mapped((2.0, 4.0), (10.0, 20.0))
    back = there.mapped((0.5, 0.25), (-5.0, -5.0))
    assert np.allclose(back.boxes, found.boxes, atol=1e-4)
    assert len(joined([found, there])) == 2 * len(found)
