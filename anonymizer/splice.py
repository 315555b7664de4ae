"""An H.264 file that keeps the camera's own packets where nothing in a closed GOP has to be covered.

Frames come in as they leave the pipeline. Of a GOP in which nothing was found so far only the packets are kept; once
something is found, the pictures that went by are decoded again and encoded, and the rest of the GOP is encoded as it
comes. So no more than one GOP's packets are ever kept. A GOP is passed on when it is over and each of its pictures was
seen, left as it was, and has a time of its own.

Both kinds of GOP begin with an IDR picture and carry their own parameter sets; the encoder's have an id that the camera
does not use. Of the camera's packets only the slices are kept: no SEI, which may hold text, captions or thumbnails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from anonymizer.access_unit import split
from anonymizer.errors import SourceError
from anonymizer.frame import Frame
from anonymizer.gops import Coded, Gop, GopSource, ids
from anonymizer.ingest.file import VideoFormat
from anonymizer.publish.encoder import EncoderSettings, configure, prepare
from anonymizer.publish.file import FileSink

_START = b"\0\0\0\1"
_MOST_IDS = 31  # of an SPS


class Unlike(SourceError):
    """A GOP that had to be decoded a second time gave other pictures. Nothing was left of the output."""


@dataclass(slots=True)
class Kept:
    """What became of one GOP. first: index of its first frame. reason: why it was encoded anew, or "": passed on."""

    first: int
    frames: int
    reason: str

    @property
    def copied(self) -> bool:
        return not self.reason

    def plain(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"first": self.first, "frames": self.frames, "copied": self.copied}
        return entry if self.copied else {**entry, "reason": self.reason}


class Splice(FileSink):
    """Writes what comes from source into path; ``gops`` tells what became of each GOP."""

    def __init__(self, path: Path, source: GopSource, settings: EncoderSettings) -> None:
        assert not source.whole_file
        self._source = source
        self._settings = settings
        self._encoder: VideoCodecContext | None = None
        self._gop: Gop | None = None
        self._held: list[int] | None = None  # times of the GOP's pictures so far; None once it is encoded anew
        self._times: deque[int] = deque()  # of pictures in the order of showing, from that of the next packet's DTS on
        self._written = 0
        self.gops: list[Kept] = []
        super().__init__(path, source.video, settings, source.audio)

    def _add_video(self, video: VideoFormat, settings: EncoderSettings, reorder: int) -> VideoStream:
        self._video = video
        # As many pictures as the camera lets the order of coding differ by: then its packets' times fit.
        self._reorder = self._source.stream.codec_context.reorder_depth if reorder else 0
        self._step = max(1, round(1 / (video.rate * video.time_base)))
        used = ids(self._source.sets)
        self._id = next((number for number in range(_MOST_IDS, -1, -1) if number not in used), 0)
        own = self._open(Flags.global_header)
        own.open()
        stream: VideoStream = self._container.add_stream_from_template(self._source.stream)
        sets = [unit for unit in split(own.extradata or b"") if unit[0] & 31 in (7, 8)]
        stream.codec_context.extradata = _stream(*self._source.sets, *sets)
        stream.time_base = video.time_base
        return stream

    def _open(self, flags: int = 0) -> VideoCodecContext:
        encoder = av.CodecContext.create("libx264", "w")
        assert isinstance(encoder, VideoCodecContext)
        profile = self._source.profile
        reordered = "0" if profile == "baseline" else str(min(1, self._reorder))
        configure(
            encoder, self._video, self._settings, bf=reordered, b_strategy="0", profile=profile,
            **{"x264-params": f"sps-id={self._id}"},
        )  # fmt: skip
        encoder.flags |= flags
        return encoder

    def write(self, frame: Frame) -> None:
        assert frame.picture is not None
        gop = self._source.gop_of(frame.index)
        if gop is not self._gop:
            self._finish_gop()
            self._gop, self._held = gop, []
            self.gops.append(Kept(frame.index, 0, ""))
        told = self.gops[-1]
        told.frames += 1
        time = self._time(frame)
        self._times.append(time)
        reason = gop.doubt or frame.uncertain
        if not reason and (frame.faces or frame.picture.edited):
            reason = f"faces in frame {frame.index}" if frame.faces else f"covered in part in frame {frame.index}"
        if reason:
            told.reason = told.reason or reason
            self._encode_held()
        if self._held is not None:
            self._held.append(time)
        else:
            self._encode(frame.picture.finish(), time)

    def _encode(self, picture: av.VideoFrame, time: int) -> None:
        if self._encoder is None:
            self._encoder = self._open()
        self._put_all(self._encoder.encode(prepare(picture, time, self._time_base)))

    def _put_all(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self._put(bytes(packet), packet.pts, packet.is_keyframe)

    def _put(self, data: bytes, pts: int, key: bool) -> None:
        """Write a coded picture. Its decoding time is the time of the picture shown ``_reorder`` before it."""
        packet: Packet[Any] = Packet(data)
        early = self._reorder - self._written
        packet.pts = pts
        packet.dts = self._times[0] - early * self._step if early > 0 else self._times.popleft()
        packet.time_base, packet.duration, packet.is_keyframe = self._time_base, self._step, key
        packet.stream = self._stream
        self._written += 1
        self._mux([packet])

    def _encode_held(self) -> None:
        """The GOP is to be encoded anew: so are its pictures that went by, which show nothing to be covered."""
        held, gop = self._held, self._gop
        self._held = None
        if gop is None or held is None:
            return
        for picture, time in zip(self._again(gop, len(held)), held, strict=True):
            self._encode(picture, time)
        gop.packets = None

    def _again(self, gop: Gop, count: int) -> Iterator[av.VideoFrame]:
        """The first pictures of a GOP, decoded a second time. Unlike where they are not the same ones again."""
        decoder = av.CodecContext.create("h264", "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata = self._source.stream.codec_context.extradata
        decoder.reorder_depth = self._source.stream.codec_context.reorder_depth
        decoder.thread_count = 1
        done = 0
        for coded in [*(gop.packets or []), None] if count else []:
            packet: Packet[Any] | None = None
            if coded is not None:
                packet = Packet(coded.data)
                packet.pts = coded.pts
            try:
                pictures = decoder.decode(packet)
            except av.error.FFmpegError:
                pictures = []
            for picture in pictures:
                if picture.is_corrupt or picture.pts != gop.shown[done]:
                    raise Unlike(f"{self._source.path}: a part of it decodes differently a second time")
                yield picture
                done += 1
                if done == count:
                    return
        if count:
            raise Unlike(f"{self._source.path}: a part of it cannot be decoded a second time")

    def _finish_gop(self) -> None:
        """The GOP is over: pass it on, or encode it anew after all."""
        gop, held = self._gop, self._held
        if gop is None or held is None:
            return
        packets = gop.packets or []
        reason = gop.doubt or self._misfit(gop, packets, held)
        if reason:
            self.gops[-1].reason = reason
            self._encode_held()
            return
        self._end_run()
        shift = held[0] - min(coded.pts for coded in packets)
        for coded in packets:
            data = _stream(*gop.sets, *coded.slices) if coded.idr else _stream(*coded.slices)
            self._put(data, coded.pts + shift, coded.idr)
        gop.packets = None

    def _misfit(self, gop: Gop, packets: list[Coded], held: list[int]) -> str:
        """Why the packets are not the pictures seen, at their times, or ""."""
        times = [coded.pts for coded in packets]
        order = sorted(times)
        if gop.shown != order or [time - held[0] for time in held] != [time - order[0] for time in order]:
            return "its packets are not one for each picture, at the picture's time"
        if self._id in ids(gop.sets):
            return "its parameter sets have the encoder's id"
        if any(order[max(0, number - self._reorder)] > time for number, time in enumerate(times)):
            return "the order of its pictures is changed by more than the container or the stream allows"
        return ""

    def _end_run(self) -> None:
        if self._encoder is not None:
            self._put_all(self._encoder.encode(None))
            self._encoder = None

    def _drain(self) -> None:
        self._finish_gop()
        self._gop = None
        self._end_run()


def _stream(*units: bytes) -> bytes:
    """The NAL units as a byte stream (H.264 annex B)."""
    return b"".join(_START + unit for unit in units)
