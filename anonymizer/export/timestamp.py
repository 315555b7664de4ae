"""Timestamps (RFC 3161): an authority's word that a manifest was there at a time. Needs the extra ``timestamp``."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from types import ModuleType
from typing import Any

from cryptography.x509 import Certificate

from anonymizer.errors import ConfigError, PublishError
from anonymizer.export import extra
from anonymizer.export.manifest import Untrue

LARGEST = 1 << 16
"""Bytes of an answer at most."""
_WAIT = 30.0  # seconds
_SHA256 = "2.16.840.1.101.3.4.2.1"


def ask(url: str, message: bytes) -> bytes:
    """The authority's answer about a message, DER. Only the message's SHA-256 is sent.

    ConfigError for a URL that is none, or where the extra is not installed; PublishError where no answer comes that
    fits.
    """
    client = authority(url)
    asked = client.TimestampRequestBuilder(message, client.HashAlgorithm.SHA256).build()
    request = urllib.request.Request(url, asked.as_bytes(), {"Content-Type": "application/timestamp-query"})
    try:
        with urllib.request.urlopen(request, timeout=_WAIT) as answer:
            token: bytes = answer.read(LARGEST + 1)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise PublishError(
            f"the timestamp authority {url} gives no answer: {getattr(error, 'reason', error)}"
        ) from error
    try:
        given = _read(client, token)
    except Untrue as error:
        raise PublishError(f"the timestamp authority {url} answers wrongly: {error}") from error
    if not _about(given, message) or given.tst_info.nonce != asked.nonce:
        raise PublishError(f"the timestamp authority {url} answers about something else")
    return token


def check(token: bytes, message: bytes, roots: Sequence[Certificate]) -> datetime:
    """When the message was there, as one of the roots vouches. Untrue where the token says something else, or none of
    the roots vouches for it; ConfigError where the extra is not installed."""
    client = _client()
    given = _read(client, token)
    if not _about(given, message):
        raise Untrue("the timestamp is of something else")
    builder = client.VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(given, message)
    except (client.VerificationError, ValueError) as error:
        raise Untrue(f"the timestamp does not hold before the authorities that you named: {error}") from error
    at: datetime = given.tst_info.gen_time
    return at


def authority(url: str) -> ModuleType:
    """What asks the authority at a URL; nothing is sent. ConfigError for a URL that is none, or where the extra is not
    installed."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no address of a timestamp authority; it begins with https:// or http://")
    return _client()


def _client() -> ModuleType:
    return extra.module("rfc3161_client", "timestamp", "timestamps")


def _read(client: ModuleType, token: bytes) -> Any:
    try:
        given = client.decode_timestamp_response(token)
        granted = given.status == client.PKIStatus.GRANTED and given.tst_info.message_imprint is not None
    except ValueError as error:  # the token's inside is read only when it is asked for
        raise Untrue("the timestamp cannot be read") from error
    if not granted:
        raise Untrue("the authority refused it")
    return given


def _about(given: Any, message: bytes) -> bool:
    imprint = given.tst_info.message_imprint
    said = imprint.hash_algorithm.dotted_string, imprint.message
    return bool(said == (_SHA256, hashlib.sha256(message).digest()))
