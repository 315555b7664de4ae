"""What a picture is still good for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anonymizer.evaluate.labels import Done
from anonymizer.evaluate.scene import Clip, Reference, Scene
from anonymizer.evaluate.utility import Utility
from anonymizer.frame import Planes


def test_frames_that_are_covered_whole_are_told_of() -> None:
    """Three of four are grey; the rest of the picture is judged on the fourth."""
    luma = np.random.default_rng(0).integers(0, 255, (96, 128), dtype=np.uint8)
    half = np.full((48, 64), 128, np.uint8)
    plain, grey = Planes(luma, half, half), Planes(np.full_like(luma, 90), half, half)
    report = {i: Done([], whole=i > 0) for i in range(4)}
    clip = Clip("c", Path("a"), Path("b"), report)
    utility = Utility(None, "net")  # type: ignore[arg-type]
    for i, done in report.items():
        utility.see(Scene(clip, i, i / 25, True, plain, grey if done.whole else plain, plain, None))  # type: ignore[arg-type]
    said = {(f.name, f.of): f for f in utility.section(Reference()).figures}
    assert said["covered whole", "frames"].value == 75 and said["covered whole", "frames"].count == 4
    outside = said["outside the paint, PSNR", "all clips"]
    assert outside.count == 1 and "covered whole are left out" in outside.how
