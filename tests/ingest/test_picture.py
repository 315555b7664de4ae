"""How a player shows a picture, where the container and where the stream itself says so."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from anonymizer.ingest.picture import AS_CODED, orientation_of, planes_of, upright
from tests import videos


def tagged(path: Path, how: str) -> av.VideoFrame:
    """The first picture of a stream whose own headers (an SEI message) say how it is shown."""
    with av.open(str(videos.write(path, count=3))) as source:
        video = source.streams.video[0]
        context = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{how}", video)
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = video.codec_context.extradata
        assert isinstance(decoder, av.VideoCodecContext)
        packets = [tagged for packet in source.demux(video) for tagged in context.filter(packet)]
        return next(frame for packet in packets for frame in decoder.decode(packet))


@pytest.mark.parametrize(
    ("how", "show"),
    [
        ("rotate=180", lambda plane: plane[::-1, ::-1]),
        ("rotate=90", np.rot90),
        ("flip=horizontal", lambda plane: plane[:, ::-1]),
        ("flip=vertical", lambda plane: plane[::-1]),
    ],
)
def test_what_the_stream_says_is_done(tmp_path: Path, how: str, show: object) -> None:
    frame = tagged(tmp_path / "v.mp4", how)
    assert callable(show)
    shown, coded = planes_of(upright(frame, orientation_of(frame))), planes_of(frame)
    for plane, expected in zip((shown.y, shown.u, shown.v), (coded.y, coded.u, coded.v), strict=True):
        np.testing.assert_array_equal(plane, show(expected))


def test_what_needs_no_turning_is_not_copied() -> None:
    frame = av.VideoFrame(64, 48, "yuv420p")
    assert upright(frame, AS_CODED) is frame
