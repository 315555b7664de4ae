"""Where enrolled people are kept, sealed at rest."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anonymizer.errors import ConfigError
from anonymizer.groups import Gallery, Member
from anonymizer.statedir import StateDir

_FILE, _KEY = "enrolled.sealed", "enrolled.key"
_NONCE = 12


class Enrolment:
    """The members in the state folder, encrypted with a key beside them that only its owner can read.

    ConfigError where they cannot be read.
    """

    def __init__(self, state: StateDir) -> None:
        self._state = state

    def members(self) -> list[Member]:
        """All of them, expired ones too."""
        path = self._state.path / _FILE
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        try:
            plain = AESGCM(self._key()).decrypt(sealed[:_NONCE], sealed[_NONCE:], _FILE.encode())
            return [_member(data) for data in json.loads(plain)]
        except (InvalidTag, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} cannot be opened with {_KEY}: one of the two was altered") from error

    def gallery(self, recogniser: str) -> Gallery:
        return Gallery([member for member in self.members() if member.recogniser == recogniser])

    def enroll(self, member: Member) -> None:
        """Add a member, or replace the one of that name. ConfigError where consent or expiry will not do."""
        if not member.consent.strip():
            raise ConfigError("enrolling needs --consent: where the person's written consent is filed")
        if member.expires < datetime.now(UTC).date():
            raise ConfigError(f"--expires {member.expires} has passed")
        self._write([one for one in self.members() if one.name != member.name] + [member])

    def revoke(self, name: str) -> None:
        """Delete a member's data. ConfigError where there is no such member."""
        members = self.members()
        if name not in [member.name for member in members]:
            raise ConfigError(f"nobody named {name!r} is enrolled")
        self._write([member for member in members if member.name != name])

    def _write(self, members: list[Member]) -> None:
        data = [{**asdict(member), "expires": member.expires.isoformat()} for member in members]
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._key()).encrypt(nonce, json.dumps(data).encode(), _FILE.encode())
        try:
            self._state.write_bytes(_FILE, nonce + sealed)
        except OSError as error:
            raise ConfigError(f"{self._state.path / _FILE} cannot be written: {error.strerror}") from error

    def _key(self) -> bytes:
        path = self._state.path / _KEY
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(32)
            self._state.write_bytes(_KEY, key)
        if len(key) != 32:
            raise ConfigError(f"{path} is no key of 32 bytes")
        return key


def _member(data: dict[str, Any]) -> Member:
    embeddings = tuple(tuple(map(float, one)) for one in data["embeddings"])
    expires = date.fromisoformat(data["expires"])
    return Member(data["name"], data["group"], data["consent"], expires, data["recogniser"], embeddings)
