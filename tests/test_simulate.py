"""Rules drawn into a redacted video: what was covered stays covered under the drawing."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from anonymizer import redact as redacting
from anonymizer import simulate as module
from anonymizer.config import Config
from anonymizer.errors import ConfigError
from anonymizer.faces.finder import Finder, FinderSettings
from anonymizer.frame import Face, Frame
from anonymizer.ingest.picture import Orientation, Picture
from anonymizer.pipeline import Pipeline
from anonymizer.policy import Policy, load
from anonymizer.synthesis import cover
from tests import stages, videos

RULES = load(
    """
zones: {left: {camera: gate, polygon: [[0.05, 0.05], [0.45, 0.05], [0.45, 0.95], [0.05, 0.95]]}}
masks: {sky: {polygon: [[0, 0], [1, 0], [1, 0.1], [0, 0.1]]}}
default: pixelate
schedules: {night: {windows: 22:00-06:00}}
rules:
  - {name: at night, when: {schedule: night}, then: silhouette}
  - {name: to the left, when: {zone: left}, then: solid}
""",
    "f",
)
BOX = (40.0, 100.0, 60.0, 60.0)


def textured(rotation: int) -> Frame:
    picture = Picture(av.VideoFrame(320, 320, "yuv420p"), Orientation(rotation, rotation == 90))
    planes = picture.edit()
    planes.y[:] = np.random.default_rng(3).integers(20, 230, planes.y.shape)
    planes.u[:], planes.v[:] = 128, 128
    picture.finish()
    face = Face(7, BOX, 0.9, action="solid", rule="to the left")
    return Frame(0, 0, 0.0, picture.planes(), [face], picture=picture)


@pytest.mark.parametrize("rotation", [0, 90, 180])
@pytest.mark.parametrize("painted", [True, False])
def test_drawing_keeps_what_was_painted(rotation: int, painted: bool) -> None:
    frame = textured(rotation)
    assert frame.picture is not None
    before = frame.planes.y.copy()
    if painted:
        frame.planes = frame.picture.edit()
        cover.solid(frame.planes, BOX)
    module.draw(frame, RULES, "gate")
    frame.picture.finish()
    after = frame.picture.planes().y
    inner = np.s_[106:154, 46:94]
    alike = float(
        np.corrcoef(before[inner].ravel(), after[inner].astype(float).ravel() + np.arange(48 * 48) * 1e-9)[0, 1]
    )
    assert (alike < 0.3) if painted else (alike > 0.9)
    assert (after[100, 45:95] != before[100, 45:95]).mean() > 0.9  # the box
    assert (after[60:90, 16] != before[60:90, 16]).mean() > 0.9  # the zone
    assert (after[200:230, 250:300] == before[200:230, 250:300]).all()


def test_zones_of_other_cameras_are_not_drawn() -> None:
    frame = textured(0)
    before = frame.planes.y.copy()
    module.draw(frame, RULES, "hall")
    assert (frame.planes.y[60:90, 16] == before[60:90, 16]).all()


@pytest.fixture
def _squares(monkeypatch: pytest.MonkeyPatch) -> None:
    def pipeline(config: Config, policy: Policy, *, camera: str, replace: bool, every: bool) -> Pipeline:
        assert camera == policy.camera and not replace and not every
        finder = Finder(stages.SquareDetector(), FinderSettings(0.2))
        return Pipeline(finder, None, policy, None, stages.NoCast())  # type: ignore[arg-type]

    monkeypatch.setattr(redacting, "pipeline", pipeline)


@pytest.mark.usefixtures("_squares")
@pytest.mark.parametrize(
    ("start", "rules"), [(None, {"default"}), (0.0, {"at night"}), (12 * 3600.0, {"to the left", "default"})]
)
def test_a_video_is_simulated(tmp_path: Path, start: float | None, rules: set[str]) -> None:
    source = videos.write(tmp_path / "in.mp4", count=30)
    counts = module.simulate(source, RULES, tmp_path / "out.mp4", Config(), camera="gate", start=start)
    assert {rule for rule, _ in counts} == rules and sum(counts.values()) == 30
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert sum(1 for _ in written.decode(video=0)) == 30


@pytest.mark.usefixtures("_squares")
def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = videos.write(tmp_path / "in.mp4", count=3)
    with pytest.raises(ConfigError, match="same file"):
        module.simulate(source, RULES, source, Config(), camera="gate")
