"""Still faces stand still, moving ones are not late; measured on real pictures and on made-up motion."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anonymizer.faces import topology
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.pose import pose_of
from anonymizer.faces.smoothing import Smoother
from anonymizer.frame import Face, Planes

MODEL = Path(__file__).resolve().parents[2] / "models" / "face_landmarks.onnx"
EYES = 30.0


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """Made-up points (200, 2), the eyes' centres EYES pixels apart."""
    points = np.random.default_rng(0).normal(0, 25, (200, 2)).astype(np.float32)
    points[topology.EYE_RIGHT], points[topology.EYE_LEFT] = (-EYES / 2, 0), (EYES / 2, 0)
    return points


def filtered(sequence: np.ndarray, rate: float = 25) -> np.ndarray:
    smoother = Smoother()
    return np.stack([smoother([7], points[None], i / rate)[0] for i, points in enumerate(sequence)])


def eye_distance(points: np.ndarray) -> float:
    eyes = topology.eye_centres(points[..., :2])
    return float(np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1).mean())


def jitter(points: np.ndarray) -> float:
    """Standard deviation of the points over time, in per cent of the eyes' distance."""
    apart = points[..., :2] - points[..., :2].mean(0)
    return 100 * float(np.sqrt((apart**2).sum(2).mean(0)).mean()) / eye_distance(points)


def lag(raw: np.ndarray, late: np.ndarray) -> float:
    """Frames by which raw must be delayed to come nearest to late, in a window that leaves three frames before it."""
    delays = np.arange(0, 3.01, 0.1)
    at = np.arange(3, len(raw) - 1)
    misses = []
    for delay in delays:
        first = np.floor(at - delay).astype(int)
        rest = (at - delay - first)[:, None, None]
        misses.append(np.abs(late[at] - raw[first] * (1 - rest) - raw[first + 1] * rest)[..., :2].mean())
    return float(delays[int(np.argmin(misses))])


def test_noise_is_taken_away(face: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 0.003 * EYES, (60, 200, 2))
    noisy = (face + noise).astype(np.float32)
    assert jitter(filtered(noisy)[10:]) < 0.45 * jitter(noisy[10:])


def test_a_fast_turn_is_followed_within_a_frame(face: np.ndarray) -> None:
    steps = 0.05 * EYES * np.clip(np.arange(30) - 10, 0, 10)
    moving = (face + steps[:, None, None] * np.array([1.0, 0.2])).astype(np.float32)
    assert lag(moving, filtered(moving)) <= 1


def test_an_eyelid_does_not_wait_for_the_head(face: np.ndarray) -> None:
    blink = np.repeat(face[None], 12, 0)
    blink[6:, topology.EYELIDS_RIGHT[0]] += 0.12 * EYES
    after = filtered(blink)
    assert np.abs(after[6, topology.EYELIDS_RIGHT[0]] - blink[6, topology.EYELIDS_RIGHT[0]]).max() < 0.02 * EYES
    np.testing.assert_allclose(after[6, topology.EYE_LEFT], blink[6, topology.EYE_LEFT], atol=0.01)


@given(scale=st.floats(0.5, 30), dx=st.floats(-2000, 2000), dy=st.floats(-2000, 2000))
def test_place_and_size_of_large_faces_do_not_matter(scale: float, dx: float, dy: float) -> None:
    points = np.random.default_rng(0).normal(0, 300, (8, 200, 2))
    points[1:] = points[0] + np.random.default_rng(1).normal(0, 2, (7, 200, 2))
    moved = points * scale + (dx, dy)
    expected = filtered(points) * scale + (dx, dy)
    assert np.abs(filtered(moved) - expected).max() < 0.6 * scale + 0.01


def test_twice_the_rate_takes_up_as_much_in_the_same_time(face: np.ndarray) -> None:
    offset = 0.004 * EYES
    still = np.repeat(face[None], 21, 0)
    still[1:] += offset
    slow, fast = filtered(still[:11], 10), filtered(still, 20)
    assert slow[10] == pytest.approx(fast[20], abs=0.02 * offset)
    assert np.abs(slow[3] - face).max() > 0.5 * offset


def test_tracks_are_apart_and_gaps_start_anew(face: np.ndarray) -> None:
    smoother = Smoother()
    both = np.stack([face, face + 100])
    smoother([1, 2], both, 0.0)
    nudged = both + 0.1
    swapped = smoother([2, 1], nudged[::-1], 0.04)
    assert np.abs(swapped[0] - both[1]).max() < 0.05
    assert np.abs(swapped[1] - both[0]).max() < 0.05
    late = smoother([1], nudged[:1], 1.0)
    np.testing.assert_array_equal(late, nudged[:1])
    smoother.keep([2])
    np.testing.assert_array_equal(smoother([1], both[:1], 1.04), both[:1])


def test_depth_is_filtered_along(face: np.ndarray) -> None:
    solid = np.concatenate([face, np.zeros((200, 1))], 1)[None].astype(np.float32)
    smoother = Smoother()
    smoother([1], solid, 0.0)
    deeper = solid.copy()
    deeper[:, :, 2] += 1
    assert 0 < smoother([1], deeper, 0.04)[0, 0, 2] < 1


def picture(at: np.ndarray) -> np.ndarray:
    """uint8 luma (200, 200): a texture, its corner moved to at (x, y), whole pixels."""
    rng = np.random.default_rng(3)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (300, 300)).astype(np.float32), (0, 0), 2)
    grey = (grey - grey.mean()) * 4 + 128
    x, y = (int(v) for v in at)
    return np.clip(grey[60 - y : 260 - y, 60 - x : 260 - x], 0, 255).astype(np.uint8)


def test_a_moving_face_is_as_calm_as_a_still_one_where_the_picture_is_given() -> None:
    rng = np.random.default_rng(2)
    mean = np.stack(np.meshgrid(np.linspace(50, 110, 20), np.linspace(50, 120, 10)), 2).reshape(-1, 2)
    path = np.stack([np.arange(40), np.arange(40) // 2], 1)
    noisy = (mean + path[:, None] + rng.normal(0, 0.4, (40, 200, 2))).astype(np.float32)
    blind, seeing = Smoother(), Smoother()
    without = np.stack([blind([1], points[None], i / 25)[0] for i, points in enumerate(noisy)])
    carried = np.stack([seeing([1], points[None], i / 25, picture(path[i]))[0] for i, points in enumerate(noisy)])
    assert jitter(carried[10:] - path[10:, None]) < 0.7 * jitter(without[10:] - path[10:, None])
    assert np.abs((carried - mean - path[:, None]).mean(1))[10:].max() < 0.25


@example(left=-10, top=-10, side=150)
@given(left=st.floats(-40, 160), top=st.floats(-40, 160), side=st.floats(10, 400))
def test_any_place_and_size_is_carried_or_left(left: float, top: float, side: float) -> None:
    points = np.random.default_rng(1).uniform(0, side, (200, 2)).astype(np.float32) + np.float32([left, top])
    for shown in (200, 129):  # the second one is cut down to the largest patch
        seeing, luma = Smoother(), picture(np.zeros(2))[:shown, :shown]
        for time in (0.0, 0.04, 0.08):
            found = seeing([1], points[None], time, luma)[0]
            assert np.abs(found - points).max() < 0.5 + 0.03 * side


def test_another_picture_carries_nothing(face: np.ndarray) -> None:
    points = (100 + 0.6 * face).astype(np.float32)
    for other in (
        np.zeros((200, 200), np.uint8),
        picture(np.zeros(2))[::-1, ::-1].copy(),
        np.zeros((90, 90), np.uint8),
    ):
        seeing, blind = Smoother(), Smoother()
        seeing([1], points[None], 0.0, picture(np.zeros(2)))
        blind([1], points[None], 0.0)
        np.testing.assert_array_equal(seeing([1], points[None] + 1, 0.04, other), blind([1], points[None] + 1, 0.04))


# With the net, on real pictures

BOXES = {
    "d0": (148, 137, 222, 299),
    "d3": (128, 95, 294, 404),
    "d6": (122, 104, 228, 325),
    "d9": (135, 84, 241, 316),
    "s13": (325, 49, 77, 107),
    "s18": (665, 101, 215, 292),
}
"""Where the face is in the first frame of each liveportrait clip: ../shared/labels."""


def planes_of(frame: av.VideoFrame) -> Planes:
    flat = frame.to_ndarray(format="yuv420p")
    chroma = flat[frame.height :].reshape(2, frame.height // 2, frame.width // 2)
    return Planes(flat[: frame.height], chroma[0], chroma[1])


def decoded(path: Path, start: int, count: int) -> list[av.VideoFrame]:
    with av.open(str(path)) as clip:
        return [frame for i, frame in zip(range(start + count), clip.decode(video=0), strict=False) if i >= start]


def tracked(frames: list[Planes], box: tuple[float, float, float, float]) -> np.ndarray:
    """The net's points and depth (frames, 200, 3), each crop taken from the frame before, as in the pipeline."""
    net, face = Landmarker(MODEL), Face(1, box, 1)
    solids = []
    for planes in frames:
        found = net(planes, [face])
        face.landmarks = found.points[0]
        solids.append(found.solid[0])
    return np.stack(solids)


@pytest.fixture(scope="module")
def recoded() -> Callable[[av.VideoFrame, float], list[Planes]]:
    def recode(frame: av.VideoFrame, scale: float) -> list[Planes]:
        """Two seconds of the same picture with a sensor's noise, after H.264 at CRF 28."""
        width, height = (int(side * scale) & ~1 for side in (frame.width, frame.height))
        still = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
        rng, buffer = np.random.default_rng(0), io.BytesIO()
        with av.open(buffer, "w", format="matroska") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"crf": "28", "preset": "superfast", "tune": "zerolatency", "g": "25", "threads": "1"}
            for _ in range(50):
                noisy = np.clip(still + rng.normal(0, 4, still.shape), 0, 255).astype(np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, "rgb24")))
            out.mux(stream.encode(None))
        buffer.seek(0)
        with av.open(buffer) as clip:
            return [planes_of(picture) for picture in clip.decode(video=0)]

    return recode


@pytest.mark.parametrize("clip", ["d0", "d3", "d6", "d9", "s18"])
@pytest.mark.parametrize("scale", [1.0, 0.35])
def test_still_face_under_reencoding_noise(
    shared: Path, recoded: Callable[[av.VideoFrame, float], list[Planes]], clip: str, scale: float
) -> None:
    first = decoded(shared / f"footage/video/liveportrait/{clip}.mp4", 0, 1)[0]
    box = BOXES[clip]
    solid = tracked(recoded(first, scale), tuple(side * scale for side in box))
    smooth = filtered(solid)
    assert jitter(smooth[10:]) <= 0.5, f"before the filter {jitter(solid[10:]):.2f} %"


@pytest.mark.parametrize("clip", ["d9", "d6", "s13"])
def test_fastest_head_turn_lags_at_most_a_frame(shared: Path, clip: str) -> None:
    frames = decoded(shared / f"footage/video/liveportrait/{clip}.mp4", 0, 1100)
    solid = tracked([planes_of(frame) for frame in frames], BOXES[clip])
    smooth = filtered(solid, 30)
    yaw = pose_of(solid)[:, 0]
    speed = np.abs(yaw[2:] - yaw[:-2]) / 2
    fastest = 1 + int(np.argmax(speed[6:-6])) + 6
    window = slice(fastest - 6, fastest + 6)
    assert speed.max() > 2, "the clip has a fast turn"
    assert lag(solid[window], smooth[window]) <= 1
