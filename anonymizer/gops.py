"""Closed groups of pictures (GOPs) of an H.264 file, with the camera's own packets.

    with GopSource(path) as reader:
        for frame in reader: ...
        gop = reader.gop_of(frame)     # gop.packets, gop.doubt

A GOP here begins with an IDR picture and ends before the next one: in H.264 nothing refers across it, and nothing of
one is shown after the first of the next. Groups that begin with another kind of key picture (open GOPs) are part of the
one before. ``doubt`` says why the packets of a GOP may not be passed on, whatever its pictures show: what another
decoder could show differently from ours, or show in addition, has not been looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from anonymizer.access_unit import split
from anonymizer.ingest.file import FileSource
from anonymizer.ingest.picture import FAST_FORMATS

MOST_BYTES = 64 << 20
"""Of packets that are kept until it is known whether they may be passed on; longer GOPs are encoded anew."""

SLICE, IDR, SEI, SPS, PPS, DELIMITER, END_OF_SEQUENCE, END_OF_STREAM, FILLER = 1, 5, 6, 7, 8, 9, 10, 11, 12
_DROPPED = (SEI, DELIMITER, END_OF_SEQUENCE, END_OF_STREAM, FILLER)
_PROFILES = {66: "baseline", 77: "main", 100: "high"}


@dataclass(frozen=True, slots=True)
class Coded:
    """One coded picture. slices: NAL units without start codes. data: the packet as it came, for a decoder."""

    slices: tuple[bytes, ...]
    data: bytes
    pts: int
    idr: bool


@dataclass(slots=True, eq=False)
class Gop:
    """packets: in decoding order; None once they are no longer needed. sets: the parameter sets (SPS, PPS) that hold
    from its first picture on. shown: the times of its pictures as they came out of the decoder, in the stream's ticks.
    doubt: why it may not be passed on, or "". All grow while the file is read."""

    sets: tuple[bytes, ...] = ()
    packets: list[Coded] | None = field(default_factory=list)
    size: int = 0
    shown: list[int | None] = field(default_factory=list)
    doubt: str = ""

    def keep(self, coded: Coded) -> None:
        if self.packets is not None:
            self.packets.append(coded)
            self.size += len(coded.data)
            if self.size > MOST_BYTES:
                self.doubt = self.doubt or "too long to be kept in memory"


class GopSource(FileSource):
    """A file's pictures, and the closed GOP that each belongs to."""

    def __init__(self, path: Path, *, audio: bool = False, threads: int = 1) -> None:
        self._gop = Gop(doubt="does not begin with an IDR picture")
        self._sets: dict[tuple[int, int], bytes] = {}  # by kind and id
        self._length = 0  # bytes of a NAL unit's length; 0 in a byte stream
        self._lost = 0
        self._size: tuple[int, int] | None = None  # of the first picture
        self._count = 0
        self._gops: dict[int, Gop] = {}
        self.whole_file = ""
        """Why nothing of the file can be passed on, or ""."""
        super().__init__(path, audio=audio, threads=threads)
        size = self._stream.codec_context
        if not self.whole_file and (size.width, size.height) != (self.video.width, self.video.height):
            self.whole_file = "sides are odd"

    @property
    def stream(self) -> VideoStream:
        return self._stream

    @property
    def sets(self) -> tuple[bytes, ...]:
        """The parameter sets known so far, SPS first."""
        return tuple(self._sets[key] for key in sorted(self._sets))

    @property
    def profile(self) -> str:
        """x264's name of the profile that the camera uses."""
        number = next((sps[1] for sps in self.sets if sps[0] & 31 == SPS), 100)
        return _PROFILES.get(number, "high")

    def gop_of(self, index: int) -> Gop:
        """The GOP of the frame of that index; to be asked once."""
        return self._gops.pop(index)

    def _choose(self) -> VideoStream:
        stream = super()._choose()
        context = stream.codec_context
        if context.codec.name != "h264":
            self.whole_file = f"only H.264 can be passed on, not {context.codec.name}"
        elif context.pix_fmt not in FAST_FORMATS:
            self.whole_file = f"only 8-bit 4:2:0 can be passed on, not {context.pix_fmt}"
        else:
            try:
                self._learn(context.extradata or b"")
            except IndexError:
                self.whole_file = "its parameter sets cannot be read"
            context.copy_opaque = True
        return stream

    def _learn(self, extradata: bytes) -> None:
        """Take the parameter sets before the first picture (avcC of ISO/IEC 14496-15 5.3.3.1, or a byte stream)."""
        if extradata[:1] != b"\1":
            units = split(extradata)
        else:
            self._length, units, at = (extradata[4] & 3) + 1, [], 5
            for mask in (31, 255):
                count, at = extradata[at] & mask, at + 1
                for _ in range(count):
                    size = int.from_bytes(extradata[at : at + 2])
                    units.append(extradata[at + 2 : at + 2 + size])
                    at += 2 + size
        self._take_sets(units)

    def _take_sets(self, units: list[bytes]) -> None:
        """Those whose id can be read: no decoder finds the others, and no container wants them."""
        for unit in units:
            if unit[0] & 31 in (SPS, PPS) and (key := _key(unit))[1] >= 0:
                self._sets[key] = unit

    def _decode(self, packet: Packet[Stream]) -> list[av.VideoFrame]:
        if self.whole_file:
            return super()._decode(packet)
        if self._undecodable != self._lost:
            self._gop.doubt = self._gop.doubt or "damaged"
        if packet.size:
            self._take(packet)
        packet.opaque = (self._gop, packet.pts)  # an object of its own for each packet: PyAV finds it by its address
        before, frames = self._undecodable, super()._decode(packet)
        self._lost = self._undecodable
        if self._undecodable != before:
            self._gop.doubt = self._gop.doubt or "damaged"
        for frame in frames:
            mark = cast("tuple[Gop, int | None] | None", frame.opaque)
            gop = mark[0] if mark else self._gop
            if frame.is_corrupt or not mark:
                gop.doubt = gop.doubt or "damaged"
            if frame.interlaced_frame:
                gop.doubt = gop.doubt or "interlaced"
            size = frame.width, frame.height
            self._size = self._size or size
            if frame.format.name not in FAST_FORMATS or size != self._size:
                gop.doubt = gop.doubt or "of another format than the file's first picture"
            gop.shown.append(frame.pts)
            self._gops[self._count] = gop
            self._count += 1
        return frames

    def _take(self, packet: Packet[Stream]) -> None:
        data = bytes(packet)
        units = self._units(data)
        kinds = {unit[0] & 31 for unit in units}
        if IDR in kinds:
            self._take_sets(units)
            self._gop = Gop(self.sets)
            if doubt := _of_sets(self._gop.sets):
                self._gop.doubt = doubt
        gop = self._gop
        if IDR not in kinds and any(unit[0] & 31 in (SPS, PPS) and unit not in gop.sets for unit in units):
            gop.doubt = gop.doubt or "parameter sets change within it"
            self._take_sets(units)
        odd = kinds - {SLICE, IDR, SPS, PPS, *_DROPPED}
        if odd:
            gop.doubt = gop.doubt or f"holds NAL units of kind {min(odd)}, which other decoders may show"
        if not units or packet.is_corrupt or kinds >= {SLICE, IDR} or not kinds & {SLICE, IDR}:
            gop.doubt = gop.doubt or "damaged"
        if packet.pts is None or packet.is_discard:
            gop.doubt = gop.doubt or "has pictures that are not shown at a time of their own"
        slices = tuple(unit for unit in units if unit[0] & 31 in (SLICE, IDR))
        gop.keep(Coded(slices, data, packet.pts or 0, IDR in kinds))

    def _units(self, data: bytes) -> list[bytes]:
        """The packet's NAL units; none where it is not made of such."""
        if not self._length:
            return split(data)
        units, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + self._length])
            at += self._length + size
            if not size or at > len(data):
                return []
            units.append(data[at - size : at])
        return units


def _of_sets(sets: tuple[bytes, ...]) -> str:
    """Why pictures with these parameter sets may not be passed on, or ""."""
    sequences = [unit for unit in sets if unit[0] & 31 == SPS]
    if not sequences or len(sequences) == len(sets):
        return "lacks parameter sets"
    try:
        shapes = [sps_shape(unit) for unit in sequences]
    except (IndexError, ValueError):
        return "has parameter sets that cannot be read"
    if any(shape.interlaced for shape in shapes):
        return "interlaced"
    if any(left or top or right > 15 or bottom > 15 for left, top, right, bottom in (s.crop for s in shapes)):
        return "hides a part of the picture by cropping"
    return ""


def _key(unit: bytes) -> tuple[int, int]:
    """Kind and id of a parameter set; the id is -1 where it is cut off."""
    kind = unit[0] & 31
    try:
        return kind, _Bits(unit[4:] if kind == SPS else unit[1:]).ue()
    except IndexError:
        return kind, -1


def ids(sets: tuple[bytes, ...]) -> set[int]:
    """The ids that SPS and PPS use, of both kinds together."""
    return {_key(unit)[1] for unit in sets}


@dataclass(frozen=True, slots=True)
class Shape:
    """What an SPS says of the pictures. crop: left, top, right, bottom in luma pixels, cut off from the coded ones."""

    interlaced: bool
    crop: tuple[int, int, int, int]


def sps_shape(unit: bytes) -> Shape:
    """Read an SPS of 4:2:0 video (H.264 7.3.2.1.1). ValueError where it is of another kind, IndexError where cut."""
    bits = _Bits(unit[4:].replace(b"\0\0\3", b"\0\0"))
    bits.ue()
    if unit[1] in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
        if (chroma := bits.ue()) != 1:
            raise ValueError(f"chroma_format_idc is {chroma}, not 4:2:0")
        bits.ue(), bits.ue(), bits.u(1)
        if bits.u(1):
            for number in range(8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1), bits.ue(), bits.ue()
        for _ in range(bits.ue()):
            bits.ue()
    bits.ue(), bits.u(1), bits.ue(), bits.ue()
    interlaced = not bits.u(1)
    if interlaced:
        bits.u(1)
    bits.u(1)
    left = right = top = bottom = 0
    if bits.u(1):
        left, right, top, bottom = (2 * bits.ue() for _ in range(4))
    return Shape(interlaced, (left, top, right, bottom))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.ue()
            delta = (code + 1) // 2 if code % 2 else -(code // 2)
            following = (last + delta) % 256
        last = following or last


class _Bits:
    """Reads bits, the first of a byte first, and Exp-Golomb codes (H.264 9.1). IndexError past the end, and where
    a code has more than 32 bits: reading it would take the square of its length."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - self._at & 7) & 1
            self._at += 1
        return value

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise IndexError("no Exp-Golomb code is so long")
        return (1 << zeros) - 1 + self.u(zeros)
