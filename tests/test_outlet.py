"""What leaves the encoders: times that rise at the pace of the pictures, whatever the clocks do."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.config import CameraSettings
from anonymizer.events.state import CameraCounters
from anonymizer.ingest.camera import SourceSettings
from anonymizer.link import AUDIO, MAIN, SUB
from anonymizer.outlet import Outlet
from anonymizer.publish.live import LiveSettings, SubSettings
from anonymizer.settings import Secret
from tests import stages


class Box:
    """Takes what would go to the service."""

    def __init__(self) -> None:
        self.units: list[tuple[int, AccessUnit]] = []

    def put_unit(self, unit: AccessUnit, channel: int) -> bool:
        self.units.append((channel, unit))
        return True

    def flush(self) -> None: ...

    def of(self, channel: int) -> list[AccessUnit]:
        return [unit for one, unit in self.units if one == channel]


@pytest.mark.parametrize("step", [-60.0, -0.5, 3600.0])
def test_a_clock_that_is_set_changes_no_pace(step: float) -> None:
    box, source = Box(), SourceSettings(url=Secret("x"))
    camera = CameraSettings(source=source, sub=SubSettings(width=64, rate=10), encoder=LiveSettings(preset="ultrafast"))
    outlet = Outlet(camera, box, CameraCounters())  # type: ignore[arg-type]
    for start in (1000.0, 1002.0 + step):
        for frame in stages.frames(50, start=start):
            outlet.sound(AccessUnit(Codec.PCMU, bytes(320), True, frame.time, frame.time))
            outlet.frame(frame)
        picture = av.VideoFrame.from_ndarray(np.zeros((288, 320), np.uint8), format="yuv420p")
        outlet.notice(picture, frame.time + 0.02)
    outlet.close()
    main, sub = box.of(MAIN), box.of(SUB)
    assert len(main) == 102 and 36 <= len(sub) <= 44
    for units in (main, sub):
        times = [unit.time for unit in units]
        assert all(a < b for a, b in itertools.pairwise(times))
    after = main[51:]
    assert after[-1].time - after[0].time == pytest.approx(1.98, abs=0.01)
    assert sum(unit.key for unit in after) >= 1 and after[0].wall == pytest.approx(1002.0 + step)
    sounds = [unit.time for unit in box.of(AUDIO)]
    assert len(sounds) == 100
    assert sounds[-40:] == [pytest.approx(unit.time) for unit in main[-41:-1]]  # the first ones may go with what waits


@pytest.mark.parametrize("aspect", [1.0, 2.0, 12 / 11])
def test_the_shape_of_pixels_is_passed_on(aspect: float) -> None:
    box = Box()
    camera = CameraSettings(source=SourceSettings(url=Secret("x")), sub=SubSettings(width=64))
    outlet = Outlet(camera, box, CameraCounters())  # type: ignore[arg-type]
    for frame in stages.frames(3):
        frame.aspect = aspect
        outlet.frame(frame)
    outlet.close()
    for channel in (MAIN, SUB):
        decoder = av.CodecContext.create("h264", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.decode(av.Packet(box.of(channel)[0].data))
        assert float(decoder.sample_aspect_ratio or 1) == pytest.approx(aspect)
