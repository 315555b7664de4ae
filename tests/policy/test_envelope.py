"""Signed relaxations: only by the key, for the topic, in time, and once."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.policy.envelope import MAX_LIFETIME, PREFIX, REMEMBER, Nonces, Refused, is_sealed, seal, unseal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TOPIC, NONCE, NOW = "anonymizer/gate/rules/set", "0123456789abcdef", 1000.0


def opened(
    message: bytes, *, topic: str = TOPIC, nonces: Nonces | None = None, now: float = NOW
) -> tuple[bytes, Nonces]:
    return unseal(message, KEY.public_key(), topic, nonces or Nonces(), now)


def signed(inner: Any, key: Ed25519PrivateKey = KEY, prefix: bytes = PREFIX) -> bytes:
    data = json.dumps(inner).encode()
    parts = {"envelope": data, "signature": key.sign(prefix + data)}
    return json.dumps({k: base64.b64encode(v).decode() for k, v in parts.items()}).encode()


GOOD = {"topic": TOPIC, "payload": "default: blur", "nonce": NONCE, "expires": NOW + 60}


def test_a_good_envelope_opens_once() -> None:
    message = seal(KEY, TOPIC, "default: blur ü".encode(), NONCE, NOW + 60)
    assert is_sealed(message) and not is_sealed(b"default: blur") and not is_sealed(b"{}")
    payload, nonces = opened(message)
    assert payload == "default: blur ü".encode()
    with pytest.raises(Refused, match="used before"):
        opened(message, nonces=nonces)
    again, nonces = opened(seal(KEY, TOPIC, b"x", NONCE + "2", NOW + 60), nonces=nonces)
    assert again == b"x" and len(nonces.used) == 2


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"default: blur", "a signed envelope is due"),
        (b"", "a signed envelope is due"),
        (b"[" * 100_000, "a signed envelope is due"),
        (b'{"envelope": 1, "signature": 2}', "a signed envelope is due"),
        (b'{"envelope": "e30=", "signature": "AAAA"}', "signature does not match"),
        (b'{"envelope": "*", "signature": "*"}', "signature does not match"),
        (signed(GOOD, Ed25519PrivateKey.from_private_bytes(bytes(32))), "signature does not match"),
        (signed(GOOD, prefix=b""), "signature does not match"),
        (signed({**GOOD, "topic": "anonymizer/yard/rules/set"}), "is for topic"),
        (signed({**GOOD, "expires": NOW}), "has expired"),
        (signed({**GOOD, "expires": float("nan")}), "has expired"),
        (signed({**GOOD, "expires": NOW + MAX_LIFETIME + 1}), "valid for too long"),
        (signed({**GOOD, "expires": float("inf")}), "valid for too long"),
        (signed({**GOOD, "expires": True}), "expires a number"),
        (signed({**GOOD, "nonce": "short"}), "16 to 64"),
        (signed({**GOOD, "nonce": "x" * 65}), "16 to 64"),
        (signed({**GOOD, "payload": None}), "must be text"),
        (signed({**GOOD, "more": 1}), "exactly the keys"),
        (signed([GOOD]), "exactly the keys"),
    ],
)
def test_anything_else_is_refused(message: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        opened(message)


def test_nonces_are_forgotten_long_after_their_envelope() -> None:
    nonces = Nonces().use("a" * 16, 100.0, 50.0)
    with pytest.raises(Refused):
        nonces.use("a" * 16, 200.0, 100.0 + REMEMBER - 1)
    assert list(nonces.use("b" * 16, 200.0, 100.0 + REMEMBER + 1).used) == ["b" * 16]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, change: int) -> None:
    message = bytearray(seal(KEY, TOPIC, b"default: blur", NONCE, NOW + 60))
    message[place % len(message)] ^= change
    try:
        payload, _ = opened(bytes(message))
    except Refused:
        return
    assert payload == b"default: blur"  # base64 padding bits, or white space: the signed bytes are the same
