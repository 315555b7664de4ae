"""Writes a package: one file, signed, on disk whole or not at all, sealed to its recipients where some are named."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.errors import ConfigError, PublishError
from anonymizer.export import archive, label_box, manifest, page, statement, trail
from anonymizer.export.archive import CHUNK, Member
from anonymizer.export.contents import Contents, Video, plain
from anonymizer.export.manifest import Content
from anonymizer.record import chain, keys

_SECRETS = (b"AGE-SECRET-KEY-1", b"PRIVATE KEY-----")


@dataclass(frozen=True, slots=True)
class Written:
    """What lies on disk now. sha256: of the file, as it is handed over; manifest: SHA-256 of the manifest."""

    path: Path
    bytes: int
    sha256: str
    manifest: str


def write(
    path: Path, contents: Contents, key: Ed25519PrivateKey, now: float, recipients: Sequence[str] = (),
    progress: Callable[[float], None] = lambda done: None, stamp: Callable[[bytes], bytes] | None = None,
) -> Written:  # fmt: skip
    """Write a package. recipients: age public keys; empty for a package that anyone can open. now: UTC seconds.
    progress: told the share that is done, 0 to 1. stamp: gives a timestamp for the manifest, as ``timestamp.ask`` does.
    A file of that name is replaced, once the new one is whole.

    ConfigError for contents that make no package, or a recipient that is none; PublishError where a video cannot be
    read, is no MP4 or changes meanwhile, or the disk takes no more.
    """
    sealed_to = [keys.recipient(text) for text in recipients]
    stored = _stored(contents, key, now, stamp, lambda done: progress(done / 2))
    stream = _Stream(stored.stream(lambda done: progress(0.5 + done / 2)))
    part = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            counted = _Counted(file)
            if sealed_to:
                pyrage.encrypt_io(stream, counted, sealed_to)
            else:
                while chunk := stream.read(CHUNK):
                    counted.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync(path.parent)
    except (OSError, pyrage.EncryptError) as error:
        if stream.error is not None:
            raise stream.error from None
        raise PublishError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return Written(path, counted.size, counted.digest.hexdigest(), stored.manifest)


@dataclass(frozen=True, slots=True)
class _Stored:
    """members: sorted by name. tails: what a video gets after its last byte."""

    members: Sequence[Member]
    texts: Mapping[str, bytes]
    videos: Mapping[str, Video]
    tails: Mapping[str, bytes]
    manifest: str

    def stream(self, progress: Callable[[float], None]) -> Iterator[bytes]:
        """The package's bytes."""
        done, whole = 0, sum(member.size for member in self.members) or 1
        for member in self.members:
            yield archive.local(member)
            if member.name in self.texts:
                yield self.texts[member.name]
            else:
                yield from self._video(member)
            done += member.size
            progress(done / whole)
        yield archive.end(self.members)

    def _video(self, member: Member) -> Iterator[bytes]:
        size, crc, video = 0, 0, self.videos[member.name]
        for chunk in _read(video.path, self.tails[member.name]):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
            if size > member.size:
                break
            yield chunk
        if (size, crc) != (member.size, member.crc):
            raise PublishError(f"{video.path} was changed while it was exported; export again")


def _stored(
    contents: Contents, key: Ed25519PrivateKey, now: float, stamp: Callable[[bytes], bytes] | None,
    progress: Callable[[float], None],
) -> _Stored:  # fmt: skip
    """Look at everything once: names, sizes, hashes."""
    signer = chain.public_text(key)
    if wrong := trail.verify(contents.trail.lines, contents.trail.head, contents.id, signer):
        raise ConfigError(f"{wrong[0]}; was the signing key rotated since it was made? Export anew")
    videos = {manifest.VIDEOS + video.name: video for video in contents.videos}
    unfit = [name for name in videos if not archive.valid_name(name) or not name.endswith(".mp4")]
    if unfit or len(videos) < len(contents.videos):
        raise ConfigError(
            f"videos need names of their own that end in .mp4, of letters, digits, '.', '_', '-': {unfit}"
        )
    members, hashed, tails = [], {}, {}
    for number, (name, video) in enumerate(videos.items()):
        try:
            tails[name] = label_box.missing(video.path, video.camera, video.start)
        except label_box.NoVideo as error:
            raise PublishError(str(error)) from error
        except OSError as error:
            raise PublishError(f"{video.path} cannot be read: {error.strerror}") from error
        member, hashed[name] = _look(name, _read(video.path, tails[name]))
        members.append(member)
        progress((number + 1) / len(videos))
    texts = _texts(contents, now)
    for name, data in texts.items():
        if any(secret in data for secret in _SECRETS):
            raise ConfigError(f"a private key stands in what would become {name}; nothing was written")
        member, hashed[name] = _look(name, [data])
        members.append(member)
    try:
        said = manifest.build(contents, hashed, signer, now)
    except ValueError as error:
        raise ConfigError(f"the package's contents cannot be written as JSON: {error}") from error
    token = b"" if stamp is None else stamp(said)
    about = {manifest.FILE: said, manifest.SIGNATURE: manifest.sign(key, said, token)}
    about |= {manifest.TIMESTAMP: token} if token else {}
    members += [_look(name, [data])[0] for name, data in about.items()]
    texts |= about
    members.sort(key=lambda member: member.name)
    if len(members) > archive.MOST_MEMBERS:
        raise ConfigError(f"{len(videos)} videos are too many for one package; make several")
    return _Stored(members, texts, videos, tails, hashlib.sha256(said).hexdigest())


def _texts(contents: Contents, now: float) -> dict[str, bytes]:
    """Every file that is neither a video nor the manifest."""
    log = {"tracks": contents.redactions, "covered": contents.covered, "doubts": contents.doubts}
    records = {
        "request": contents.request,
        "processing": {"software": contents.software, "record": contents.processing},
        "redactions": {**log, "signoff": contents.signoff},
        "completeness": contents.completeness,
        "identifiability": contents.identifiability,
        "notice": contents.notice,
        "retention": contents.retention,
    }
    try:
        texts = {f"{name}.json": manifest.pretty(plain(record)) for name, record in records.items()}
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the package's contents cannot be written as JSON: {error}") from error
    from anonymizer.export import document

    told = statement.sections(contents, now)
    readable = {"index.html": page.render(told), "report.pdf": document.render(told, now)}
    return {
        **texts,
        **readable,
        manifest.AUDIT: b"".join(contents.trail.lines),
        manifest.AUDIT_HEAD: contents.trail.head,
    }


def _look(name: str, chunks: Iterable[bytes]) -> tuple[Member, Content]:
    size, crc, digest = 0, 0, hashlib.sha256()
    for chunk in chunks:
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        digest.update(chunk)
    return Member(name, size, crc), Content(size, digest.hexdigest())


def _read(path: Path, tail: bytes) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}") from error
    if tail:
        yield tail


class _Stream:
    """A generator of bytes as something to read from. error: what went wrong in it: who reads may only say that
    something did."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int, /) -> bytes:
        try:
            while not self._left:
                self._left = memoryview(next(self._chunks))
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        taken, self._left = self._left[:size], self._left[size:]
        return bytes(taken)


class _Counted:
    """A file that is written once, and what was written: size and hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size, self.digest = 0, hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        self._file.write(data)
        self.size += len(data)
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def _sync(folder: Path) -> None:
    """Make a file's new name outlive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
