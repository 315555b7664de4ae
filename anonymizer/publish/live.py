"""The encoder of a live stream: pictures in, access units out, at once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

from anonymizer.access_unit import AccessUnit, Codec
from anonymizer.errors import PublishError
from anonymizer.frame import Planes
from anonymizer.ingest.picture import planes_of
from anonymizer.publish.encoder import Preset
from anonymizer.settings import setting

_CLOCK = 90_000  # RTP's, ticks a second


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """How a live stream is encoded to H.264: without B-frames, parameter sets before each key frame."""

    preset: Preset = setting("x264 preset", default="superfast", description="Slower presets need less bandwidth")
    crf: int = setting(
        "Constant rate factor", default=23, minimum=0, maximum=51, description="Quality, without bitrate"
    )
    bitrate: int = setting(
        "Bitrate", default=0, minimum=0, maximum=100_000, unit="kbit/s", description="0 encodes by quality instead"
    )
    keyframe_interval: float = setting(
        "Key frame interval", default=2.0, minimum=0.2, maximum=20, unit="seconds", description="Recorders cut here"
    )
    threads: int = setting(
        "Threads", default=1, minimum=0, maximum=64, description="Of the encoder; 0 leaves it to x264"
    )


@dataclass(frozen=True, kw_only=True)
class SubSettings:
    """A second, smaller stream, as recorders detect on: /CAMERA/sub."""

    width: int = setting("Width", default=640, minimum=64, maximum=3840, unit="pixels")
    rate: float = setting("Rate", default=10.0, minimum=0.5, maximum=60, unit="pictures a second")
    encoder: LiveSettings = setting("Encoder", default=LiveSettings(crf=26))


class LiveEncoder:
    """Encodes pictures of one size; times may come at any pace but must rise. ``close`` frees it.

    aspect: shown width of a pixel over its shown height. PublishError where the encoder cannot be opened.
    """

    def __init__(
        self, width: int, height: int, full_range: bool, rate: float, settings: LiveSettings, aspect: float = 1.0
    ) -> None:
        self.shape = width, height, full_range, aspect
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = width, height
        context.sample_aspect_ratio = Fraction(aspect).limit_denominator(4096)
        context.pix_fmt = "yuvj420p" if full_range else "yuv420p"
        context.time_base = Fraction(1, _CLOCK)
        context.framerate = Fraction(rate).limit_denominator(1001)
        context.gop_size = 1000  # see encode
        context.max_b_frames = 0
        context.thread_count = settings.threads
        if settings.bitrate:
            context.bit_rate = settings.bitrate * 1000
        options = {
            "preset": settings.preset,
            "tune": "zerolatency",
            "forced-idr": "1",
            "a53cc": "0",
            "x264-params": f"scenecut=0:keyint={context.gop_size}",
        }
        if settings.bitrate:  # without a buffer the rate is an average over minutes, and peaks break thin links
            options |= {"maxrate": str(settings.bitrate * 1000), "bufsize": str(settings.bitrate * 1000)}
        else:
            options["crf"] = str(settings.crf)
        context.options = options
        try:
            context.open()
        except av.error.FFmpegError as error:
            raise PublishError(f"libx264 refuses {width}×{height} ({error.strerror})") from error
        self._context = context
        self._key = True
        self._interval = settings.keyframe_interval
        self._last_key = float("-inf")
        self._walls: dict[int, tuple[float, float]] = {}

    def request_key(self) -> None:
        """The next picture becomes a key frame."""
        self._key = True

    def encode(self, frame: av.VideoFrame, time: float, wall: float) -> list[AccessUnit]:
        """One picture; what comes out of the encoder, which is that picture. time, wall: as in AccessUnit."""
        frame.pts, frame.time_base = round(time * _CLOCK), Fraction(1, _CLOCK)
        kind = av.video.frame.PictureType
        # By the clock, not by counting pictures: a camera's rate is what it claims only on good days.
        if self._key or time - self._last_key >= self._interval - 1e-3:
            frame.pict_type, self._key, self._last_key = kind.I, False, time
        else:
            frame.pict_type = kind.NONE
        self._walls[frame.pts] = time, wall
        units = []
        for packet in self._context.encode(frame):
            seconds, utc = self._walls.pop(packet.pts or 0, (time, wall))
            units.append(AccessUnit(Codec.H264, bytes(packet), packet.is_keyframe, seconds, utc))
        return units


class SubStream:
    """Makes the smaller stream's pictures: scaled, and only as many as its rate asks for."""

    def __init__(self, settings: SubSettings) -> None:
        self.settings = settings
        self._next = 0.0

    def picture(self, planes: Planes, time: float) -> av.VideoFrame | None:
        """A smaller copy, or None where the rate asks for none yet."""
        step = 1 / self.settings.rate
        if time < self._next - 0.25 * step:
            return None
        self._next = max(self._next + step, time) if self._next else time + step
        width = min(self.settings.width, planes.width) & ~1
        height = max(2, round(planes.height * width / planes.width / 2) * 2)
        frame = av.VideoFrame(width, height, "yuvj420p" if planes.full_range else "yuv420p")
        target = planes_of(frame)
        for small, plane in zip((target.y, target.u, target.v), (planes.y, planes.u, planes.v), strict=True):
            size = small.shape[1], small.shape[0]
            small[:] = cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_AREA)
        return frame
