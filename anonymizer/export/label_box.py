"""The synthetic-content label in an MP4 (XMP): whether it is there, and the box that puts it there."""

from __future__ import annotations

import os
from pathlib import Path

from anonymizer.record import label, mp4

_LONGEST = 1 << 20  # bytes of a packet that we would read


class NoVideo(ValueError):
    """A file that is no MP4, in plain words."""


def missing(path: Path, camera: str, start: float) -> bytes:
    """What must follow the file's last byte so that it carries the label; empty where it does. start: UTC seconds.

    A box at the end of an MP4 moves no other, so every player takes it. OSError; NoVideo.
    """
    if _labelled(path):
        return b""
    body = mp4.XMP + label.xmp(camera, start)
    return (8 + len(body)).to_bytes(4, "big") + b"uuid" + body


def _labelled(path: Path) -> bool:
    """Walk the outer boxes (ISO/IEC 14496-12, 4.2) up to the file's end."""
    found, movie = False, False
    with path.open("rb") as file:
        at, size = 0, os.fstat(file.fileno()).st_size
        while at < size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if len(head) < 8 or length < 8 or at + length > size:
                raise NoVideo(f"{path} is no whole MP4")
            movie |= head[4:8] == b"moov"
            if head[4:8] == b"uuid" and length <= _LONGEST:
                file.seek(at + 8)
                body = file.read(length - 8)
                found |= body.startswith(mp4.XMP) and label.SOURCE_TYPE.encode() in body
            at += length
    if not movie:
        raise NoVideo(f"{path} is no MP4")
    return found
