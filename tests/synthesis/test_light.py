"""Light and skin tone are found again, and hair or a hand in the way changes them little."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.synthesis.light import DARK, measure, samples
from anonymizer.synthesis.rig import Rig
from tests.synthesis.heads import bank, noise


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig(bank().model)


def lit(rig: Rig, slope: float, chroma: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture luma, samples of it under a light that changes from left to right, and the logarithm of that light."""
    texture = np.random.default_rng(0).uniform(90, 150, len(rig.node_uv)).astype(np.float32)
    gain = (0.2 + slope * np.cos(np.pi * rig.node_uv[:, 0])).astype(np.float32)
    luma = 16 + (texture + DARK) * np.exp(gain) - DARK
    seen = np.stack([luma, *(np.full(len(luma), 128 + c) for c in chroma)], 1)
    return texture, seen.astype(np.float32), gain


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.3])
def test_a_light_is_found_again(rig: Rig, slope: float) -> None:
    texture, seen, gain = lit(rig, slope, (-9, 14))
    light = measure(rig, seen[None], texture[None], [16.0])
    assert np.abs(rig.node_basis @ light.gain[0] - gain).max() < 0.05
    assert light.chroma[0, 0] == pytest.approx((-9, 14), abs=0.3)


def test_a_hand_or_hair_over_a_fifth_of_the_face_changes_little(rig: Rig) -> None:
    texture, seen, gain = lit(rig, 0.1, (-9, 14))
    hidden = rig.node_uv[:, 1] < np.quantile(rig.node_uv[:, 1], 0.2)
    seen[hidden] = (30, 128, 128)
    light = measure(rig, seen[None], texture[None], [16.0])
    rest = ~hidden & (rig.node_uv[:, 1] > np.quantile(rig.node_uv[:, 1], 0.45))
    assert np.abs(rig.node_basis @ light.gain[0] - gain)[rest].max() < 0.15
    assert light.chroma[0, 0] == pytest.approx((-9, 14), abs=2.5)


def test_black_and_white_faces_give_finite_light(rig: Rig) -> None:
    texture, seen, _ = lit(rig, 0.0, (0, 0))
    for level in (0, 16, 255):
        seen[:, 0] = level
        assert np.isfinite(measure(rig, seen[None], texture[None], [16.0]).gain).all()


def test_samples_are_means_around_their_places() -> None:
    planes = noise(140, 140)
    planes.y[:] = np.arange(140, dtype=np.uint8)[None]
    planes.u[:], planes.v[:] = 90, 160
    found = samples(planes, np.array([[35.0, 70.0], [105.0, 20.0]], np.float32), 140)
    assert found[:, 0] == pytest.approx((34.5, 104.5), abs=1.5)
    assert found[0, 1:] == pytest.approx((90, 160), abs=0.5)
