"""Access units from the fragments in which RTP brings them, each at once when its last fragment is there."""

from __future__ import annotations

from dataclasses import dataclass

START = b"\0\0\0\1"
"""What libavformat's depacketizers put before each NAL unit; it cannot stand inside one."""
CAREFUL = 50
"""Access units that have to prove the rule before it is believed: two seconds, so mostly with a key frame."""

MOST = 16 << 20
"""Bytes that may wait for their picture; a stream that brings more without one is forgotten up to there."""


@dataclass(frozen=True, slots=True)
class Unit:
    """An access unit in Annex B. pts: as the fragments had it. key: whether decoding can begin here."""

    data: bytes
    pts: int | None
    key: bool


class Assembler:
    """Joins the fragments of one H.264 or H.265 stream.

    libavformat's own parser gives a picture when the next one begins, a whole interval late, and the RTP marker that
    says better is lost in it. But packetizers fill their packets: the last fragment of a NAL unit is the one that is
    shorter. So a picture is complete when it has as many slices as any before and ends in a short fragment. A camera
    has to keep to that ``CAREFUL`` times before it is believed; each time that it does not later on, one picture is
    damaged, and four times as many proofs are asked for. Whoever packs otherwise is as late as with the parser.
    """

    def __init__(self, hevc: bool) -> None:
        self._hevc = hevc
        self._parts: list[bytes] = []
        self._waiting = 0  # bytes
        self._pts: int | None = None
        self._slices, self._key = 0, False
        self._full = 0  # bytes of the largest fragment inside a NAL unit
        self._most_slices = 1
        self._claimed = False  # the picture looks complete
        self._given = False  # and was given before the next began: nothing more of it may come
        self._proofs, self._asked = 0, CAREFUL

    def push(self, fragment: bytes, pts: int | None) -> list[Unit]:
        """Take one packet of the demuxer; returns the access units that it completes, mostly none or one."""
        inside = not fragment.startswith(START)
        slices, first, key = self._slices_of(fragment)
        units = []
        new = first or pts != self._pts
        if new:
            self._given = False
            if self._slices:
                self._proofs += self._claimed
                units.append(self._take())
        elif (self._claimed or self._given) and (slices or inside):
            self._wrong()
        if self._waiting + len(fragment) > MOST:
            self._take()
        self._parts.append(fragment)
        self._waiting += len(fragment)
        self._pts = pts
        self._key |= key
        self._slices += slices
        self._most_slices = max(self._most_slices, self._slices)
        if inside:
            self._full = max(self._full, len(fragment))
        if (slices or inside) and self._slices >= self._most_slices and len(fragment) < self._full:
            self._claimed = True
            if self._proofs >= self._asked:
                units.append(self._take())
                self._given = True
        return units

    def _wrong(self) -> None:
        if self._given:
            self._asked *= 4
        self._proofs, self._claimed, self._given = 0, False, False

    def _take(self) -> Unit:
        unit = Unit(b"".join(self._parts), self._pts, self._key)
        self._parts, self._waiting, self._slices, self._key, self._claimed = [], 0, 0, False, False
        return unit

    def _slices_of(self, fragment: bytes) -> tuple[int, bool, bool]:
        """How many slices begin in it, whether one is a picture's first, and whether one is of a key picture."""
        count, first, key = 0, False, False
        for nal in fragment.split(START)[1:]:
            if len(nal) < 3:
                continue
            if self._hevc:  # ITU-T H.265, table 7-1; first_slice_segment_in_pic_flag
                kind, begins = nal[0] >> 1 & 0x3F, nal[2] & 0x80
                picture, random_access = kind < 32, 16 <= kind <= 23
            else:  # ITU-T H.264, table 7-1; first_mb_in_slice is 0 where its first bit is 1
                kind, begins = nal[0] & 0x1F, nal[1] & 0x80
                picture, random_access = kind in (1, 2, 5), kind == 5
            count += picture
            first |= picture and bool(begins)
            key |= picture and random_access
        return count, first, key
