"""The H.264 encoder, set up alike for files and live streams."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.codec.context import ThreadType

from anonymizer.ingest.file import VideoFormat
from anonymizer.settings import setting

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How pictures are encoded to H.264."""

    preset: Preset = setting(
        "x264 preset", default="superfast", description="Slower presets make smaller files for more CPU time"
    )
    crf: int = setting(
        "Constant rate factor", default=23, minimum=0, maximum=51, description="Quality: smaller is better and larger"
    )
    threads: int = setting(
        "Threads",
        default=1,
        minimum=0,
        maximum=64,
        description="Threads of the encoder. More take more memory; 0 leaves it to x264",
    )


def configure(context: av.VideoCodecContext, video: VideoFormat, settings: EncoderSettings, **options: str) -> None:
    """Set up an unopened libx264 context for pictures of this format. options: more of libx264's own."""
    context.width, context.height = video.width, video.height
    context.pix_fmt = "yuvj420p" if video.full_range else "yuv420p"
    context.time_base = video.time_base
    context.framerate = video.rate
    if video.aspect:
        context.sample_aspect_ratio = video.aspect
    context.color_range = 2 if video.full_range else 1
    context.colorspace, context.color_primaries, context.color_trc = video.colorspace, video.primaries, video.transfer
    context.thread_count = settings.threads
    context.thread_type = ThreadType.AUTO
    # a53cc: captions in the source's SEI are text about the people in the picture
    context.options = {"preset": settings.preset, "crf": str(settings.crf), "a53cc": "0", "udu_sei": "0", **options}


def prepare(frame: av.VideoFrame, pts: int, time_base: Fraction) -> av.VideoFrame:
    """Make a decoded frame ready to be encoded: its picture type is the encoder's business, not the camera's."""
    frame.pts, frame.time_base = pts, time_base
    frame.pict_type = av.video.frame.PictureType.NONE
    return frame
