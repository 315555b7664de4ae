"""Anonymised pictures into a file, which appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from anonymizer.errors import ConfigError, PublishError
from anonymizer.frame import Frame
from anonymizer.ingest.file import VideoFormat
from anonymizer.ingest.picture import AS_CODED
from anonymizer.publish.encoder import EncoderSettings, configure, prepare

CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".ts": "mpegts", ".m2ts": "mpegts", ".avi": "avi",
    ".h264": "h264", ".264": "h264",
}  # fmt: skip
_NO_REORDERING = ("mpegts", "avi", "h264")  # where B-frames would move times or lose them


class FileSink:
    """Encodes frames into path; ``close`` gives the file its name, ``abort`` leaves nothing behind.

    The container is chosen by the suffix. ConfigError for one that is unknown; PublishError where writing fails.
    """

    def __init__(
        self, path: Path, video: VideoFormat, settings: EncoderSettings, audio: AudioStream | None = None
    ) -> None:
        self.path = path
        kind = container_of(path)
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._part.touch()  # libavformat opens its file with the first packet only: too late to complain
            self._container = av.open(f"file:{self._part}", "w", format=kind, options=_exact_times(kind, video))
        except (OSError, av.error.FFmpegError) as error:
            raise PublishError(f"{path}: cannot be written ({error.strerror})") from error
        try:
            self._stream = self._add_video(video, settings, 0 if kind in _NO_REORDERING else 1)
            if video.orientation != AS_CODED:
                rotation, mirrored = video.orientation
                self._stream.set_display_rotation(rotation, hflip=mirrored)
            self._audio = None if audio is None else self._copy_of(audio, kind)
        except BaseException:
            self.abort()
            raise
        self._time_base = video.time_base
        # MP4 hides what lies before zero: there everything moves up by as much as the first picture lies below it
        self._hides_negative = kind in ("mp4", "mov")
        self._shift: Fraction | None = None
        self.bytes_written = 0

    def _add_video(self, video: VideoFormat, settings: EncoderSettings, reorder: int) -> VideoStream:
        """The output's video stream. reorder: by how many pictures the container lets the order of coding differ."""
        stream = self._container.add_stream("libx264", rate=video.rate)
        # One B-frame: three, x264's default, keep 40 MB more of 1080p pictures to make the file 9 % smaller.
        configure(stream.codec_context, video, settings, bf=str(reorder), b_strategy="0")
        return stream

    def _copy_of(self, audio: AudioStream, kind: str) -> AudioStream:
        codec = audio.codec_context.name if audio.codec_context else "unknown"
        if codec not in self._container.supported_codecs:
            raise ConfigError(f"{self.path}: {kind} cannot hold {codec} audio; use .mkv or drop it")
        return self._container.add_stream_from_template(audio)

    def write(self, frame: Frame) -> None:
        """Encode a frame whose faces have been dealt with."""
        assert frame.picture is not None
        self._mux(self._stream.encode(prepare(frame.picture.finish(), self._time(frame), self._time_base)))

    def _time(self, frame: Frame) -> int:
        """When the frame is shown in the output, in ticks of the source."""
        assert frame.pts is not None
        if self._shift is None:
            start = frame.pts * self._time_base
            self._shift = -start if self._hides_negative and start < 0 else Fraction(0)
        return frame.pts + round(self._shift / self._time_base)

    def write_audio(self, packet: Packet[Stream]) -> None:
        """Pass on an undecoded audio packet of the stream given at the start."""
        assert self._audio is not None and packet.time_base is not None
        ticks = round((self._shift or 0) / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        packet.stream = self._audio
        self._mux([packet])

    def _mux(self, packets: list[Packet[Stream]]) -> None:
        with self._telling():
            for packet in packets:
                self.bytes_written += packet.size
                self._container.mux(packet)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            raise PublishError(f"{self.path}: writing failed ({error.strerror}); nothing was kept") from error

    def close(self) -> None:
        """Finish the file and put it in its place."""
        self.finish()
        self.place()

    def finish(self) -> None:
        """Write the file to its end; ``place`` gives it its name."""
        self._drain()
        with self._telling():
            self._container.close()

    def place(self) -> None:
        with self._telling():
            os.replace(self._part, self.path)

    def _drain(self) -> None:
        """Write the pictures that the encoder still keeps."""
        self._mux(self._stream.encode(None))

    def abort(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError, av.error.FFmpegError):  # what it could not write is being thrown away
            self._container.close()
        self._part.unlink(missing_ok=True)


def _exact_times(kind: str, video: VideoFormat) -> dict[str, str]:
    """MP4 rounds a late first picture to its movie clock, 1/1000 s unless told otherwise."""
    if kind not in ("mp4", "mov"):
        return {}
    ticks = video.time_base.denominator
    return {"movie_timescale": str(ticks if ticks <= 1_000_000 else 90_000)}


def container_of(path: Path) -> str:
    """The container format that the suffix asks for; ConfigError where it is none that can be written."""
    try:
        return CONTAINERS[path.suffix.lower()]
    except KeyError:
        known = " ".join(sorted(CONTAINERS))
        raise ConfigError(
            f"{path}: '{path.suffix}' is no kind of file that can be written; use one of {known}"
        ) from None
