from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest

from anonymizer.export import archive
from anonymizer.export.archive import Malformed, Member
from tests.export.packages import packed

CONTENT = {"audit.jsonl": b"", "index.html": b"<p>", "videos/a.mp4": b"a" * 3000}


def names(data: bytes) -> list[str]:
    return [member.name for member, _ in archive.read(io.BytesIO(data))]


def test_any_tool_for_zip_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(packed(CONTENT))
    with zipfile.ZipFile(path) as tool:
        assert tool.testzip() is None
        assert {name: tool.read(name) for name in tool.namelist()} == CONTENT
        assert all(entry.external_attr >> 16 == 0o100644 for entry in tool.infolist())
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tq", path], check=True, capture_output=True)


@pytest.mark.parametrize("size", [0xFFFF_FFFE, 0xFFFF_FFFF, 0x1_0000_0000, 5 << 32])
def test_members_beyond_4_gib(tmp_path: Path, size: int) -> None:
    """A sparse file: the first member is a hole, the second lies behind it."""
    first, second = Member("a", size, 0), Member("b", 5, zlib.crc32(b"after"))
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(archive.local(first))
        file.seek(size, 1)
        file.write(archive.local(second) + b"after" + archive.end([first, second]))
    with zipfile.ZipFile(path) as tool:
        assert [(entry.filename, entry.file_size) for entry in tool.infolist()] == [("a", size), ("b", 5)]
        assert tool.read("b") == b"after"
        with tool.open("a") as content:
            assert content.read(10) == bytes(10)
    with path.open("rb") as file:
        member, chunks = next(archive.read(file))
        assert member == first and next(iter(chunks)) == bytes(archive.CHUNK)


def test_what_is_not_taken_is_checked_all_the_same() -> None:
    data = packed(CONTENT)
    at = data.index(b"aaa")
    with pytest.raises(Malformed, match=r"the content of videos/a\.mp4 was changed"):
        names(data[:at] + b"b" + data[at + 1 :])


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "videos/../a", "videos/", ".a", "a b", "ä", "", "a" * 101])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    assert not archive.valid_name(name)
    raw = name.encode("latin-1")
    head = struct.pack("<HHHIIIIHH", 20, 0, 0, 0x21 << 16, 0, 0, 0, len(raw), 0)
    with pytest.raises(Malformed, match="no name of a file in a package"):
        names(b"PK\3\4" + head + raw)


def test_members_stand_once_and_in_order() -> None:
    def of(*order: str) -> bytes:
        members = [Member(name, 0, 0) for name in order]
        return b"".join(map(archive.local, members)) + archive.end(members)

    assert names(of("a", "b")) == ["a", "b"]
    for order in (("b", "a"), ("a", "a")):
        with pytest.raises(Malformed, match="stands twice or in the wrong place"):
            names(of(*order))


def test_a_table_of_contents_that_says_something_else_is_found() -> None:
    """What tools that read the table alone would show."""
    shown, hidden = Member("a", 1, zlib.crc32(b"x")), Member("b", 1, zlib.crc32(b"x"))
    body = archive.local(shown) + b"x" + archive.local(hidden) + b"x"
    for forged in (body + archive.end([shown]), body + b"gap" + archive.end([shown, hidden]), body + archive.end([])):
        with pytest.raises(Malformed):
            names(forged)
    whole = body + archive.end([shown, hidden])
    comment = whole[:-2] + struct.pack("<H", 3) + b"say"
    for forged in (comment, whole + b"\n", whole[:-1], b"#!/bin/sh\n" + whole, whole + whole):
        with pytest.raises(Malformed):
            names(forged)


def test_an_endless_member_costs_no_memory() -> None:
    class Endless:
        taken = 0

        def read(self, size: int, /) -> bytes:
            self.taken = max(self.taken, size)
            return head.read(size) or bytes(size)

    head = io.BytesIO(archive.local(Member("a", archive.LARGEST, 1)))
    source = Endless()
    _, chunks = next(archive.read(source))
    for _ in range(5):
        next(chunks)
    assert source.taken == archive.CHUNK
    with pytest.raises(Malformed, match="was changed"):
        names(archive.local(Member("a", archive.LARGEST + 1, 1)))


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    with pytest.raises(Malformed, match="more than 2 files"):
        names(packed(CONTENT))
