"""Who in a recording is the person who asks: a verdict for each track, from every look at it. Pure.

The recogniser is asked at every sighting, and nothing is decided before all of them are in. A track is cut into pieces
wherever it may have passed from one person to another: where it crosses another face, where the face was not seen for
a moment, where the picture jumps. A piece is the person's for its whole length, profiles too, if its looks agree; else
all of it is replaced. Beside another face only those pictures count in which the recogniser itself says that it is the
person. What is in doubt is told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median


@dataclass(frozen=True)
class Bounds:
    """alike: a similarity from which on a look speaks for the person; unlike: below which a good look speaks against.
    looks: fewest that must speak for. majority: share of those that speak. against: so many in a row that speak against
    end all trust. reach: seconds from a look that speaks for within which a face is still the person's. apart: lead by
    which one of two pieces seen at one time must be more alike, to be the person's. unseen: seconds without the face
    that cut a track."""

    alike: float = 0.5
    unlike: float = 0.35
    looks: int = 5
    majority: float = 0.8
    against: int = 3
    reach: float = 3.0
    apart: float = 0.15
    unseen: float = 0.25


@dataclass(frozen=True, slots=True)
class Look:
    """One face in one picture. similarity: to the person, None where the recogniser was not asked. good: from the front
    and large enough, so that a low similarity means something. near: close beside another face, or over what is hardly
    one; crosses: over another face. seen: detected now."""

    index: int
    time: float
    similarity: float | None = None
    good: bool = False
    near: bool = False
    crosses: bool = False
    seen: bool = True


class Verdict(StrEnum):
    SUBJECT = "subject"
    OTHER = "other"
    DOUBT = "doubt"


@dataclass(slots=True)
class Piece:
    """A part of a track that is one person. why: in plain words, for what is in doubt. denied: looks say that it is
    somebody else."""

    track: int
    looks: list[Look]
    verdict: Verdict = Verdict.OTHER
    why: str = ""
    denied: bool = False
    alike: float = -1.0
    speaks: list[float] = field(default_factory=list)
    """Times of the looks that speak for the person."""

    @property
    def start(self) -> float:
        return self.looks[0].time

    @property
    def stop(self) -> float:
        return self.looks[-1].time


def judge(tracks: Mapping[int, Sequence[Look]], jumps: Sequence[float], bounds: Bounds) -> list[Piece]:
    """The pieces of all tracks with their verdicts. tracks: looks of each in the order of time. jumps: times of the
    pictures before which the whole picture changed, ascending."""
    pieces = [piece for track, looks in tracks.items() for piece in _pieces(track, looks, jumps, bounds)]
    for piece in pieces:
        _weigh(piece, bounds)
    _one_at_a_time(pieces, bounds)
    theirs = {piece.track for piece in pieces if piece.verdict is not Verdict.OTHER}
    for piece in pieces:
        if piece.track in theirs and piece.verdict is Verdict.OTHER and not piece.why:
            piece.verdict, piece.why = Verdict.DOUBT, "the same track is the person elsewhere, and here nothing says so"
    return pieces


def kept(pieces: Sequence[Piece], bounds: Bounds) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """(track, picture) that may be shown, and those of the person's pieces that may not: too far from a look that
    speaks for them, or beside another face without such a look."""
    shown: set[tuple[int, int]] = set()
    doubtful: set[tuple[int, int]] = set()
    for piece in pieces:
        if piece.verdict is not Verdict.SUBJECT:
            continue
        for look in piece.looks:
            at = bisect_left(piece.speaks, look.time)
            near = min((abs(look.time - t) for t in piece.speaks[max(0, at - 1) : at + 1]), default=float("inf"))
            sure = near <= bounds.reach and (not look.near or _speaks(look, bounds))
            (shown if sure else doubtful).add((piece.track, look.index))
    return shown, doubtful


def _speaks(look: Look, bounds: Bounds) -> bool:
    return look.similarity is not None and look.similarity >= bounds.alike


def _pieces(track: int, looks: Sequence[Look], jumps: Sequence[float], bounds: Bounds) -> Iterator[Piece]:
    current: list[Look] = []
    last_seen: float | None = None
    for look in looks:
        if current:
            before = current[-1]
            jumped = bisect_left(jumps, before.time + 1e-6) < bisect_left(jumps, look.time + 1e-6)
            lost = look.seen and last_seen is not None and look.time - last_seen > bounds.unseen
            if jumped or lost or _apart(look, bounds) != _apart(before, bounds):
                yield Piece(track, current)
                current = []
        current.append(look)
        last_seen = look.time if look.seen else last_seen
    if current:
        yield Piece(track, current)


def _apart(look: Look, bounds: Bounds) -> bool:
    """Whether the track may pass to another person here."""
    return look.crosses or (look.near and not _speaks(look, bounds))


def _weigh(piece: Piece, bounds: Bounds) -> None:
    if _apart(piece.looks[0], bounds):
        return
    told = [look for look in piece.looks if look.similarity is not None]
    speaking = [(look.time, look.similarity or 0.0) for look in told if _speaks(look, bounds)]
    against, row, longest = 0, 0, 0
    for look in told:
        if (look.similarity or 0.0) >= bounds.unlike:
            row = 0
        elif look.good:
            against, row = against + 1, row + 1
            longest = max(longest, row)
    piece.speaks = [time for time, _ in speaking]
    piece.alike = median([similarity for _, similarity in speaking]) if speaking else -1.0
    piece.denied = longest >= bounds.against or (against > 0 and not speaking)
    if not speaking:
        return
    if longest >= bounds.against:
        piece.verdict, piece.why = Verdict.DOUBT, "some looks say that it is the person, others that it is not"
    elif len(speaking) < bounds.looks:
        piece.verdict, piece.why = Verdict.DOUBT, f"only {len(speaking)} looks say that it is the person"
    elif len(speaking) < bounds.majority * (len(speaking) + against):
        piece.verdict, piece.why = Verdict.DOUBT, "no clear majority of the looks says that it is the person"
    else:
        piece.verdict = Verdict.SUBJECT


def _one_at_a_time(pieces: Sequence[Piece], bounds: Bounds) -> None:
    """Nobody is in two places: of two pieces in one picture only one that is clearly more alike stays the person's."""
    theirs = [piece for piece in pieces if piece.verdict is Verdict.SUBJECT]
    lost: set[int] = set()
    for i, a in enumerate(theirs):
        for b in theirs[i + 1 :]:
            if a.start <= b.stop and b.start <= a.stop and {k.index for k in a.looks} & {k.index for k in b.looks}:
                lost |= {id(one) for one, other in ((a, b), (b, a)) if one.alike < other.alike + bounds.apart}
    for piece in theirs:
        if id(piece) in lost:
            piece.verdict, piece.why = Verdict.DOUBT, "another face in the same picture is as much alike"
