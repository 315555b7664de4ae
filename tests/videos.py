"""Small videos that the tests draw themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def pictures(count: int, width: int = 192, height: int = 144, pix_fmt: str = "yuv420p") -> Iterable[av.VideoFrame]:
    """A bright square that moves over a gradient, one step a picture."""
    ramp = np.tile(np.linspace(40, 160, width, dtype=np.uint8), (height, 1))
    for index in range(count):
        canvas = np.dstack([ramp, ramp[:, ::-1], np.full_like(ramp, 90)])
        x, y = (index * 4) % (width - 32), height // 3
        canvas[y : y + 32, x : x + 32] = 230
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(canvas), format="rgb24").reformat(format=pix_fmt)


def write(
    path: Path,
    *,
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 1000),
    count: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    audio: bool = False,
    size: tuple[int, int] = (192, 144),
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    **container: str,
) -> Path:
    """A video file; times: of each picture in ticks of base, 25 pictures a second where none are given."""
    times = [index * round(1 / (25 * base)) for index in range(count)] if times is None else times
    with av.open(str(path), "w", options=container) as output:
        output.metadata.update(metadata or {})
        stream = output.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        sound = output.add_stream("aac", rate=8000, layout="mono") if audio else None
        for time, frame in zip(times, pictures(len(times), *size, pix_fmt), strict=True):
            frame.pts, frame.time_base = time, base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            seconds = float(len(times) / 25)
            samples = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
            samples.rate, samples.pts, samples.time_base = 8000, 0, Fraction(1, 8000)
            output.mux(sound.encode(samples))
            output.mux(sound.encode(None))
    return path


def times_of(path: Path) -> list[float | None]:
    """The time of every picture in seconds, in the order of decoding."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        return [None if f.pts is None else float(f.pts * stream.time_base) for f in source.decode(stream)]
