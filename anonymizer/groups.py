"""Enrolled people: who agreed to be recognised, until when, sealed at rest."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from anonymizer.errors import ConfigError
from anonymizer.frame import F32
from anonymizer.policy import Recognition
from anonymizer.statedir import StateDir

_FILE, _KEY = "enrolled.sealed", "enrolled.key"
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Member:
    """One enrolled person. name and group: as rules and events say them. consent: where the consent is filed. expires:
    the last day on which it holds. recogniser: whose embeddings these are. embeddings: one of each photograph."""

    name: str
    group: str
    consent: str
    expires: date
    recogniser: str
    embeddings: tuple[tuple[float, ...], ...]

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.group!r}, until {self.expires})"


class Gallery:
    """Valid members of one recogniser, ready to be compared with. Pure."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = [member for member in members for _ in member.embeddings]
        rows = [embedding for member in members for embedding in member.embeddings]
        self._matrix: F32 = np.array(rows, np.float32)

    def __bool__(self) -> bool:
        return bool(self._members)

    def match(self, embedding: F32, time: float, wall: float) -> Recognition:
        """Who it is most like. time: of the frame; wall: the same in UTC seconds, on which the consent must hold."""
        today = datetime.fromtimestamp(wall, UTC).date()
        best: dict[tuple[str, str], float] = {}
        for member, similarity in zip(self._members, self._matrix @ embedding, strict=True):
            if member.expires >= today:
                key = member.name, member.group
                best[key] = max(best.get(key, -1.0), float(similarity))
        if not best:
            return Recognition("", frozenset(), -1.0, time)
        ranked = sorted(best.items(), key=lambda item: -item[1])
        (name, _), similarity = ranked[0]
        groups = frozenset(group for member, group in best if member == name)
        second = next((s for (other, _), s in ranked[1:] if other != name), -1.0)
        return Recognition(name, groups, similarity, time, second)


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
