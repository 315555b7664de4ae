"""What a camera sends, told from a few seconds of it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import av
from av.codec.context import ThreadType

from anonymizer.frame import Planes
from anonymizer.ingest.camera import CameraLost, Loss, SourceSettings
from anonymizer.ingest.picture import Converter, planes_of


@dataclass(slots=True)
class Probe:
    """codec: as FFmpeg names it. rate: pictures a second by their times. key_distance: seconds between key frames, 0
    where only one came. reordered: whether B-frames came. bitrate: kbit/s. clock: whether the camera tells its time.
    decode_ms: CPU time of a picture. pictures: the last ones, copied, for further measuring."""

    codec: str = ""
    profile: str = ""
    width: int = 0
    height: int = 0
    rate: float = 0.0
    key_distance: float = 0.0
    reordered: bool = False
    bitrate: float = 0.0
    audio: str = ""
    clock: bool = False
    decode_ms: float = 0.0
    pictures: list[Planes] = field(default_factory=list)

    def advice(self) -> list[str]:
        """What to change in the camera's settings, a sentence each."""
        say = []
        if self.reordered:
            say.append("Switch B-frames off: they delay every picture, and some players cannot take them.")
        if self.codec == "hevc":
            say.append(
                "Choose H.264 instead of H.265: decoding costs less. With H.265, switch smart codecs (H.265+) off."
            )
        if self.key_distance == 0:
            say.append("Set the key frame interval to 1 or 2 s: no second key frame came while looking.")
        elif self.key_distance > 4:
            say.append(
                f"Set the key frame interval to 1 or 2 s, not {self.key_distance:.0f}: after a loss it is waited for."
            )
        if self.rate > 26:
            say.append(f"15 to 25 pictures a second are enough for a recorder; it sends {self.rate:.0f}.")
        if not self.clock:
            say.append("Let it send RTCP sender reports and take its time by NTP: it does not tell its clock.")
        if self.audio:
            say.append(f"It sends sound ({self.audio}), which is dropped unless audio: pass is set.")
        return say


def probe(source: SourceSettings, seconds: float = 6.0) -> Probe:
    """Look at a camera for some seconds. Raises CameraLost where nothing comes."""
    where, result = source.shown(), Probe()
    rtsp = where.startswith("rtsp")
    options: dict[str, str] = {"rtsp_transport": source.transport} if rtsp else {}
    kind = "v4l2" if where.startswith("/dev/") else None
    try:
        container = av.open(source.address(), format=kind, options=options, timeout=(source.open_timeout, 5.0))
    except av.error.HTTPUnauthorizedError as error:
        raise CameraLost(where, Loss.REFUSED) from error
    except (OSError, av.error.FFmpegError) as error:
        raise CameraLost(where, Loss.UNREACHABLE, error.strerror or "") from error
    with container:
        if not container.streams.video:
            raise CameraLost(where, Loss.BROKEN, "there is no video in it")
        video = container.streams.video[0]
        video.thread_type, video.codec_context.thread_count = ThreadType.SLICE, 1
        if container.streams.audio:
            result.audio = container.streams.audio[0].codec_context.name
        times, keys, size, decoding, last_dts = [], [], 0, 0.0, None
        converter, end = Converter(keep_size=False), time.monotonic() + seconds
        try:
            for packet in container.demux(video):
                if time.monotonic() > end or packet.size == 0:
                    break
                size += packet.size
                result.clock = result.clock or packet.has_sidedata("prft")
                if packet.pts is not None and packet.dts is not None and last_dts is not None:
                    result.reordered = result.reordered or packet.pts != packet.dts
                last_dts = packet.dts
                if packet.is_keyframe and packet.pts is not None:
                    keys.append(float(packet.pts * packet.time_base))
                start = time.process_time()
                frames = packet.decode()
                decoding += time.process_time() - start
                for frame in frames:
                    assert isinstance(frame, av.VideoFrame)
                    if frame.time is not None:
                        times.append(frame.time)
                    if len(result.pictures) < 20:
                        result.pictures.append(planes_of(converter.convert(frame)).copy())
        except (OSError, av.error.FFmpegError) as error:
            if not times:
                raise CameraLost(where, Loss.BROKEN, error.strerror or "") from error
        if not times:
            raise CameraLost(where, Loss.BROKEN, "no picture can be decoded")
        context = video.codec_context
        result.codec, result.profile = context.name, context.profile or ""
        result.width, result.height = context.width, context.height
        span = max(times) - min(times)
        result.rate = (len(times) - 1) / span if span > 0 else float(video.average_rate or 0)
        result.bitrate = size * 8 / 1000 / span if span > 0 else 0.0
        result.key_distance = max((b - a for a, b in itertools.pairwise(keys)), default=0.0)
        result.decode_ms = 1000 * decoding / len(times)
    return result
