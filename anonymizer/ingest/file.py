"""Video files as a source of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from anonymizer.errors import SourceError
from anonymizer.frame import Frame
from anonymizer.ingest.picture import Converter, Orientation, Picture, orientation_of
from anonymizer.ingest.timestamps import Timeline

_FORMATS = (
    "mov", "matroska", "mpegts", "mpeg", "mpegvideo", "m4v", "avi", "h264", "hevc", "vvc", "obu", "av1", "ivf", "mjpeg",
    "mpjpeg", "h263", "vc1", "asf", "flv", "ogg", "mxf", "dhav", "dv", "gxf", "nut", "wtv", "rm", "yuv4mpegpipe", "gif",
    "image2", "jpeg_pipe", "png_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe",
)  # fmt: skip
_ALONE = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS), "pattern_type": "none"}
"""FFmpeg's options under which a file is read alone: no play list, and no name with a pattern in it, makes it open
another."""
_ENDLESS = 1000  # read errors in a row after which a file counts as over


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What an output has to repeat so that a player shows the pictures as before. aspect: shown width over height of a
    coded pixel, None where the file does not say. Colour tags are H.273 numbers."""

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    aspect: Fraction | None
    orientation: Orientation
    full_range: bool
    colorspace: int
    primaries: int
    transfer: int


class FileSource:
    """The pictures of a file's main video stream, and its audio packets where asked for.

    Iterating gives Frame records in presentation order, each with its own time, and undecoded audio packets between
    them. Cover art is no video. What could not be read is told in ``problems`` afterwards, one sentence each.
    SourceError where nothing can be read at all.
    """

    def __init__(self, path: Path, *, audio: bool = False, threads: int = 1) -> None:
        self.path = path
        self.problems: list[str] = []
        self._container = _open(path)
        try:
            self._stream = self._choose()
            self.audio = next(iter(self._container.streams.audio), None) if audio else None
            context = self._stream.codec_context
            context.thread_type = "AUTO"
            context.thread_count = threads
            self._converter = Converter()
            self._packets = self._demux()
            self._waiting: list[av.VideoFrame | Packet[Stream]] = []
            self._heard: int | None = None  # when the last audio packet is to be decoded
            self._unheard = 0
            self.video = self._probe()
        except BaseException:
            self._container.close()
            raise

    @property
    def frames_expected(self) -> int | None:
        """The number of pictures that the file promises, for a progress bar."""
        if self._stream.frames:
            return self._stream.frames
        if self._container.duration and self.video.rate:
            return round(self._container.duration / 1_000_000 * float(self.video.rate))
        return None

    def _choose(self) -> VideoStream:
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not any(s.codec_context for s in streams):
            raise SourceError(f"{self.path}: there is no video in it that can be decoded; nothing was written")
        if len(streams) > 1:
            self.problems.append(f"it has {len(streams)} video tracks, and all but the largest are left out")
        return max((s for s in streams if s.codec_context), key=lambda s: s.width * s.height)

    def _probe(self) -> VideoFormat:
        """Decode up to the first picture: headers lie about sizes and colours."""
        first = None
        while first is None:
            item = next(self._packets, None)
            if item is None:
                raise SourceError(f"{self.path}: not one picture in it can be decoded; nothing was written")
            self._waiting.append(item)
            if isinstance(item, av.VideoFrame):
                first = item
        # Conversion drops the display matrix.
        orientation = orientation_of(first)
        s, converted = self._stream, self._converter.convert(first)
        self._waiting[-1] = converted
        rate = s.average_rate or s.guessed_rate or Fraction(25)
        return VideoFormat(
            converted.width, converted.height, s.time_base or Fraction(1, 90000), Fraction(rate),
            s.sample_aspect_ratio or None, orientation,
            converted.format.name == "yuvj420p" or int(first.color_range) == 2, int(first.colorspace),
            int(first.color_primaries), int(first.color_trc),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Frame | Packet[Stream]]:
        time_base = self.video.time_base
        aspect = self.video.orientation.aspect(self.video.aspect)
        timeline = Timeline(round(1 / (self.video.rate * time_base)), round(1 / time_base))
        index = 0
        last = 0
        for item in self._items():
            if isinstance(item, Packet):
                if self._rises(item, timeline.offset * time_base):
                    yield item
                continue
            decoded = self._converter.convert(item)
            decoded.pts = last = timeline.stamp(decoded.pts)
            decoded.time_base = time_base
            picture = Picture(decoded, self.video.orientation)
            yield Frame(index, last, float(last * time_base), picture.planes(), picture=picture, aspect=aspect)
            index += 1
        self._tell_what_is_missing(index, last)

    def _rises(self, packet: Packet[Stream], offset: Fraction) -> bool:
        """Move an audio packet by offset seconds, as the pictures are; False where it is no later than the last."""
        assert packet.time_base is not None and packet.dts is not None
        ticks = round(offset / packet.time_base)
        packet.dts += ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        if self._heard is not None and packet.dts <= self._heard:
            self._unheard += 1
            return False
        self._heard = packet.dts
        return True

    def _items(self) -> Iterator[av.VideoFrame | Packet[Stream]]:
        while self._waiting:
            yield self._waiting.pop(0)
        yield from self._packets

    def _demux(self) -> Iterator[av.VideoFrame | Packet[Stream]]:
        """Decoded pictures and audio packets in file order, reading on after whatever cannot be read."""
        self._undecodable = 0
        streams = [s for s in (self._stream, self.audio) if s is not None]
        packets = self._container.demux(*streams)
        failures = 0
        while failures < _ENDLESS:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, IndexError):  # PyAV's IndexError: the packet is of a track that begins later
                failures += 1
                self._undecodable += 1
                packets = self._container.demux(*streams)
                continue
            if packet is None:
                return
            failures = 0
            if packet.stream is self._stream:
                yield from self._decode(packet)
            elif packet.dts is not None:
                yield packet

    def _decode(self, packet: Packet[Stream]) -> list[av.VideoFrame]:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self._undecodable += 1
            return []
        return [frame for frame in frames if isinstance(frame, av.VideoFrame)]

    def _tell_what_is_missing(self, count: int, last: int) -> None:
        if self._undecodable:
            self.problems.append(f"{self._undecodable} packets could not be read and are left out")
        if self._unheard:
            self.problems.append(f"{self._unheard} audio packets go back in time and are left out")
        if self._converter.rescaled:
            self.problems.append(
                f"{self._converter.rescaled} pictures had another size and were scaled to the first one's"
            )
        promised, got = self._promised_end(), float(last * self.video.time_base) + 1 / float(self.video.rate)
        if promised is not None and promised - got > max(0.5, 5 / float(self.video.rate)):
            self.problems.append(f"the file promises {promised:.2f} s, its pictures end at {got:.2f} s: it seems cut")

    def _promised_end(self) -> float | None:
        """Where the header says that the pictures end, in seconds; None where it speaks of all streams together."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
        if self._container.duration is not None and len(self._container.streams) == 1:
            return (self._container.duration + (self._container.start_time or 0)) / 1_000_000
        return None

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path) -> InputContainer:
    if path.is_dir():
        raise SourceError(f"{path}: is a folder, not a video")
    try:
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: is empty; nothing was written")
        return av.open(f"file:{path}", options=dict(_ALONE), metadata_errors="replace")
    except OSError as error:  # FFmpegError is one too
        if isinstance(error, FileNotFoundError):
            raise SourceError(f"{path}: there is no such file") from error
        if isinstance(error, PermissionError):
            raise SourceError(f"{path}: may not be read: {error.strerror}") from error
        raise SourceError(f"{path}: cannot be read as a video ({error.strerror}); nothing was written") from error
    except av.error.FFmpegError as error:
        raise SourceError(f"{path}: cannot be read as a video ({error.strerror}); nothing was written") from error
