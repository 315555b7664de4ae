"""A segment's sound: AAC as it comes, G.711 turned into AAC, because MP4 players know nothing else."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from anonymizer.access_unit import AccessUnit, AudioParameters, Codec
from anonymizer.frame import F32
from anonymizer.record.mp4 import AUDIO, Audio, Run, Sample

_FRAME = 1024  # samples a packet of AAC-LC
_DRIFT = 0.1  # seconds by which counted samples and the times they came with may differ


class Sound:
    """One segment's sound. Times in seconds from the segment's start.

    A gap in what comes becomes a gap in the track; nothing is ever written twice.
    """

    def __init__(self, parameters: AudioParameters) -> None:
        self._encoder: av.AudioCodecContext | None = None
        self._rate = parameters.rate
        config = parameters.config
        if parameters.codec is not Codec.AAC:
            self._encoder = _encoder(parameters.rate)
            config = bytes(self._encoder.extradata or b"")
        self.track = Audio("aac", parameters.rate, 1 if self._encoder else parameters.channels, config)
        self._channels = parameters.channels
        self._ready: list[tuple[int, bytes]] = []  # (start in samples, packet)
        self._fed = 0  # samples given to the encoder
        self._start = 0  # place of the encoder's first sample
        self._next: int | None = None

    def take(self, unit: AccessUnit, time: float) -> None:
        """Add what came; before the segment's start nothing is kept."""
        at = round(time * self._rate)
        if self._encoder is None:
            self._put(at, unit.data)
            return
        samples = _decoded(unit.codec, unit.data, self._channels)
        if not self._fed:
            self._start = at
        frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        frame.rate, frame.pts, frame.time_base = self._rate, self._fed, Fraction(1, self._rate)
        self._fed += samples.size
        late = at + samples.size - self._start - self._fed
        if abs(late) > _DRIFT * self._rate:
            self._start += late
        self._encode(frame)

    def flush(self) -> None:
        """The segment ends: what the encoder holds comes out."""
        if self._encoder is not None and self._fed:
            self._encode(None)

    def _encode(self, frame: av.AudioFrame | None) -> None:
        assert self._encoder is not None
        for packet in self._encoder.encode(frame):
            # The encoder's first packet only primes the decoder and lies before zero: without it the first 1,024
            # samples fade in.
            if packet.pts is not None and packet.pts >= 0:
                self._put(self._start + packet.pts, bytes(packet))

    def _put(self, at: int, data: bytes) -> None:
        if self._next is not None and abs(at - self._next) <= _DRIFT * self._rate:
            at = self._next
        if at < 0 or (self._next is not None and at < self._next):
            return
        self._ready.append((at, data))
        self._next = at + _FRAME

    def run(self) -> list[Run]:
        """What is ready, for the next fragment: runs without gaps."""
        runs: list[tuple[int, list[Sample]]] = []
        following = -1
        for at, data in self._ready:
            if at != following:
                runs.append((at, []))
            runs[-1][1].append(Sample(data, _FRAME))
            following = at + _FRAME
        self._ready.clear()
        return [Run(AUDIO, at, samples) for at, samples in runs]


def _encoder(rate: int) -> av.AudioCodecContext:
    context = av.CodecContext.create("aac", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate, "mono", "fltp"
    context.time_base, context.bit_rate = Fraction(1, rate), 32_000
    context.flags |= av.codec.context.Flags.global_header
    context.open()
    return context


def _table(codec: Codec) -> F32:
    """ITU-T G.711: the amplitude, -1 to 1, of each of the 256 codes."""
    code = np.arange(256)
    if codec is Codec.PCMU:
        code = ~code & 255
        amplitude = ((code & 15) * 2 + 33 << (code >> 4 & 7)) - 33
        sign = np.where(code & 128, -1, 1)
    else:
        code ^= 0x55
        exponent = code >> 4 & 7
        mantissa = (code & 15) * 2 + 1
        amplitude = np.where(exponent == 0, mantissa, mantissa + 32 << np.maximum(exponent - 1, 0)) * 2
        sign = np.where(code & 128, 1, -1)
    return np.asarray(sign * amplitude / 8192, np.float32)


_TABLES = {codec: _table(codec) for codec in (Codec.PCMU, Codec.PCMA)}


def _decoded(codec: Codec, data: bytes, channels: int) -> F32:
    samples = _TABLES[codec][np.frombuffer(data, np.uint8)]
    return np.asarray(samples[: len(samples) // channels * channels].reshape(-1, channels).mean(1), np.float32)
