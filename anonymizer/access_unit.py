"""Access units: coded pictures and sound, as cameras send them and as they fan out to players and recorders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise


class Codec(StrEnum):
    H264 = "h264"
    H265 = "h265"
    AAC = "aac"
    PCMU = "pcmu"
    PCMA = "pcma"

    @property
    def is_video(self) -> bool:
        return self in (Codec.H264, Codec.H265)


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded picture, or one coded run of audio.

    data: for video an Annex-B byte stream (start codes of 3 or 4 bytes); for AAC one raw frame without ADTS; for G.711
    one byte a sample. key: decoding can start here (always true of audio). time: presentation time in seconds on the
    camera's clock, from any origin. wall: the same instant as seconds since 1970, UTC.
    """

    codec: Codec
    data: bytes
    key: bool
    time: float
    wall: float


@dataclass(frozen=True, slots=True)
class VideoParameters:
    """A video codec and the parameter sets that a decoder needs before the first picture.

    sets: NAL units without start codes, in the order of the stream: SPS and PPS (H.264), VPS, SPS and PPS (H.265).
    """

    codec: Codec
    sets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AudioParameters:
    """codec; rate: samples a second; channels; config: AudioSpecificConfig (ISO/IEC 14496-3) of AAC, else empty."""

    codec: Codec
    rate: int
    channels: int = 1
    config: bytes = b""


def split(data: bytes) -> list[bytes]:
    """The NAL units of an Annex-B byte stream, without start codes or trailing zeros (ITU-T H.264 annex B)."""
    starts = []
    at = data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at + 3)
        at = data.find(b"\0\0\1", at + 3)
    edges = [*starts, len(data) + 3]
    units = (data[start : after - 3].rstrip(b"\0") for start, after in pairwise(edges))
    return [unit for unit in units if unit]


def nal_type(codec: Codec, nal: bytes) -> int:
    """nal_unit_type of a NAL unit that is not empty (H.264 7.3.1, H.265 7.3.1.2)."""
    return nal[0] & 0x1F if codec is Codec.H264 else nal[0] >> 1 & 0x3F


_REQUIRED = {Codec.H264: (7, 8), Codec.H265: (32, 33, 34)}  # SPS, PPS; VPS, SPS, PPS


def parameter_sets(codec: Codec, nals: list[bytes]) -> tuple[bytes, ...] | None:
    """The parameter sets among ``nals``, or None where one of the kinds that the codec needs is missing or cut off."""
    required = _REQUIRED[codec]
    sets = tuple(nal for nal in nals if nal_type(codec, nal) in required and len(nal) >= 4)
    return sets if {nal_type(codec, nal) for nal in sets} == set(required) else None
