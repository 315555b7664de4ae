"""RTP packing (RFC 3550) of H.264 (RFC 6184), H.265 (RFC 7798), AAC (RFC 3640) and G.711 (RFC 3551). No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from anonymizer.access_unit import AccessUnit, Codec, nal_type, split

HEADER = struct.Struct(">BBHII")
_VERSION = 0x80
_MARKER = 0x80

# Not for RTP: access unit delimiter, end of sequence, end of stream and filler (RFC 6184 leaves framing to RTP).
_LEFT_OUT = {Codec.H264: frozenset({9, 10, 11, 12}), Codec.H265: frozenset({35, 36, 37, 38})}

_NAL_HEADER = {Codec.H264: 1, Codec.H265: 2}
"""Bytes of a NAL unit's header."""

# Sent together in one packet: they are small and come in a row at each key frame.
_AGGREGATED = {Codec.H264: frozenset({6, 7, 8}), Codec.H265: frozenset({32, 33, 34, 39})}


def payloads(unit: AccessUnit, size: int) -> list[bytes]:
    """The RTP payloads, each of at most ``size`` bytes, that carry one access unit. The last one takes the marker."""
    if unit.codec.is_video:
        return list(_video(unit.codec, split(unit.data), size))
    if unit.codec is Codec.AAC:
        return list(_aac(unit.data, size))
    return [unit.data[at : at + size] for at in range(0, len(unit.data), size)]


def _video(codec: Codec, nals: list[bytes], size: int) -> Iterator[bytes]:
    together: list[bytes] = []
    used = 0
    for nal in nals:
        kind = nal_type(codec, nal)
        if kind in _LEFT_OUT[codec] or len(nal) <= _NAL_HEADER[codec]:
            continue
        if together and (kind not in _AGGREGATED[codec] or used + 2 + len(nal) > size):
            yield _aggregate(codec, together)
            together, used = [], 0
        if kind in _AGGREGATED[codec] and len(nal) + 4 <= size:
            used += 2 + len(nal) + (0 if together else 2)
            together.append(nal)
        elif len(nal) <= size:
            yield nal
        else:
            yield from _fragments(codec, nal, size)
    if together:
        yield _aggregate(codec, together)


def _aggregate(codec: Codec, nals: list[bytes]) -> bytes:
    """STAP-A (RFC 6184 5.7.1) or an aggregation packet (RFC 7798 4.4.2); a NAL unit alone stays as it is."""
    if len(nals) == 1:
        return nals[0]
    if codec is Codec.H264:
        header = bytes([max(nal[0] & 0x60 for nal in nals) | 24])
    else:
        header = bytes([48 << 1, min(nal[1] for nal in nals)])
    return header + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _fragments(codec: Codec, nal: bytes, size: int) -> Iterator[bytes]:
    """FU-A (RFC 6184 5.8) or fragmentation units (RFC 7798 4.4.3)."""
    if codec is Codec.H264:
        indicator, skip = bytes([nal[0] & 0xE0 | 28]), 1
    else:
        indicator, skip = bytes([nal[0] & 0x81 | 49 << 1, nal[1]]), 2
    kind = nal_type(codec, nal)
    room = size - skip - 1
    for at in range(skip, len(nal), room):
        start, end = at == skip, at + room >= len(nal)
        yield indicator + bytes([start << 7 | end << 6 | kind]) + nal[at : at + room]


def _aac(frame: bytes, size: int) -> Iterator[bytes]:
    """Mode AAC-hbr (RFC 3640 3.3.6): one frame a packet, the size of the whole frame in each fragment's header."""
    header = struct.pack(">HH", 16, len(frame) << 3 & 0xFFFF)
    room = size - len(header)
    for at in range(0, len(frame), room):
        yield header + frame[at : at + room]


class Packer:
    """Numbers and stamps the packets of one track.

    ssrc, sequence: start values, random in service (RFC 3550 5.1). size: largest RTP packet in bytes, header included.
    channels: of G.711, a byte each in every tick.
    """

    def __init__(self, payload_type: int, ssrc: int, sequence: int, size: int, channels: int = 1) -> None:
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF
        self.size = size
        self.channels = channels
        self.packets = 0
        """Packets made so far."""
        self.octets = 0
        """Bytes of payload made so far."""

    def pack(self, unit: AccessUnit, timestamp: int) -> list[bytes]:
        """The RTP packets of one access unit; timestamp in ticks of the track's clock, taken modulo 2^32."""
        sampled = unit.codec in (Codec.PCMU, Codec.PCMA)
        room = self.size - HEADER.size
        parts = payloads(unit, room // self.channels * self.channels if sampled else room)
        last = len(parts) - 1
        out = []
        for index, part in enumerate(parts):
            # Audio marks the first packet of a talk spurt only (RFC 3551 4.1); AAC and video mark the last fragment.
            marked = index == last and not sampled
            kind = self.payload_type | (_MARKER if marked else 0)
            out.append(HEADER.pack(_VERSION, kind, self.sequence, timestamp & 0xFFFFFFFF, self.ssrc) + part)
            if sampled:  # each part stands alone; of the other codecs all have the unit's time
                timestamp += len(part) // self.channels
            self.sequence = self.sequence + 1 & 0xFFFF
            self.octets += len(part)
        self.packets += len(parts)
        return out


class Timeline:
    """Maps seconds on a camera's clock to RTP timestamps that never run back.

    A camera that restarts, or whose clock is set, starts a new origin; the timestamp then goes on by the time that has
    passed here, so that players need not notice.
    """

    SLACK = 5.0
    """Seconds by which camera and local clock may disagree between two pictures before it counts as a new origin."""

    def __init__(self, rate: int, start: int) -> None:
        self.rate = rate
        self._origin = 0.0
        self._start = start
        self._last: tuple[float, float, int] | None = None

    def at(self, time: float, now: float) -> int:
        """The timestamp (ticks, not wrapped) for ``time`` on the camera's clock; now: seconds on a local clock."""
        if self._last is None:
            self._origin = time
        else:
            last_time, last_now, last_ticks = self._last
            step, elapsed = time - last_time, now - last_now
            if step * self.rate < 1 or abs(step - elapsed) > self.SLACK:
                self._start = last_ticks + max(1, round(elapsed * self.rate))
                self._origin = time
        ticks = self._start + round((time - self._origin) * self.rate)
        self._last = (time, now, ticks)
        return ticks

    def estimate(self, now: float) -> int | None:
        """The timestamp that a picture taken now would have, or None before the first one."""
        if self._last is None:
            return None
        _, last_now, ticks = self._last
        return ticks + round((now - last_now) * self.rate)
