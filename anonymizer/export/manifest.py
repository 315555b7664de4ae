"""The manifest: what is in a package, with hashes, and the signature over its exact bytes. Pure.

The signature covers a prefix of its own, so that nothing else that the same key signs can pass for it, the manifest's
hash, and the hash of its timestamp (RFC 3161; of nothing where there is none).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anonymizer.export import archive
from anonymizer.export.contents import Contents, plain
from anonymizer.record import chain, label

FILE, SIGNATURE, TIMESTAMP = "manifest.json", "manifest.sig", "manifest.tsr"
OUTSIDE = frozenset({FILE, SIGNATURE, TIMESTAMP})
"""What a manifest cannot list."""
VIDEOS = "videos/"
REQUEST, AUDIT, AUDIT_HEAD = "request.json", "audit.jsonl", "audit.head"
RECORDS = frozenset({
    REQUEST, "processing.json", "redactions.json", "completeness.json", "identifiability.json", "notice.json",
    "retention.json", "index.html", "report.pdf", AUDIT, AUDIT_HEAD,
})  # fmt: skip
"""What every package has besides its videos, its manifest and the signature."""
FORMAT = "anonymizer export 1"
LARGEST = 32 << 20
"""Bytes of a manifest at most."""
_CONTEXT = b"anonymizer export manifest v1\0"
_HASH = re.compile(r"[0-9a-f]{64}")


class Untrue(ValueError):
    """A manifest or signature that does not hold, in plain words."""


@dataclass(frozen=True, slots=True)
class Content:
    """size: bytes. sha256: hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The part of a manifest that a reader checks. created: RFC 3339. signer: public key, as ``chain.public_text``.
    files: by name; all but the manifest, its signature and timestamp."""

    id: str
    case: str
    kind: str
    created: str
    software: str
    signer: str
    files: Mapping[str, Content]


def build(contents: Contents, files: Mapping[str, Content], signer: str, now: float) -> bytes:
    """now: UTC seconds."""
    return pretty({
        "format": FORMAT, "id": contents.id, "case": contents.request.case, "kind": contents.request.kind,
        "created": label.utc(now), "software": contents.software, "signer": signer,
        "label": {"digitalSourceType": label.SOURCE_TYPE, "notice": label.NOTICE},
        "files": {name: {"bytes": file.size, "sha256": file.sha256} for name, file in sorted(files.items())},
        "videos": plain(contents.videos),
    })  # fmt: skip


def parse(data: bytes) -> Manifest:
    """Untrue where the bytes are no manifest of ours."""
    value = read_json(data, "the manifest")
    try:
        texts = [value[key] for key in ("id", "case", "kind", "created", "software", "signer")]
        files = {name: Content(file["bytes"], file["sha256"]) for name, file in value["files"].items()}
        right = value["format"] == FORMAT and all(isinstance(text, str) for text in texts)
        right = right and all(map(_right, files, files.values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise Untrue("the manifest lacks what every manifest has") from error
    if not right:
        raise Untrue("the manifest is of another format, or says what no manifest says")
    identifier, case, kind, created, software, key = texts
    return Manifest(identifier, case, kind, created, software, key, files)


def _right(name: str, file: Content) -> bool:
    """Whether a file can stand in a manifest: bool is an int in Python, and no size."""
    sized = type(file.size) is int and 0 <= file.size <= archive.LARGEST
    hashed = isinstance(file.sha256, str) and _HASH.fullmatch(file.sha256) is not None
    return archive.valid_name(name) and name not in OUTSIDE and sized and hashed


def sign(key: Ed25519PrivateKey, manifest: bytes, timestamp: bytes = b"") -> bytes:
    """The content of manifest.sig."""
    return _signature(key.public_key(), key.sign(_signed(manifest, timestamp)))


def signer(signature: bytes, manifest: bytes, timestamp: bytes = b"") -> str:
    """The public key that signed a manifest, as ``chain.public_text``. Untrue where the signature does not fit."""
    value = read_json(signature, "the signature")
    try:
        key, signed = chain.public_key(value["key"]), base64.b64decode(value["signature"], validate=True)
        if _signature(key, signed) != signature:
            raise Untrue("the signature is not as it was written")
        key.verify(signed, _signed(manifest, timestamp))
    except (KeyError, TypeError) as error:
        raise Untrue("the signature lacks what every signature has") from error
    except (InvalidSignature, binascii.Error) as error:
        raise Untrue("signature, manifest and timestamp do not fit: one of them was changed") from error
    except Untrue:
        raise
    except ValueError as error:
        raise Untrue("the signature names no key") from error
    return chain.public_text(key)


def _signature(key: Ed25519PublicKey, signature: bytes) -> bytes:
    return pretty({
        "algorithm": "Ed25519", "context": _CONTEXT[:-1].decode(), "key": chain.public_text(key),
        "signature": base64.b64encode(signature).decode(),
    })  # fmt: skip


def _signed(manifest: bytes, timestamp: bytes) -> bytes:
    """Hashes: a device that keeps the key need not take megabytes."""
    return _CONTEXT + hashlib.sha256(manifest).digest() + hashlib.sha256(timestamp).digest()


def pretty(value: Any) -> bytes:
    """JSON as every file of a package has it: for people, keys sorted."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(data: bytes, what: str) -> Any:
    """Untrue where it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Untrue(f"{what} cannot be read") from error
