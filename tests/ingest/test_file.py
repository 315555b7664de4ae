from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from anonymizer.errors import SourceError
from anonymizer.frame import Frame
from anonymizer.ingest.file import FileSource
from anonymizer.ingest.picture import planes_of
from tests import videos


def read(path: Path) -> tuple[list[Frame], list[str]]:
    with FileSource(path) as source:
        return [item for item in source if isinstance(item, Frame)], source.problems


def test_every_picture_comes_at_its_own_time(tmp_path: Path) -> None:
    times = [0, 40, 41, 120, 500, 507, 2000]
    frames, problems = read(videos.write(tmp_path / "v.mkv", times=times))
    assert [round(frame.time * 1000) for frame in frames] == times
    assert [frame.index for frame in frames] == list(range(7))
    assert not problems


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv", "v.ts", "v.avi", "v.h264"])
def test_containers_are_read(tmp_path: Path, name: str) -> None:
    options = {} if name in ("v.mp4", "v.mov", "v.mkv") else {"bf": "0"}
    frames, problems = read(videos.write(tmp_path / name, options=options))
    assert len(frames) == 25
    assert not problems


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("libx265", "yuv420p"), ("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p"), ("libx264", "yuv422p"), ("libx264", "gray")],
)
def test_codecs_and_formats_become_planes(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    frames, _ = read(videos.write(tmp_path / "v.mkv", codec=codec, pix_fmt=pix_fmt, options=options))
    planes = frames[0].planes
    assert planes.y.shape == (144, 192)
    assert planes.u.shape == planes.v.shape == (72, 96)
    assert planes.y.max() > 180


def test_rotated_pictures_are_seen_upright_and_written_back_as_coded(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "v.mp4", rotation=90, count=3)
    with FileSource(path) as source:
        assert source.video.orientation.rotation in (90, 270)
        frame = next(item for item in source if isinstance(item, Frame))
        assert (frame.planes.width, frame.planes.height) == (144, 192)
        assert frame.picture is not None
        planes = frame.picture.edit()
        planes.y[:48] = 255
        coded = frame.picture.finish()
        luma = coded.to_ndarray(format="gray")
        edge = luma[:, :48] if source.video.orientation.rotation == 270 else luma[:, -48:]
        assert coded.width == 192
        assert edge.min() > 250


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_orientation_is_seen_as_it_is_shown(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    """FFmpeg's own matrix for what is asked of it: turned counter-clockwise, then mirrored."""
    path = videos.write(tmp_path / "v.mp4", rotation=rotation, mirrored=mirrored, count=2)
    coded = next(videos.pictures(1)).to_ndarray(format="yuv420p")[:144]
    shown = np.rot90(coded, rotation // 90)
    shown = shown[:, ::-1] if mirrored else shown
    with FileSource(path) as source:
        assert source.video.orientation == (rotation, mirrored)
        frame = next(item for item in source if isinstance(item, Frame))
    assert frame.planes.y.shape == shown.shape
    assert np.abs(frame.planes.y.astype(int) - shown).mean() < 3


@pytest.mark.parametrize(("rotation", "shown"), [(0, 2.0), (90, 0.5), (180, 2.0)])
def test_the_shape_of_pixels_is_told_as_they_are_shown(tmp_path: Path, rotation: int, shown: float) -> None:
    path = videos.write(tmp_path / "v.mp4", rotation=rotation, aspect=Fraction(2), count=2)
    with FileSource(path) as source:
        assert [item.aspect for item in source if isinstance(item, Frame)] == [shown, shown]


def test_editing_does_not_harm_the_decoders_references(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "v.mp4", count=20)
    with av.open(str(path)) as plain:
        expected = [frame.to_ndarray(format="gray") for frame in plain.decode(video=0)]
    with FileSource(path) as source:
        for item, reference in zip(source, expected, strict=True):
            assert isinstance(item, Frame) and item.picture is not None
            assert np.abs(item.planes.y.astype(int) - luma_of(reference)).max() <= 2
            item.picture.edit().y[:] = 0


def luma_of(gray: np.ndarray) -> np.ndarray:
    """Full-range grey back to studio-range luma."""
    return np.rint(gray.astype(float) * 219 / 255 + 16).astype(int)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "yuv420p"), ("mjpeg", "yuvj420p"), ("ffv1", "yuv444p")])
def test_odd_sizes_become_even_and_pictures_stay_as_they_are(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    path = videos.write(tmp_path / "v.mkv", codec=codec, pix_fmt=pix_fmt, size=(191, 143), count=3)
    with av.open(str(path)) as plain:
        expected = [planes_of(frame).y.copy() for frame in plain.decode(video=0)]
    with FileSource(path) as source:
        for item, luma in zip(source, expected, strict=True):
            assert isinstance(item, Frame) and item.planes.y.shape == (144, 192)
            assert item.planes.u.shape == item.planes.v.shape == (72, 96)
            assert (item.planes.y == np.pad(luma, ((0, 1), (0, 1)), "edge")).all()
    assert not source.problems


def test_pictures_of_another_size_are_scaled_and_told(tmp_path: Path) -> None:
    parts = [videos.write(tmp_path / f"{n}.h264", size=size, count=5) for n, size in enumerate([(190, 142), (96, 72)])]
    (tmp_path / "v.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, problems = read(tmp_path / "v.h264")
    assert {frame.planes.y.shape for frame in frames} == {(142, 190)}
    assert problems == ["5 pictures had another size and were scaled to the first one's"]


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
def test_a_cut_file_is_read_as_far_as_it_goes_and_told(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name == "v.mp4" else {}
    path = videos.write(tmp_path / name, count=250, **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, problems = read(path)
    assert 50 < len(frames) < 250
    assert any("cut" in problem for problem in problems)


def test_tracks_that_are_left_out_are_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mkv"), "w") as output:
        tracks = [output.add_stream("mpeg4", rate=25) for _ in range(2)]
        for track, size in zip(tracks, ((96, 72), (192, 144)), strict=True):
            track.width, track.height, track.pix_fmt = *size, "yuv420p"
        for track in tracks:
            for frame in videos.pictures(4, track.width, track.height):
                output.mux(track.encode(frame))
            output.mux(track.encode(None))
    frames, problems = read(tmp_path / "v.mkv")
    assert [frame.planes.y.shape for frame in frames] == [(144, 192)] * 4
    assert problems == ["it has 2 video tracks, and all but the largest are left out"]


@pytest.mark.parametrize("audio", [False, True])
def test_a_track_that_begins_in_the_middle_ends_nothing(tmp_path: Path, audio: bool) -> None:
    """The container is opened by its first megabytes and its end."""
    full = {"x264-params": "nal-hrd=cbr:vbv-maxrate=10000:vbv-bufsize=1000:bitrate=10000"}
    silent = videos.write(tmp_path / "silent.ts", count=150, options=full).read_bytes()
    middle = videos.write(tmp_path / "sound.ts", count=25, audio=True).read_bytes()
    path = tmp_path / "v.ts"
    path.write_bytes(silent + middle + silent)
    with FileSource(path, audio=audio) as source:
        assert sum(isinstance(item, Frame) for item in source) == 325
        # Whether the first packets of the new track are lost hangs on what the encoder made of silence.
        assert all(problem.endswith("packets could not be read and are left out") for problem in source.problems)


def test_an_unknown_codec_is_told(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "v.mp4", count=3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"what"))
    with pytest.raises(SourceError, match="no video in it that can be decoded"):
        FileSource(path)


def test_cover_art_is_no_video(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(SourceError, match="no video"):
        FileSource(shared / "footage" / "codecs" / "Owner-iTunes_9.0.3.15.mp4")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "empty"), (b"hello" * 999, "cannot be read"), ("dir", "folder")],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | str | None, words: str) -> None:
    path = tmp_path / "thing.mp4"
    if content == "dir":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        FileSource(path)
    assert "thing.mp4" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_play_list_opens_nothing_else(tmp_path: Path, text: str) -> None:
    for other in ("other.mp4", "other.ts"):
        videos.write(tmp_path / other, count=3)
    for name in ("list.mp4", "list.m3u8"):
        (tmp_path / name).write_text(text)
        with pytest.raises(SourceError):
            read(tmp_path / name)


def test_a_pattern_in_a_name_opens_nothing_else(tmp_path: Path) -> None:
    for name, size in (("a%d.jpg", (64, 48)), ("a1.jpg", (96, 72))):
        cv2.imwrite(str(tmp_path / name), np.full((size[1], size[0], 3), 90, np.uint8))
    frames, _ = read(tmp_path / "a%d.jpg")
    assert [frame.planes.y.shape for frame in frames] == [(48, 64)]


def test_titles_in_any_encoding_are_no_hindrance(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "v.avi", codec="mpeg4", count=3, metadata={"title": "gate"})
    path.write_bytes(path.read_bytes().replace(b"gate", b"t\xfcr!"))
    assert len(read(path)[0]) == 3


def test_odd_streams_are_read_or_refused(shared: Path) -> None:
    expected = {
        "C0023S01.mp4": 95,
        "brokensps.mp4": 79,
        "h264_4bf_pyramid_nobsrestriction.mp4": 25,
        "h265_bframes.mp4": 30,
        "interlaced_crop.mp4": 126,
        "mp4-init-nonkeyframe.mp4": 27,
        "packed_bframes.avi": 15,
        "sample_edit_list_only_preroll_sync_sample.mp4": 16,
        "sample_fragmented_seekable.mp4": 30,
        "sample_h265.ts": 30,
        "sample_no_bframes.mp4": 30,
        "sample_with_increasing_timestamps_320w_240h_5s.mp4": 300,
        "test_iibbibb_neg_ctts.mp4": 13,
        "two_first_slice.mp4": 34,
    }
    for path in sorted((shared / "footage" / "codecs").iterdir()):
        if path.name in expected:
            frames, _ = read(path)
            assert len(frames) == expected[path.name], path.name
            assert all(a.time < b.time for a, b in itertools.pairwise(frames)), path.name
        else:
            with pytest.raises(SourceError, match=path.name):
                FileSource(path)


def test_frame_rates_of_the_header_survive(tmp_path: Path) -> None:
    with FileSource(videos.write(tmp_path / "v.mp4", base=Fraction(1, 12800))) as source:
        assert source.video.rate == 25
        assert source.frames_expected == 25
