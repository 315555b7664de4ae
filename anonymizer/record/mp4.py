"""Fragmented MP4 (ISO/IEC 14496-12, -14, -15): boxes out of coded samples, and back as far as we need. Pure.

A file is a header (``header``) and fragments (``fragment``), each ``prft``, ``moof`` and ``mdat``: it can be cut after
any of them and plays. The ``prft`` of each says the UTC time of its first picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from anonymizer.access_unit import Codec, nal_type
from anonymizer.record import label

CLOCK = 90_000
"""Ticks a second of pictures."""
VIDEO, AUDIO = 1, 2  # track numbers
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The type of the ``uuid`` box that holds an XMP packet (XMP specification part 3, 1.2.4)."""
_MATRIX = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_SINCE_1904, _SINCE_1900 = 2_082_844_800, 2_208_988_800  # seconds up to 1970
_KEY, _DELTA = 0x0200_0000, 0x0101_0000  # sample flags: depends on no other; depends, and is no sync sample


@dataclass(frozen=True, slots=True)
class Video:
    """codec: h264, h265 or mjpeg. sets: parameter sets as in ``VideoParameters``. chroma: 1 for 4:2:0; depth: bits."""

    codec: str
    width: int
    height: int
    sets: tuple[bytes, ...] = ()
    chroma: int = 1
    depth: int = 8


@dataclass(frozen=True, slots=True)
class Audio:
    """codec: aac (config: its AudioSpecificConfig), pcmu or pcma. rate: samples a second."""

    codec: str
    rate: int
    channels: int = 1
    config: bytes = b""


@dataclass(frozen=True, slots=True)
class Sample:
    """data: as MP4 stores it. duration, offset (presentation minus decoding time): ticks of the track's clock."""

    data: bytes
    duration: int
    key: bool = True
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Samples of one track, in decoding order. start: decoding time of the first, ticks from the file's start."""

    track: int
    start: int
    samples: Sequence[Sample]


def sized(nals: Sequence[bytes]) -> bytes:
    """NAL units as MP4 stores them: each after its length. Parameter sets stand in the header and belong left out."""
    return b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)


def in_sample(codec: Codec, nals: Sequence[bytes]) -> list[bytes]:
    """The NAL units that a sample holds: neither parameter sets nor delimiters."""
    outside = (7, 8, 9) if codec is Codec.H264 else (32, 33, 34, 35)
    return [nal for nal in nals if nal_type(codec, nal) not in outside]


# Writing


def header(camera: str, start: float, video: Video, audio: Audio | None, *, synthetic: bool) -> bytes:
    """Everything before the first fragment. start: UTC seconds. synthetic: whether to carry the label (XMP)."""
    tracks = _track(VIDEO, start, video) + (b"" if audio is None else _track(AUDIO, start, audio))
    extends = b"".join(
        _full(b"trex", struct.pack(">5I", track, 1, 0, 0, 0 if track == VIDEO else _KEY))
        for track in (VIDEO, AUDIO)[: 1 if audio is None else 2]
    )
    when = round(start) + _SINCE_1904
    movie = struct.pack(">QQIQIHxx8x", when, when, 1000, 0, 1 << 16, 1 << 8) + _MATRIX + bytes(24) + b"\0\0\0\3"
    told = {"©nam": camera, "©day": label.utc(start), "©too": label.TOOL}
    told |= {"©cmt": label.NOTICE} if synthetic else {}
    moov = _box(b"moov", _full(b"mvhd", movie, 1), tracks, _box(b"mvex", extends), _told(told))
    xmp = _box(b"uuid", XMP, label.xmp(camera, start)) if synthetic else b""
    return _box(b"ftyp", b"iso6\0\0\2\0iso6mp41") + moov + xmp


def fragment(number: int, wall: float, runs: Sequence[Run]) -> bytes:
    """One fragment. number: from 1. wall: UTC seconds of the first run's first sample."""
    ntp = round((wall + _SINCE_1900) * (1 << 32))
    first = runs[0].start + (runs[0].samples[0].offset if runs[0].samples else 0)
    reference = _full(b"prft", struct.pack(">IQQ", runs[0].track, ntp, first), 1)
    size = len(_moof(number, runs, 0))
    return reference + _moof(number, runs, size + 8) + _box(b"mdat", *(s.data for run in runs for s in run.samples))


def _moof(number: int, runs: Sequence[Run], offset: int) -> bytes:
    pieces = [_full(b"mfhd", struct.pack(">I", number))]
    for run in runs:
        rows = b"".join(
            struct.pack(">IIIi", s.duration, len(s.data), _KEY if s.key else _DELTA, s.offset) for s in run.samples
        )
        # tfhd: offsets count from this moof. trun: offset of the data; duration, size, flags, offset of each sample
        pieces.append(
            _box(
                b"traf",
                _full(b"tfhd", struct.pack(">I", run.track), 0, 0x020000),
                _full(b"tfdt", struct.pack(">Q", run.start), 1),
                _full(b"trun", struct.pack(">Ii", len(run.samples), offset) + rows, 1, 0x000F01),
            )
        )
        offset += sum(len(s.data) for s in run.samples)
    return _box(b"moof", *pieces)


def _box(kind: bytes, *pieces: bytes) -> bytes:
    return b"".join([(8 + sum(map(len, pieces))).to_bytes(4, "big"), kind, *pieces])


def _full(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, (version << 24 | flags).to_bytes(4, "big"), body)


def _told(texts: dict[str, str]) -> bytes:
    """User data as iTunes and every player reads it."""
    items = b"".join(
        _box(name.encode("latin-1"), _box(b"data", struct.pack(">II", 1, 0), text.encode()))
        for name, text in texts.items()
    )
    handler = _full(b"hdlr", bytes(4) + b"mdirappl" + bytes(9))
    return _box(b"udta", _full(b"meta", handler + _box(b"ilst", items)))


def _track(number: int, start: float, track: Video | Audio) -> bytes:
    when = round(start) + _SINCE_1904
    if isinstance(track, Video):
        clock, kind, volume, size = CLOCK, b"vide", 0, (track.width << 16, track.height << 16)
        media, entry = _full(b"vmhd", bytes(8), 0, 1), _video_entry(track)
    else:
        clock, kind, volume, size = track.rate, b"soun", 1 << 8, (0, 0)
        media, entry = _full(b"smhd", bytes(4)), _audio_entry(track)
    head = struct.pack(">QQI4xQ8xHHH2x", when, when, number, 0, 0, 0, volume) + _MATRIX + struct.pack(">II", *size)
    empty = _full(b"stts", bytes(4)) + _full(b"stsc", bytes(4)) + _full(b"stsz", bytes(8)) + _full(b"stco", bytes(4))
    where = _box(b"dinf", _full(b"dref", b"\0\0\0\1" + _full(b"url ", b"", 0, 1)))
    table = _box(b"stbl", _full(b"stsd", b"\0\0\0\1" + entry), empty)
    described = _full(b"mdhd", struct.pack(">QQIQHH", when, when, clock, 0, 0x55C4, 0), 1)  # language: undetermined
    handler = _full(b"hdlr", bytes(4) + kind + bytes(12) + b"anonymizer\0")
    return _box(
        b"trak", _full(b"tkhd", head, 1, 3), _box(b"mdia", described, handler, _box(b"minf", media, where, table))
    )


def _video_entry(video: Video) -> bytes:
    entry = struct.pack(">6xH16xHHIIIH32xHh", 1, video.width, video.height, 72 << 16, 72 << 16, 0, 1, 24, -1)
    if video.codec == "h264":
        return _box(b"avc1", entry, _box(b"avcC", _avc(video)))
    if video.codec == "h265":
        return _box(b"hvc1", entry, _box(b"hvcC", _hevc(video)))
    return _box(b"mp4v", entry, _esds(0x6C, 4, b""))  # JPEG


def _avc(video: Video) -> bytes:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    sps = [nal for nal in video.sets if nal[0] & 31 == 7]
    pps = [nal for nal in video.sets if nal[0] & 31 == 8]
    body = b"\1" + sps[0][1:4] + b"\xff" + bytes([0xE0 | len(sps)]) + _listed(sps) + bytes([len(pps)]) + _listed(pps)
    if sps[0][1] in (100, 110, 122, 144):
        body += bytes([0xFC | video.chroma, 0xF8 | video.depth - 8, 0xF8 | video.depth - 8, 0])
    return body


def _hevc(video: Video) -> bytes:
    """HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1)."""
    arrays = []
    for kind in (32, 33, 34):
        nals = [nal for nal in video.sets if nal[0] >> 1 & 63 == kind]
        arrays.append(struct.pack(">BH", 0x80 | kind, len(nals)) + _listed(nals))
    sps = next(nal for nal in video.sets if nal[0] >> 1 & 63 == 33)
    plain = sps[2:].replace(b"\0\0\3", b"\0\0")  # without emulation prevention
    layers = (plain[0] >> 1 & 7) + 1
    return (
        b"\1" + plain[1:13]  # profile, compatibility, constraints, level
        + struct.pack(">HBBBBHBB", 0xF000, 0xFC, 0xFC | video.chroma, 0xF8 | video.depth - 8, 0xF8 | video.depth - 8, 0,
                      layers << 3 | (plain[0] & 1) << 2 | 3, len(arrays))
        + b"".join(arrays)
    )  # fmt: skip


def _listed(nals: Sequence[bytes]) -> bytes:
    return b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _audio_entry(audio: Audio) -> bytes:
    entry = struct.pack(">6xH8xHH4xI", 1, audio.channels, 16, audio.rate << 16 & 0xFFFFFFFF)
    if audio.codec == "aac":
        return _box(b"mp4a", entry, _esds(0x40, 5, audio.config))
    return _box(b"ulaw" if audio.codec == "pcmu" else b"alaw", entry)


def _esds(kind: int, stream: int, config: bytes) -> bytes:
    """An elementary stream descriptor (ISO/IEC 14496-1, 7.2.6.5). kind: objectTypeIndication."""
    decoder = struct.pack(">BB3xII", kind, stream << 2 | 1, 0, 0) + (_descriptor(5, config) if config else b"")
    return _full(b"esds", _descriptor(3, b"\0\0\0" + _descriptor(4, decoder) + _descriptor(6, b"\2")))


def _descriptor(tag: int, body: bytes) -> bytes:
    return bytes([tag, 0x80, 0x80, 0x80 | len(body) >> 7, len(body) & 127]) + body


# Reading what was written here


@dataclass(frozen=True, slots=True)
class Part:
    """One whole fragment in a file. at, size: bytes. wall: UTC seconds of its first picture. start: its decoding time;
    durations: ticks; keys: whether a picture can be decoded alone."""

    at: int
    size: int
    wall: float
    start: int
    durations: tuple[int, ...]
    keys: tuple[bool, ...]


def boxes(data: bytes | memoryview, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of the body, end) of the boxes between two places; ends before one that is not whole."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > end:
            return
        yield bytes(data[at + 4 : at + 8]), at + 8, at + size
        at += size


def parts(data: bytes | memoryview) -> tuple[int, list[Part]]:
    """(bytes of the header, the whole fragments) of a file; 0 where even the header is cut off."""
    found: list[Part] = []
    front, wall, reference, moof = 0, 0.0, 0, (0, 0)
    known = False
    for kind, start, end in boxes(data):
        if kind == b"prft":
            wall = struct.unpack_from(">Q", data, start + 8)[0] / (1 << 32) - _SINCE_1900
            reference = start - 8
        elif kind == b"moof":
            moof = start, end
        elif kind == b"mdat":
            found.append(_part(data, reference, end, wall, *moof))
        elif not found:
            front = end
            known |= kind == b"moov"
    return (front, found) if known else (0, [])


def _part(data: bytes | memoryview, at: int, end: int, wall: float, moof: int, moof_end: int) -> Part:
    first = 0
    durations: tuple[int, ...] = ()
    keys: tuple[bool, ...] = ()
    for kind, start, stop in boxes(data, moof, moof_end):
        if kind != b"traf":
            continue
        inner = {name: place for name, place, _ in boxes(data, start, stop)}
        if int.from_bytes(data[inner[b"tfhd"] + 4 : inner[b"tfhd"] + 8], "big") != VIDEO:
            continue
        (first,) = struct.unpack_from(">Q", data, inner[b"tfdt"] + 4)
        (count,) = struct.unpack_from(">I", data, inner[b"trun"] + 4)
        rows = list(struct.iter_unpack(">IIIi", data[inner[b"trun"] + 12 : inner[b"trun"] + 12 + 16 * count]))
        durations, keys = tuple(row[0] for row in rows), tuple(row[2] == _KEY for row in rows)
    return Part(at, end - at, wall, first, durations, keys)


def _media(header: bytes) -> Iterator[tuple[int, int]]:
    """The bodies of the tracks' ``mdia`` boxes."""
    for kind, start, end in boxes(header):
        for inner, a, b in boxes(header, start, end) if kind == b"moov" else ():
            for name, c, d in boxes(header, a, b) if inner == b"trak" else ():
                if name == b"mdia":
                    yield c, d


def rates(header: bytes) -> dict[int, int]:
    """Ticks a second by track."""
    found = [next(at for kind, at, _ in boxes(header, *media) if kind == b"mdhd") for media in _media(header)]
    return {
        track: struct.unpack_from(">I", header, at + 20)[0] for track, at in zip((VIDEO, AUDIO), found, strict=False)
    }


def descriptions(header: bytes) -> Iterator[tuple[int, int]]:
    """Where the sample descriptions of the tracks lie."""
    for media in _media(header):
        minf = next((a, b) for kind, a, b in boxes(header, *media) if kind == b"minf")
        stbl = next((a, b) for kind, a, b in boxes(header, *minf) if kind == b"stbl")
        yield next((a, b) for kind, a, b in boxes(header, *stbl) if kind == b"stsd")


def moved(data: bytes, number: int, seconds: float, rates: dict[int, int]) -> bytes:
    """A fragment with another number, all its times shifted. rates: ticks a second by track."""
    edited = bytearray(data)
    for kind, start, end in boxes(data):
        if kind == b"prft":
            (track,) = struct.unpack_from(">I", data, start + 4)
            _shift(edited, start + 16, seconds, rates[track])
        if kind != b"moof":
            continue
        for name, place, stop in boxes(data, start, end):
            if name == b"mfhd":
                struct.pack_into(">I", edited, place + 4, number)
            elif name == b"traf":
                inner = {known: at for known, at, _ in boxes(data, place, stop)}
                (track,) = struct.unpack_from(">I", data, inner[b"tfhd"] + 4)
                _shift(edited, inner[b"tfdt"] + 4, seconds, rates[track])
    return bytes(edited)


def _shift(data: bytearray, at: int, seconds: float, rate: int) -> None:
    (ticks,) = struct.unpack_from(">Q", data, at)
    struct.pack_into(">Q", data, at, max(0, ticks + round(seconds * rate)))


def durations(times: Sequence[float], following: float, rate: int) -> list[int]:
    """Ticks between times, and up to the following one, rounded so that errors do not add up."""
    ticks = [round(time * rate) for time in (*times, following)]
    return [max(0, after - before) for before, after in pairwise(ticks)]
