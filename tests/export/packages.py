"""A small package with everything in it, and what a forger needs."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import os
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509 import Certificate

from anonymizer.export import archive, document, manifest, package, statement, trail, verify
from anonymizer.export.archive import Member
from anonymizer.export.contents import (
    Clock,
    Completeness,
    Contents,
    Covered,
    Doubt,
    Figure,
    Gap,
    Identifiability,
    Model,
    Notice,
    Processing,
    Redaction,
    Request,
    Retention,
    Signoff,
    Sound,
    Source,
    Trail,
    Video,
    new_id,
)
from anonymizer.export.verify import Report
from anonymizer.record import chain, keys, mp4
from anonymizer.record.audit import AuditFile
from anonymizer.statedir import StateDir

NOW = 1_790_003_600.0
START = 1_790_000_000.0
CASE = "2026/17"


def video(path: Path, *, synthetic: bool = True, content: bytes = b"picture") -> Path:
    """An MP4 of one picture that no decoder would take: the package does not look inside."""
    header = mp4.header(
        "gate", START, mp4.Video("h264", 64, 48, (b"\x67\x42\0\x1e", b"\x68")), None, synthetic=synthetic
    )
    run = mp4.Run(mp4.VIDEO, 0, [mp4.Sample(content, 3600)])
    path.write_bytes(header + mp4.fragment(1, START, [run]))
    return path


def made(folder: Path, **changed: object) -> bytes:
    """A package, signed with ``signing(folder / "state")``."""
    whole = contents(folder, **changed)
    package.write(folder / "package.zip", whole, signing(folder / "state"), NOW)
    return (folder / "package.zip").read_bytes()


def public(folder: Path) -> str:
    return chain.public_text(signing(folder / "state"))


def checked(data: bytes, *trust: str, roots: Sequence[Certificate] = ()) -> Report:
    return verify.verify(io.BytesIO(data), trust, roots)


def files(data: bytes) -> dict[str, bytes]:
    return {member.name: b"".join(chunks) for member, chunks in archive.read(io.BytesIO(data))}


def packed(content: dict[str, bytes]) -> bytes:
    """Files as a package whose framing is right."""
    members = [Member(name, len(data), zlib.crc32(data)) for name, data in sorted(content.items())]
    body = b"".join(archive.local(member) + content[member.name] for member in members)
    return body + archive.end(members)


def resigned(
    content: dict[str, bytes], key: Ed25519PrivateKey, change: Callable[[dict[str, object]], None] = lambda said: None
) -> bytes:
    """A package whose manifest fits its files, whatever they are, signed with a key. change: of the manifest."""
    said = json.loads(content[manifest.FILE])
    rest = {name: data for name, data in content.items() if name not in manifest.OUTSIDE}
    hashes = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in rest.items()}
    said |= {"files": hashes, "signer": chain.public_text(key)}
    change(said)
    data = manifest.pretty(said)
    return packed({**rest, manifest.FILE: data, manifest.SIGNATURE: manifest.sign(key, data)})


def signing(state: Path) -> Ed25519PrivateKey:
    return keys.signing(StateDir(state))


def recorded(state: Path, package: str, case: str = CASE) -> Trail:
    """A trail out of an audit that tells of two cases."""
    log = AuditFile(StateDir(state))
    for at, of in ((NOW - 60, case), (NOW - 50, "2026/99"), (NOW - 40, case)):
        log.append((at, "unsealed", {"case": of, "reason": f"request {of}"}))
    said = {"case": case, "recipient": "A. Ford", "reason": "Art. 15 request", "delivery": "by hand"}
    return trail.record(log, signing(state), package, NOW, said, lambda entry: entry.said.get("case") == case)


def request(case: str = CASE) -> Request:
    return Request(
        case, "access", "Art. 15 GDPR", "The person asked for it", "A. Ford", "by hand", "B. Reeve", "ID seen, note 5",
        NOW - 86400, NOW + 29 * 86400,
    )  # fmt: skip


def large(folder: Path, size: int) -> Video:
    """A video of about so many bytes."""
    path = video(folder / "large.mp4", content=bytes(range(256)) * (size // 256))
    return Video("large.mp4", path, "gate", START, START + 10, 1, ())


def contents(folder: Path, **changed: object) -> Contents:
    """Everything; the state folder is ``folder/state``."""
    identifier = new_id()
    source = Source("1790000000.mp4", "segment", START, START + 10, "ab" * 32)
    whole = Contents(
        id=identifier,
        request=request(),
        videos=(Video("gate.mp4", video(folder / "gate.mp4"), "gate", START, START + 10, 250, (source,)),),
        processing=Processing(
            "7", "cd" * 32, ("default", "staff"), (Model("face_detector", "detector", "ef" * 32),), {"detection": 0.5}
        ),
        redactions=(
            Redaction("gate.mp4", "t1", START, START + 4, 100, "replace", "replace", "default", "third person"),
            Redaction("gate.mp4", "t2", START + 1, START + 9, 200, "keep", "keep", "subject", "asked for", True),
        ),
        covered=(Covered("gate.mp4", START + 5, START + 5.2, 5, "blanked", "too many faces"),),
        doubts=(Doubt("gate.mp4", START + 2, START + 3, "t1", "small and from the side", "hidden, and stays so"),),
        completeness=Completeness(
            START - 5, START + 10, ("gate",), (Gap("gate", START - 5, START, "camera lost"),),
            (Clock("gate", "camera", 0.25),), Sound("removed", "Voices of others cannot be told apart."),
        ),
        notice=Notice(
            "Mill Lane Ltd", "privacy@mill.example", ("safety of the yard",), ("the person who asks",), "3 days",
            "cameras in the yard", "the supervisory authority", "no data goes outside the EEA", "dpo@mill.example",
        ),
        identifiability=Identifiability((Figure("recognised again", "0.1 %", "leak.py on 3 clips"),), "DPIA-4"),
        retention=Retention(NOW + 30 * 86400, "Then it is deleted.", ("h1: court",), ({"what": "segment"},)),
        trail=recorded(folder / "state", identifier),
        signoff=Signoff("C. Shaw", NOW - 100, 3, ("a box was added at 10:02",)),
    )  # fmt: skip
    return replace(whole, **changed)  # type: ignore[arg-type]


def killed(folder: Path) -> None:
    """Write a package in a child process that is killed at its first step, another at its second, and so on, until one
    lives. Prints for each whether a package is there, and whether it is valid."""
    whole, key, path = contents(folder), signing(folder / "state"), folder / "p.zip"
    document.render = functools.cache(document.render)  # one PDF for all children: it takes longer than the rest
    document.render(statement.sections(whole, NOW), NOW)
    for last in itertools.count():
        path.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            _write_until(last, path, whole, key)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        there = path.exists()
        valid = there and checked(path.read_bytes(), chain.public_text(key)).outcome == "valid"
        print(json.dumps({"step": last, "lived": status == 0, "there": there, "valid": valid}))
        if status == 0:
            return


def _write_until(last: int, path: Path, whole: Contents, key: Ed25519PrivateKey) -> None:
    steps = itertools.count()

    def step(*_: object) -> None:
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(call: Callable[..., object]) -> Callable[..., object]:
        def around(*arguments: object) -> object:
            step()
            result = call(*arguments)
            step()
            return result

        return around

    for name in ("open", "fsync", "replace"):
        setattr(os, name, stepping(getattr(os, name)))
    package.write(path, whole, key, NOW, (), step)


if __name__ == "__main__":
    killed(Path(sys.argv[1]))
