"""Whether a package is what its signer made: every byte of it, in one pass, without a network."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Literal

import pyrage
from cryptography.x509 import Certificate
from pyrage.x25519 import Identity

from anonymizer.errors import ConfigError
from anonymizer.export import archive, manifest, timestamp, trail
from anonymizer.export.archive import Malformed, Readable
from anonymizer.export.manifest import Content, Manifest, Untrue

Outcome = Literal["valid", "unproven", "broken"]
_SEALED, _ARMOURED = b"age-encryption.org/", b"-----BEGIN AGE"
_KEPT = {
    manifest.FILE: manifest.LARGEST,
    manifest.SIGNATURE: 1 << 12,
    manifest.TIMESTAMP: timestamp.LARGEST,
    manifest.AUDIT: 64 << 20,
    manifest.AUDIT_HEAD: 1 << 12,
    manifest.REQUEST: 1 << 20,
}
"""Files that are looked into, and the bytes of each at most."""
_APART = 3600.0  # seconds between the signer's clock and the authority's
_SHOWN = 20  # problems of one kind that are told one by one


@dataclass(slots=True)
class Report:
    """What holds and what does not, in plain words. valid: all holds, and a key that the reader trusts signed it.
    unproven: all holds in itself, and anyone may have made it. broken: problems says what was changed or is missing.
    notes: no fault, and worth knowing. The rest is what the package says of itself; empty where that is not known to be
    what its signer wrote."""

    outcome: Outcome = "broken"
    holds: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    signer: str = ""
    package: str = ""
    case: str = ""
    kind: str = ""
    created: str = ""
    software: str = ""
    files: int = 0


def verify(file: Readable, trust: Collection[str], roots: Sequence[Certificate] = ()) -> Report:
    """Check a package that is open to be read from its first byte. trust: public keys as ``chain.public_text``. roots:
    certificates of timestamp authorities that the reader believes; ConfigError where they need an extra."""
    report = Report()
    found: dict[str, Content] = {}
    kept: dict[str, bytes] = {}
    try:
        for member, chunks in archive.read(file):
            limit = _KEPT.get(member.name, 0)
            if limit and member.size > limit:
                raise Malformed(f"{member.name} is larger than any package's")
            content: list[bytes] | None = [] if limit else None
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
                if content is not None:
                    content.append(chunk)
            found[member.name] = Content(member.size, digest.hexdigest())
            if content is not None:
                kept[member.name] = b"".join(content)
    except Malformed as error:
        report.problems.append(f"The file is not as it was made: {error}.")
        return report
    report.holds.append("The file is whole: nothing was added to it, moved or cut off.")
    try:
        said = _signed(kept, report)
    except Untrue as error:
        report.problems.append(f"Who made it cannot be told: {error}.")
        return report
    _compare(said, found, report)
    _look_inside(said, kept, report)
    _look_at_time(said, kept, roots, report)
    if not report.problems:
        _conclude(said, trust, report)
    return report


def certificate(data: bytes, signature: bytes, trust: Collection[str]) -> Report:
    """Check a certificate of erasure by the signature that lies beside it. trust: as for ``verify``."""
    report = Report()
    try:
        signer = manifest.signer(signature, data)
        said = manifest.read_json(data, "the certificate")
        if not isinstance(said, dict) or not said.keys() >= {"case", "date", "recordings", "outside"}:
            raise Untrue("something else was signed, no certificate of erasure")
    except Untrue as error:
        report.problems.append(f"The certificate does not hold: {error}.")
        return report
    report.holds.append("The certificate is as it was signed.")
    report.case, report.kind, report.created = str(said["case"]), "erasure", str(said["date"])
    _believe(signer, trust, report, "certificate")
    return report


def _signed(kept: Mapping[str, bytes], report: Report) -> Manifest:
    if manifest.FILE not in kept or manifest.SIGNATURE not in kept:
        raise Untrue("the manifest or its signature is missing")
    signer = manifest.signer(kept[manifest.SIGNATURE], kept[manifest.FILE], kept.get(manifest.TIMESTAMP, b""))
    said = manifest.parse(kept[manifest.FILE])
    if said.signer != signer:
        raise Untrue("the manifest names another signer than the one who signed it")
    report.holds.append("The manifest is as it was signed.")
    return said


def _compare(said: Manifest, found: Mapping[str, Content], report: Report) -> None:
    """Every file against the manifest."""
    there = set(found) - manifest.OUTSIDE
    wrong = [f"{name} is missing." for name in sorted(set(said.files) - there)]
    wrong += [f"{name} was added: the manifest does not know it." for name in sorted(there - set(said.files))]
    both = sorted(there & set(said.files))
    wrong += [f"{name} is not the file that was signed." for name in both if said.files[name] != found[name]]
    lacking = sorted(manifest.RECORDS - set(said.files))
    wrong += [f"{name} belongs into every package, and is not in this one." for name in lacking]
    if wrong:
        report.problems += wrong[:_SHOWN] + [f"And {len(wrong) - _SHOWN} more files."] * (len(wrong) > _SHOWN)
    else:
        report.holds.append(f"All {len(there)} files are those that were signed.")


def _look_inside(said: Manifest, kept: Mapping[str, bytes], report: Report) -> None:
    """What a signature cannot say: that the parts belong together."""
    if manifest.REQUEST in kept:
        try:
            request: Any = manifest.read_json(kept[manifest.REQUEST], manifest.REQUEST)
            if (request["case"], request["kind"]) != (said.case, said.kind):
                report.problems.append("The request is of another case than the manifest.")
        except (Untrue, TypeError, KeyError):
            report.problems.append("The request cannot be read.")
    if manifest.AUDIT in kept and manifest.AUDIT_HEAD in kept:
        lines = kept[manifest.AUDIT].splitlines(keepends=True)
        wrong = trail.verify(lines, kept[manifest.AUDIT_HEAD], said.id, said.signer)
        report.problems += [f"{text[0].upper()}{text[1:]}." for text in wrong]
        if not wrong:
            report.holds.append(
                f"The audit trail of {len(lines)} lines ends with this export: none is missing, moved or changed."
            )


def _look_at_time(said: Manifest, kept: Mapping[str, bytes], roots: Sequence[Certificate], report: Report) -> None:
    token = kept.get(manifest.TIMESTAMP)
    if token is None:
        report.notes.append("There is no timestamp: when it was made is its signer's word.")
    elif not roots:
        report.notes.append("There is a timestamp: it is checked where its authority is named with --timestamp-root.")
    else:
        try:
            at = timestamp.check(token, kept[manifest.FILE], roots)
            apart = abs((at - datetime.fromisoformat(said.created)).total_seconds())
        except Untrue as error:
            report.problems.append(f"When it was made is not proven: {error}.")
        except (ValueError, TypeError):
            report.problems.append("The time in the manifest cannot be read.")
        else:
            if apart > _APART:
                report.problems.append(f"The manifest says {said.created}, and its timestamp {at:%Y-%m-%dT%H:%M:%SZ}.")
            report.holds.append(f"A timestamp authority vouches that it was there on {at:%Y-%m-%d %H:%M:%S} UTC.")


def _conclude(said: Manifest, trust: Collection[str], report: Report) -> None:
    report.package, report.software, report.files = said.id, said.software, len(said.files)
    report.case, report.kind, report.created = said.case, said.kind, said.created
    _believe(said.signer, trust, report, "package")


def _believe(signer: str, trust: Collection[str], report: Report, what: str) -> None:
    report.signer = signer
    if signer in trust:
        report.outcome = "valid"
        report.holds.append("It was signed with a key that you trust.")
    else:
        report.outcome = "unproven"
        why = "is none that you trust" if trust else "is not known to you: name the one that you trust with --trust"
        report.unproven.append(f"Who made it: the key that signed it {why}. Anyone can make such a {what}.")


def is_sealed(file: BinaryIO) -> bool:
    """Whether a file at its start is sealed by age. ConfigError where it is in a form that we do not read."""
    start = file.read(len(_SEALED))
    file.seek(0)
    if start.startswith(_ARMOURED):
        raise ConfigError("the package is sealed as text; open it with `age -d` and verify what comes out")
    return start == _SEALED


@contextlib.contextmanager
def opened(file: BinaryIO, identities: Sequence[Identity]) -> Iterator[Readable]:
    """A sealed package's content, opened as it is read; it never lies on the disk.

    Malformed, when the context ends, where the sealed file was changed or cut; ConfigError where it is sealed to
    others.
    """
    taken, given = os.pipe()
    problem: list[Exception] = []

    def pour() -> None:
        try:
            with os.fdopen(given, "wb") as into:
                pyrage.decrypt_io(file, into, list(identities))
        except Exception as error:
            problem.append(error)

    thread = threading.Thread(target=pour, name="unseal", daemon=True)
    with os.fdopen(taken, "rb") as out:
        thread.start()
        yield out
        # Who found a fault stops early; that the pipe then breaks says nothing of the sealed file.
        early = out.read(1) != b""
    thread.join()
    if problem and "No matching keys" in str(problem[0]):
        raise ConfigError("none of the identities opens the package: it is sealed to others, or was changed")
    if problem and not early:
        raise Malformed("what was sealed was changed or cut off")
