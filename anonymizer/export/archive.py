"""The package's file format: a ZIP whose every byte follows from its members' names, sizes and content. Pure.

Stored, sorted by name, without times, comments or extra fields but ZIP64's: whoever reads it makes the framing anew and
compares, so nothing can hide in it, and no member can be larger than what is really there. Any tool for ZIP opens it.
Format: PKWARE APPNOTE 6.3.10.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

CHUNK = 1 << 20
MOST_MEMBERS = 10_000
LARGEST = 1 << 44
"""Bytes of one member at most: 16 TiB."""
_NAME = re.compile(r"(videos/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCAL, _CENTRAL, _END, _END64, _LOCATOR = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7"
_FULL = 0xFFFF_FFFF  # says that the extra field of ZIP64 has the number
_STORED, _MIDNIGHT = 0, 0x21 << 16  # method; 1980-01-01 00:00, the earliest that can be written
_FILE = 0o100644 << 16  # attributes of a plain file


class Malformed(ValueError):
    """Bytes that are no package of ours, in plain words."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """crc: CRC-32 of the content, as ZIP wants it before the content."""

    name: str
    size: int
    crc: int


def valid_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def local(member: Member) -> bytes:
    """What stands before a member's content."""
    name, large = member.name.encode("ascii"), member.size >= _FULL
    extra = struct.pack("<HHQQ", 1, 16, member.size, member.size) if large else b""
    size = _FULL if large else member.size
    fixed = struct.pack(
        "<HHHIIIIHH", 45 if large else 20, 0, _STORED, _MIDNIGHT, member.crc, size, size, len(name), len(extra)
    )
    return _LOCAL + fixed + name + extra


def end(members: Sequence[Member]) -> bytes:
    """What stands after the last member: the central directory."""
    entries, offset = [], 0
    for member in members:
        entries.append(_central(member, offset))
        offset += len(local(member)) + member.size
    directory, count = b"".join(entries), len(members)
    tail = b""
    if offset >= _FULL or len(directory) >= _FULL:
        tail = _END64 + struct.pack("<QHHIIQQQQ", 44, 0x0300 | 45, 45, 0, 0, count, count, len(directory), offset)
        tail += _LOCATOR + struct.pack("<IQI", 0, offset + len(directory), 1)
    last = struct.pack("<HHHHIIH", 0, 0, count, count, min(len(directory), _FULL), min(offset, _FULL), 0)
    return directory + tail + _END + last


def _central(member: Member, offset: int) -> bytes:
    name, large, far = member.name.encode("ascii"), member.size >= _FULL, offset >= _FULL
    more = [member.size, member.size] * large + [offset] * far
    extra = struct.pack(f"<HH{len(more)}Q", 1, 8 * len(more), *more) if more else b""
    version, size = 45 if more else 20, _FULL if large else member.size
    fixed = struct.pack(
        "<HHHHIIIIHHHHHII", 0x0300 | version, version, 0, _STORED, _MIDNIGHT, member.crc, size, size, len(name),
        len(extra), 0, 0, 0, _FILE, _FULL if far else offset,
    )  # fmt: skip
    return _CENTRAL + fixed + name + extra


def read(file: Readable) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Each member and its content in chunks, in one pass; content that was not taken is skipped, and checked.

    Malformed at the first byte that is not as we write it, at the latest after the last member.
    """
    members: list[Member] = []
    while (mark := _exactly(file, 4)) == _LOCAL:
        member = _member(file)
        if members and member.name <= members[-1].name:
            raise Malformed(f"{member.name} stands twice or in the wrong place")
        if len(members) == MOST_MEMBERS:
            raise Malformed(f"it has more than {MOST_MEMBERS} files")
        members.append(member)
        content = _content(file, member)
        yield member, content
        for _ in content:
            pass
    if not members:
        raise Malformed("it is no package")
    due = end(members)
    if mark + _up_to(file, len(due) - 3) != due:
        raise Malformed("its table of contents does not fit what is in it, or something follows it")


def _member(file: Readable) -> Member:
    fixed = _exactly(file, 26)
    *_, crc, size, _, name_size, extra_size = struct.unpack("<HHHIIIIHH", fixed)
    if name_size > 128 or extra_size > 32:
        raise Malformed("a file's head is none of ours")
    name, extra = _exactly(file, name_size), _exactly(file, extra_size)
    if size == _FULL and extra_size == 20:
        size = struct.unpack_from("<Q", extra, 4)[0]
    text = name.decode("ascii", "replace")
    if not valid_name(text):
        raise Malformed(f"{text[:100]!r} is no name of a file in a package")
    member = Member(text, size, crc)
    if size > LARGEST or local(member) != _LOCAL + fixed + name + extra:
        raise Malformed(f"the head of {text} was changed")
    return member


def _content(file: Readable, member: Member) -> Iterator[bytes]:
    left, crc = member.size, 0
    while left:
        chunk = file.read(min(left, CHUNK))
        if not chunk:
            raise Malformed(f"it ends inside {member.name}: it was cut off")
        left -= len(chunk)
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if crc != member.crc:
        raise Malformed(f"the content of {member.name} was changed")


def _up_to(file: Readable, most: int) -> bytes:
    """Up to ``most`` bytes: fewer only where the file ends."""
    got = b""
    while len(got) < most and (chunk := file.read(most - len(got))):
        got += chunk
    return got


def _exactly(file: Readable, size: int) -> bytes:
    got = _up_to(file, size)
    if len(got) < size:
        raise Malformed("it is no package, or its end was cut off")
    return got
