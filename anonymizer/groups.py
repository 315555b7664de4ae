"""Enrolled people: who agreed to be recognised, until when, and whom a face is most like. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from anonymizer.frame import F32
from anonymizer.policy import Recognition


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
    """Valid members of one recogniser, ready to be compared with."""

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
