"""The part of the audit that goes into a package, and its proof.

The audit tells of other people's cases too, so only the lines of this one leave the house. The export's own entry
names each of them by number and hash, and is the last; a head signs that entry. So a line that is missing, changed,
moved or of another audit shows, without the lines between. Whoever has the whole audit finds the same hashes in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.errors import ConfigError
from anonymizer.export.contents import Trail
from anonymizer.record import audit, chain
from anonymizer.record.audit import AuditFile
from anonymizer.record.chain import Broken, Entry, Head

EXPORTED = "exported"
_MOST = 8000  # lines: their hashes must fit into one entry


def record(
    log: AuditFile, key: Ed25519PrivateKey, package: str, now: float, said: dict[str, Any],
    concerns: Callable[[Entry], bool],
) -> Trail:  # fmt: skip
    """Write the export's entry into the audit; then give the trail that ends with it.

    package: ``Contents.id``. said: case, recipient, reason, delivery … concerns: which entries belong to the case.
    AuditError where nothing can be written: then nothing may be exported. ConfigError where the audit does not hold,
    or more than 8,000 of its lines belong to the case.
    """
    mine = [entry for entry in audit.entries(log.path.parent) if concerns(entry)]
    if len(mine) > _MOST:
        raise ConfigError(f"{len(mine)} audit entries belong to this case; at most {_MOST} fit: narrow the time")
    log.append((now, EXPORTED, {**said, "package": package, "trail": [[e.number, e.hash] for e in mine]}))
    for entry in audit.entries(log.path.parent):
        if entry.kind == EXPORTED and entry.said.get("package") == package:
            head = Head.sign(key, entry.number + 1, entry.hash)
            return Trail((*(one.line() for one in mine), entry.line()), head.line())
    raise ConfigError(f"{log.path}: the entry that was just written is not in it; see `anonymizer audit verify`")


def verify(lines: Sequence[bytes], head: bytes, package: str, signer: str) -> list[str]:
    """What does not hold of a package's trail, in plain words. signer: the public key that must have signed it."""
    try:
        entries = [Entry.parse(line) for line in lines]
    except Broken as error:
        return [f"a line of the audit trail {error}"]
    try:
        signed = Head.parse(head)
    except Broken:
        return ["the signature of the audit trail cannot be read"]
    if not entries:
        return ["the audit trail is empty"]
    last = entries[-1]
    if last.kind != EXPORTED or last.said.get("package") != package:
        return ["the audit trail does not end with this package's export: it was cut, or belongs to another package"]
    if (signed.count, signed.hash, signed.line()) != (last.number + 1, last.hash, head):
        return ["the audit trail does not end where it was signed: it was cut, or is of another audit"]
    if not chain.signed_by(chain.public_key(signer), signed.signature, signed.count, signed.hash):
        return ["the audit trail is not signed by the package's signer: it is of another audit"]
    if last.said.get("trail") != [[entry.number, entry.hash] for entry in entries[:-1]]:
        return ["lines of the audit trail are missing, moved, added, or of another audit"]
    return []
