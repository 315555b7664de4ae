from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from anonymizer.errors import ConfigError, PublishError
from anonymizer.frame import Frame
from anonymizer.ingest.file import FileSource
from anonymizer.ingest.picture import orientation_of
from anonymizer.publish.encoder import EncoderSettings
from anonymizer.publish.file import FileSink
from tests import videos


def copy(source: Path, target: Path, audio: bool = False) -> list[str]:
    with FileSource(source, audio=audio) as reader:
        sink = FileSink(target, reader.video, EncoderSettings(), reader.audio)
        try:
            for item in reader:
                if isinstance(item, Frame):
                    sink.write(item)
                else:
                    sink.write_audio(item)
        except BaseException:
            sink.abort()
            raise
        sink.close()
        return reader.problems


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("start", [0, 507])
def test_times_are_kept(tmp_path: Path, suffix: str, start: int) -> None:
    times = [start + t for t in (0, 40, 79, 121, 600, 640)]
    target = tmp_path / f"out{suffix}"
    copy(videos.write(tmp_path / "in.mkv", times=times), target)
    written = videos.times_of(target)
    assert [None if t is None else round(t * 1000) for t in written] == times


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_no_picture_before_zero_is_lost(tmp_path: Path, suffix: str) -> None:
    """MP4 would hide it: everything moves up, and the distances stay."""
    source, target = videos.write(tmp_path / "in.mp4", count=10), tmp_path / f"out{suffix}"
    with FileSource(source) as reader:
        sink = FileSink(target, reader.video, EncoderSettings())
        for item in reader:
            assert isinstance(item, Frame) and item.pts is not None
            item.pts -= round(Fraction(1, 5) / reader.video.time_base)
            sink.write(item)
        sink.close()
    written = videos.times_of(target)
    assert len(written) == 10
    steps = np.diff(np.array(written, float))
    assert np.abs(steps - 0.04).max() < 2e-3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_goes_with_the_pictures_where_times_jump_back(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.ts", tmp_path / f"out{suffix}"
    source.write_bytes(videos.write(tmp_path / "once.ts", count=75, audio=True).read_bytes() * 2)
    assert copy(source, target, audio=True) == ["1 audio packets go back in time and are left out"]
    with av.open(str(target)) as reader:
        packets = [packet for packet in reader.demux(reader.streams.audio[0]) if packet.dts is not None]
        heard = [float(packet.pts * packet.time_base) for packet in packets]
    seen = videos.times_of(target)
    assert len(seen) == 150 and seen[-1] - seen[0] == pytest.approx(149 / 25, abs=0.05)
    assert heard[-1] - heard[0] == pytest.approx(6, abs=0.3) and heard[-1] == pytest.approx(seen[-1], abs=0.3)
    steps = np.diff(heard)
    assert steps.min() > 0 and steps.max() < 0.2


@pytest.mark.parametrize("suffix", [".avi", ".h264"])
def test_containers_without_times_lose_no_picture(tmp_path: Path, suffix: str) -> None:
    copy(videos.write(tmp_path / "in.mp4"), tmp_path / f"out{suffix}")
    assert len(videos.times_of(tmp_path / f"out{suffix}")) == 25


@pytest.mark.parametrize("mirrored", [False, True])
def test_orientation_aspect_and_colour_are_kept(tmp_path: Path, mirrored: bool) -> None:
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        context.sample_aspect_ratio = Fraction(4, 3)
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        stream.set_display_rotation(90, hflip=mirrored)
        for frame in videos.pictures(5):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    copy(source, target)
    seen = []
    for path in (source, target):
        with av.open(str(path)) as reader:
            video = reader.streams.video[0]
            first = next(reader.decode(video))
            tags = first.colorspace, first.color_primaries, first.color_trc, first.color_range
            seen.append((orientation_of(first), video.sample_aspect_ratio, tags, first.width, first.height))
    assert seen[0] == seen[1]
    assert seen[0][:2] == ((90, mirrored), Fraction(4, 3))


def test_audio_is_dropped_unless_asked_for(tmp_path: Path) -> None:
    source = videos.write(tmp_path / "in.mp4", audio=True)
    for asked in (False, True):
        copy(source, tmp_path / "out.mp4", asked)
        with av.open(str(tmp_path / "out.mp4")) as reader:
            assert len(reader.streams.audio) == asked
            assert len(reader.streams) == 1 + asked


def test_titles_and_places_are_not_copied(tmp_path: Path) -> None:
    told = {"title": "Mrs Miller at the gate", "location": "+52.5200+013.4050/", "comment": "call 555-1234"}
    copy(videos.write(tmp_path / "in.mp4", metadata=told), tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert not any(text.encode() in data for text in told.values())


def test_sei_messages_are_not_copied(tmp_path: Path) -> None:
    """x264 puts its version into user data; the text of the source's must not come through."""
    source, target = tmp_path / "in.h264", tmp_path / "out.h264"
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt, context.time_base = 192, 144, "yuv420p", Fraction(1, 25)
    message = bytes(16) + b"the person at the gate is Mrs Miller"
    sei = b"\0\0\1\6\5" + bytes([len(message)]) + message + b"\x80"
    with source.open("wb") as file:
        for index, frame in enumerate(videos.pictures(5)):
            frame.pts = index
            for packet in context.encode(frame):
                file.write(sei + bytes(packet))
        for packet in context.encode(None):
            file.write(sei + bytes(packet))
    copy(source, target)
    assert b"Mrs Miller" in source.read_bytes()
    assert b"Mrs Miller" not in target.read_bytes()


def test_unknown_suffixes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with FileSource(videos.write(tmp_path / "in.mp4")) as reader:
        with pytest.raises(ConfigError, match=r"out\.gif.*\.mp4"):
            FileSink(tmp_path / "out.gif", reader.video, EncoderSettings())
        with pytest.raises(PublishError, match="nowhere"):
            FileSink(tmp_path / "nowhere" / "out.mp4", reader.video, EncoderSettings())


def test_an_aborted_file_leaves_nothing(tmp_path: Path) -> None:
    source, target = videos.write(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"older")
    with FileSource(source) as reader:
        sink = FileSink(target, reader.video, EncoderSettings())
        sink.write(next(item for item in reader if isinstance(item, Frame)))
        sink.abort()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert target.read_bytes() == b"older"
