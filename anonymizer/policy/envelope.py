"""Signed permission to relax rules over MQTT: an Ed25519 envelope that names its topic, expires, and works once.

The envelope is JSON: ``{"envelope": base64 of the inner JSON, "signature": base64}``. The inner JSON holds ``topic``,
``payload``, ``nonce`` and ``expires`` (seconds since 1970); the signature (RFC 8032) is over ``PREFIX`` and the inner
bytes as sent, so that nothing has to be brought into a canonical form. Pure: the time is an argument.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from anonymizer.errors import ConfigError

PREFIX = b"anonymizer relax 1\n"
MAX_BYTES = 1 << 20
MAX_LIFETIME = 3600.0
"""Seconds: an envelope that expires later is refused, so that few nonces have to be remembered."""
REMEMBER = 7 * 86400.0
"""Seconds that a used nonce is remembered beyond its envelope's end, should the clock be set back."""


class Refused(ConfigError):
    """A change that is not permitted; the message says why."""


@dataclass(frozen=True, slots=True)
class Nonces:
    """The nonces already used, with the time their envelopes expire. Plain data, to be stored."""

    used: dict[str, float] = field(default_factory=dict)

    def use(self, nonce: str, expires: float, now: float) -> Nonces:
        """With nonce used, and those long expired forgotten. Raises Refused when it was used before."""
        if nonce in self.used:
            raise Refused("this envelope was used before; sign a new one with a new nonce")
        kept = {n: end for n, end in self.used.items() if end + REMEMBER > now}
        return Nonces({**kept, nonce: expires})


def seal(key: Ed25519PrivateKey, topic: str, payload: bytes, nonce: str, expires: float) -> bytes:
    """An envelope for payload on topic. nonce: 16 to 64 characters, never used before."""
    inner = json.dumps(
        {"topic": topic, "payload": payload.decode("utf-8"), "nonce": nonce, "expires": expires}, ensure_ascii=False
    ).encode()
    parts = {"envelope": inner, "signature": key.sign(PREFIX + inner)}
    return json.dumps({name: base64.b64encode(part).decode("ascii") for name, part in parts.items()}).encode()


def is_sealed(message: bytes) -> bool:
    """Whether a message claims to be an envelope."""
    return _parts(message) is not None


def unseal(message: bytes, key: Ed25519PublicKey, topic: str, nonces: Nonces, now: float) -> tuple[bytes, Nonces]:
    """The payload of an envelope, and the nonces with its own added.

    Raises Refused when the message is no envelope, its signature is not key's, or it is for another topic, expired,
    valid for longer than MAX_LIFETIME, or used before.
    """
    parts = _parts(message)
    if parts is None:
        raise Refused("a signed envelope is due: JSON with the keys 'envelope' and 'signature'")
    try:
        inner, signature = (base64.b64decode(part, validate=True) for part in parts)
        key.verify(signature, PREFIX + inner)
    except (binascii.Error, ValueError, InvalidSignature):
        raise Refused("the envelope's signature does not match mqtt.relax_key") from None
    said = _json(inner)
    if not isinstance(said, dict) or set(said) != {"topic", "payload", "nonce", "expires"}:
        raise Refused("the envelope's content must have exactly the keys topic, payload, nonce and expires")
    texts = all(isinstance(said[key], str) for key in ("topic", "payload", "nonce"))
    if not texts or isinstance(said["expires"], bool) or not isinstance(said["expires"], int | float):
        raise Refused("the envelope's topic, payload and nonce must be text and expires a number")
    if said["topic"] != topic:
        raise Refused(f"the envelope is for topic {said['topic']!r}, not for {topic!r}")
    if not 16 <= len(said["nonce"]) <= 64:
        raise Refused("the envelope's nonce must have 16 to 64 characters")
    left = said["expires"] - now
    if not left > 0:  # not a number is refused too
        raise Refused("the envelope has expired; sign a new one, and compare the clocks")
    if left > MAX_LIFETIME:
        raise Refused(f"the envelope is valid for too long; let it expire within {MAX_LIFETIME:.0f} s")
    return said["payload"].encode("utf-8"), nonces.use(said["nonce"], said["expires"], now)


def _parts(message: bytes) -> tuple[str, str] | None:
    said = _json(message) if len(message) <= MAX_BYTES else None
    if not isinstance(said, dict) or set(said) != {"envelope", "signature"}:
        return None
    envelope, signature = said["envelope"], said["signature"]
    return (envelope, signature) if isinstance(envelope, str) and isinstance(signature, str) else None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
