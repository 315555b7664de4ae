"""The audit's format: a chain of hashes with signed checkpoints. Pure.

One JSON object a line, keys sorted. ``hash`` is the SHA-256 of the line without it, ``before`` the previous line's
hash. A checkpoint's ``signature`` (Ed25519) covers its number and ``before``, so everything up to it. The head, a file
beside the audit, is a checkpoint of the newest line: without it a cut at the end would not show.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

START = "0" * 64
"""``before`` of the first line."""
BEGUN, CHECKPOINT, ROTATED, HEALED = "audit begun", "checkpoint", "signing key rotated", "audit healed"
_CONTEXT = b"anonymizer audit v1\0"


class Broken(ValueError):
    """A line that is no entry of this chain."""


@dataclass(frozen=True, slots=True)
class Entry:
    """number: from 0. time: UTC, RFC 3339. said: particulars, JSON data. before, hash: SHA-256, hexadecimal."""

    number: int
    time: str
    kind: str
    said: dict[str, Any]
    before: str
    hash: str

    @classmethod
    def make(cls, number: int, time: str, kind: str, said: dict[str, Any], before: str) -> Entry:
        body = _body(number, time, kind, said, before)
        return cls(number, time, kind, said, before, hashlib.sha256(body).hexdigest())

    def line(self) -> bytes:
        body = {"before": self.before, "hash": self.hash, "kind": self.kind, "n": self.number, "said": self.said}
        return _canonical({**body, "time": self.time}) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Entry:
        """An entry from its line, end of line included. Broken where a byte of it is not as it was written."""
        try:
            data = json.loads(line)
            entry = cls(data["n"], data["time"], data["kind"], data["said"], data["before"], data["hash"])
            made = cls.make(entry.number, entry.time, entry.kind, entry.said, entry.before)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Broken("cannot be read") from error
        if made.hash != entry.hash or entry.line() != line:
            raise Broken("was changed: its hash does not fit")
        return entry


def _body(number: int, time: str, kind: str, said: dict[str, Any], before: str) -> bytes:
    return _canonical({"before": before, "kind": kind, "n": number, "said": said, "time": time})


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Head:
    """A signed checkpoint of the newest entry. count: entries so far; hash: the newest one's."""

    count: int
    hash: str
    signature: str

    @classmethod
    def sign(cls, key: Ed25519PrivateKey, count: int, newest: str) -> Head:
        return cls(count, newest, sign(key, count, newest))

    def line(self) -> bytes:
        return _canonical({"count": self.count, "hash": self.hash, "signature": self.signature}) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Head:
        try:
            value = json.loads(data)
            return cls(int(value["count"]), str(value["hash"]), str(value["signature"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Broken("the head cannot be read") from error


def sign(key: Ed25519PrivateKey, number: int, before: str) -> str:
    return base64.b64encode(key.sign(_signed(number, before))).decode()


def signed_by(key: Ed25519PublicKey, signature: Any, number: int, before: str, extra: str = "") -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), _signed(number, before, extra))
    except (InvalidSignature, binascii.Error, ValueError, TypeError):
        return False
    return True


def _signed(number: int, before: str, extra: str = "") -> bytes:
    return _CONTEXT + _canonical([number, before, extra] if extra else [number, before])


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """A public key as it stands in files and messages: 32 bytes in base64."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.b64encode(public.public_bytes_raw()).decode()


def public_key(text: Any) -> Ed25519PublicKey:
    """ValueError where the text is no key."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, TypeError) as error:
        raise ValueError("this is no Ed25519 public key in base64") from error


def begun(key: Ed25519PrivateKey, **more: Any) -> dict[str, Any]:
    """What the first entry says."""
    return {"key": public_text(key), **more}


def checkpoint(key: Ed25519PrivateKey, number: int, before: str) -> dict[str, Any]:
    return {"signature": sign(key, number, before)}


def rotated(old: Ed25519PrivateKey, new: Ed25519PrivateKey, number: int, before: str) -> dict[str, Any]:
    """The old key's word that from here on the new one signs."""
    text = public_text(new)
    return {"key": text, "signature": base64.b64encode(old.sign(_signed(number, before, text))).decode()}


@dataclass(slots=True)
class Report:
    """What holds of an audit. problems: what does not, in plain words; empty where all holds. notes: what is no
    problem and still worth knowing. signers: public keys in the order in which they signed. trusted: whether one of
    them is a key that the reader trusts; None where none was named. unsigned: entries after the last signature."""

    entries: int = 0
    newest: str = START
    checkpoints: int = 0
    unsigned: int = 0
    signers: list[str] = field(default_factory=list)
    trusted: bool | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems and self.trusted is not False


def read(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a chain, checked one by one. Broken, with the line's number, at the first that does not fit."""
    number, before = 0, START
    for line in lines:
        try:
            entry = Entry.parse(line)
        except Broken as error:
            raise Broken(f"line {number + 1} {error}") from error
        if entry.number != number:
            raise Broken(f"line {number + 1} has the number {entry.number} where {number} is due: lines are missing, "
                         "doubled or moved")  # fmt: skip
        if entry.before != before:
            raise Broken(f"line {number + 1} does not continue the line before it: something was cut out, put in, "
                         "reordered, or another chain begins")  # fmt: skip
        yield entry
        number, before = number + 1, entry.hash


def verify(
    lines: Iterable[bytes], head: bytes | None, trust: Iterable[str] = (), expect: tuple[int, str] | None = None
) -> Report:
    """Check a whole audit. trust: public keys that the reader believes. expect: (entries, hash) that some copy kept
    elsewhere says were there once."""
    check = _Check(head, expect)
    try:
        for entry in read(lines):
            check.take(entry)
    except Broken as error:
        check.report.problems.append(str(error))
    report = check.finish(head is None)
    if trusted := set(trust):
        report.trusted = not trusted.isdisjoint(report.signers)
    return report


class _Check:
    def __init__(self, head: bytes | None, expect: tuple[int, str] | None) -> None:
        self.report = Report()
        self._expect = expect
        self._head: Head | None = None
        self._keys: list[tuple[int, Ed25519PublicKey]] = []  # each with the number of the entry that brought it
        self._hashes: dict[int, str] = {}  # of the entries that somebody asks for, by the count up to them
        if head is not None:
            try:
                self._head = Head.parse(head)
            except Broken as error:
                self.report.problems.append(str(error))

    def take(self, entry: Entry) -> None:
        report = self.report
        report.entries, report.newest = entry.number + 1, entry.hash
        report.unsigned += 1
        if (self._head and self._head.count == report.entries) or (self._expect and self._expect[0] == report.entries):
            self._hashes[report.entries] = entry.hash
        try:
            self._follow(entry)
        except ValueError as error:
            report.problems.append(f"line {entry.number + 1}: {error}")
        if entry.kind == HEALED:
            report.notes.append(f"line {entry.number + 1}: a torn last line was removed when the audit was opened")

    def _follow(self, entry: Entry) -> None:
        """Check what an entry signs."""
        if entry.number == 0:
            if entry.kind != BEGUN:
                raise ValueError("the first line does not begin an audit")
            if aside := entry.said.get("set_aside"):
                self.report.problems.append(f"an audit before this one was broken and set aside: {aside}")
            self._trust_from(entry)
        elif entry.kind == BEGUN:
            raise ValueError("a second beginning")
        elif entry.kind in (CHECKPOINT, ROTATED):
            new = str(entry.said.get("key")) if entry.kind == ROTATED else ""
            if not self._keys or not signed_by(
                self._keys[-1][1], entry.said.get("signature"), entry.number, entry.before, new
            ):
                raise ValueError("the signature does not fit")
            self.report.unsigned = 0
            if new:
                self._trust_from(entry)
            else:
                self.report.checkpoints += 1

    def _trust_from(self, entry: Entry) -> None:
        key = public_key(entry.said.get("key"))
        self._keys.append((entry.number, key))
        self.report.signers.append(public_text(key))

    def finish(self, headless: bool) -> Report:
        report, head = self.report, self._head
        if not report.entries and not report.problems:
            report.problems.append("the audit is empty")
        if headless:
            report.problems.append("the head is missing: whether lines were cut off at the end cannot be said")
        if head is not None:
            signers = [key for number, key in self._keys if number < head.count][-1:]
            # Between the entry that brings a new key and its own head, a crash leaves the old key's head.
            if not any(signed_by(key, head.signature, head.count, head.hash) for key in signers):
                report.problems.append("the head's signature does not fit")
            elif head.count > report.entries:
                report.problems.append(f"{head.count} entries are signed, {report.entries} are there: the end was cut")
            elif self._hashes.get(head.count) != head.hash:
                report.problems.append(f"entry {head.count} is not the one that was signed")
            else:
                report.unsigned = report.entries - head.count
                if report.unsigned:
                    report.notes.append(f"the last {report.unsigned} entries are not signed")
        if self._expect is not None and self._hashes.get(self._expect[0]) != self._expect[1]:
            report.problems.append(
                f"entry {self._expect[0]} is not the expected one: the audit was cut, or replaced by another"
            )
        return report


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
