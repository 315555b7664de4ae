"""RTCP (RFC 3550 6): sender reports and BYE to write, receivers' packets to read. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970."""

_SR, _RR, _SDES, _BYE = 200, 201, 202, 203


def sender_report(ssrc: int, wall: float, timestamp: int, *, packets: int, octets: int, cname: str) -> bytes:
    """A compound of SR and SDES. wall: seconds since 1970; timestamp: RTP ticks of the same instant."""
    seconds = int(wall // 1)
    fraction = int((wall - seconds) * (1 << 32))
    report = struct.pack(
        ">BBHIIIIII",
        0x80,
        _SR,
        6,
        ssrc,
        (seconds + NTP_EPOCH) & 0xFFFFFFFF,
        fraction,
        timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    name = cname.encode()[:255]
    chunk = struct.pack(">IBB", ssrc, 1, len(name)) + name
    chunk += bytes(4 - len(chunk) % 4)
    return report + struct.pack(">BBH", 0x81, _SDES, len(chunk) // 4) + chunk


def bye(ssrc: int) -> bytes:
    """A compound of an empty receiver report, which must come first (6.1), and BYE."""
    return struct.pack(">BBHI", 0x80, _RR, 1, ssrc) + struct.pack(">BBHI", 0x81, _BYE, 1, ssrc)


@dataclass(frozen=True, slots=True)
class Report:
    """What one receiver says of one source. fraction_lost: 0–1 since its last report; lost: packets since the start;
    jitter: RTP ticks."""

    ssrc: int
    fraction_lost: float
    lost: int
    jitter: int


def parse(data: bytes) -> list[Report]:
    """The report blocks of a compound packet (those of RR and SR); other kinds are passed over.

    Raises ValueError where the bytes are no compound RTCP packet.
    """
    reports: list[Report] = []
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise ValueError(f"RTCP: {len(data) - at} bytes left over at {at}")
        first, kind, words = struct.unpack_from(">BBH", data, at)
        end = at + 4 + words * 4
        if first >> 6 != 2 or not 192 <= kind <= 223 or end > len(data):
            raise ValueError(f"RTCP: no packet at byte {at}")
        if kind in (_SR, _RR):
            block = at + (28 if kind == _SR else 8)
            count = first & 0x1F
            if block + count * 24 > end:
                raise ValueError(f"RTCP: {count} report blocks announced at byte {at}, fewer are there")
            for _ in range(count):
                ssrc, loss, _, jitter = struct.unpack_from(">IIII", data, block)
                lost = loss & 0xFFFFFF
                reports.append(Report(ssrc, (loss >> 24) / 256, lost - (lost >> 23 << 24), jitter))
                block += 24
        at = end
    if not data:
        raise ValueError("RTCP: empty packet")
    return reports
