"""Who plays whom: identities by the scope that the policy names, never the same twice in one view."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from anonymizer.frame import Face, Frame
from anonymizer.policy import Decision, Scope, Verdict
from anonymizer.synthesis import bank
from anonymizer.synthesis.bank import Bank, Identity, Part

RETRIES = 8
"""Other identities tried for a face before the fairest is taken."""

_REMEMBERED = 256
_IN_VIEW = 32


@dataclass(slots=True)
class _Search:
    """For a track's identity. tried: how many others it was given; left: how many of them are still to be tried in this
    round; best: how alike the least alike was of those that were fair in it, and its key."""

    tried: int = 0
    left: int = RETRIES
    best: tuple[float, bytes] | None = None


class Cast:
    """Identities of one camera's faces. epoch: counts the starts of whatever numbers the tracks.

    In view are the tracks asked for most recently; two of them never share an identity, the scope ``camera`` apart.
    """

    def __init__(self, people: Bank, camera: str, epoch: int) -> None:
        self._bank = people
        self._camera = camera
        self._epoch = epoch
        self._chosen: OrderedDict[tuple[Part, ...], bytes] = OrderedDict()
        self._searches: dict[int, _Search] = {}
        self._passed: dict[int, int] = {}

    def scene(self, frame: Frame, verdict: Verdict) -> Scene:
        """Gives each face of the frame its identity, by what the verdict says of it."""
        return Scene(self, frame, verdict)

    def identity(self, track: int, decision: Decision, wall: float) -> Identity:
        """The identity of a track at a time, UTC seconds, from which the rotation period follows."""
        scope = self.scope(track, decision, wall)
        if decision.identity is Scope.CAMERA:
            return self._bank.identity(*scope)
        known = self._chosen.get(scope)
        if known is None:
            drawn = self._bank.distinct(*scope, beside=self._in_view())
            self._choose(scope, drawn.key)
            return drawn
        self._chosen.move_to_end(scope)
        return self._bank.person(known)

    def scope(self, track: int, decision: Decision, wall: float) -> tuple[Part, ...]:
        """What the identity is drawn from."""
        period = int(wall // decision.rotation)
        if decision.identity is Scope.CAMERA:
            return bank.camera(self._camera, period)
        if decision.identity is Scope.ENROLLED and decision.member:
            return bank.enrolled(decision.member, period)
        return bank.track(self._camera, self._epoch, track)

    def another(self, track: int) -> bool:
        """Draw the track's identity anew, the next one that its scope gives; False where enough were tried."""
        search = self._search(track)
        if not search.left:
            return False
        search.tried += 1
        search.left -= 1
        scope = bank.track(self._camera, self._epoch, track)
        drawn = self._bank.distinct(*scope, f"another {search.tried}", beside=self._in_view())
        self._choose(scope, drawn.key)
        self._passed.pop(track, None)
        return True

    def fair(self, track: int, identity: Identity, alike: float) -> None:
        """The identity may be shown on the track if no other is less alike."""
        search = self._search(track)
        if search.best is None or alike < search.best[0]:
            search.best = alike, identity.key

    def fairest(self, track: int, index: int) -> bool:
        """Once enough were tried, show the fairest from frame number index on; False before, or where none was fair."""
        search = self._search(track)
        if search.left:
            return False
        if search.best is None:
            search.left = RETRIES
            return False
        self._choose(bank.track(self._camera, self._epoch, track), search.best[1])
        self.passed(track, index)
        return True

    def passed(self, track: int, index: int) -> None:
        """In frame number index the track's identity was found unlike the face."""
        # Put last: what is forgotten is who has not been seen for longest.
        self._passed.pop(track, None)
        self._passed[track] = index
        if search := self._searches.pop(track, None):
            search.left, search.best = RETRIES, None
            self._searches[track] = search

    def tried(self, track: int) -> int:
        """How many others the track was given."""
        return self._searches[track].tried if track in self._searches else 0

    def since(self, track: int, index: int) -> int | None:
        """How many frames before number index the track's identity last passed; None where it never did."""
        last = self._passed.get(track)
        return None if last is None else index - last

    def _search(self, track: int) -> _Search:
        return self._searches.setdefault(track, _Search())

    def _in_view(self) -> list[bytes]:
        return list(self._chosen.values())[-_IN_VIEW:]

    def _choose(self, scope: tuple[Part, ...], key: bytes) -> None:
        self._chosen[scope] = key
        self._chosen.move_to_end(scope)
        if len(self._chosen) > _REMEMBERED:
            self._chosen.popitem(last=False)
        for kept in (self._searches, self._passed):
            while len(kept) > _REMEMBERED:
                del kept[next(iter(kept))]


class Scene:
    """The cast of one frame; see ``paint.Casting``."""

    def __init__(self, cast: Cast, frame: Frame, verdict: Verdict) -> None:
        self._cast = cast
        self._decisions = {face.track: decision for face, decision in zip(frame.faces, verdict.faces, strict=True)}
        self._wall = frame.wall or frame.time
        self._index = frame.index

    def __call__(self, face: Face) -> Identity:
        return self._cast.identity(face.track, self._decisions[face.track], self._wall)

    def free(self, face: Face) -> bool:
        # Everyone's identity, or a member's, must not change for one face.
        return self._cast.scope(face.track, self._decisions[face.track], self._wall)[0] == "track"

    def another(self, face: Face) -> bool:
        return self.free(face) and self._cast.another(face.track)

    def fair(self, face: Face, alike: float) -> None:
        self._cast.fair(face.track, self(face), alike)

    def fairest(self, face: Face) -> bool:
        return self._cast.fairest(face.track, self._index)

    def tried(self, face: Face) -> int:
        return self._cast.tried(face.track)

    def since(self, face: Face) -> int | None:
        return self._cast.since(face.track, self._index)

    def passed(self, face: Face) -> None:
        self._cast.passed(face.track, self._index)
