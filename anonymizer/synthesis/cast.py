"""Who plays whom: identities by the scope that the policy names, never the same twice in one view."""

from __future__ import annotations

from collections import OrderedDict

from anonymizer.frame import Face, Frame
from anonymizer.policy import Decision, Scope, Verdict
from anonymizer.synthesis import bank
from anonymizer.synthesis.bank import Bank, Identity, Part

_REMEMBERED = 256
_IN_VIEW = 32


class Cast:
    """Identities of one camera's faces. epoch: counts the starts of whatever numbers the tracks.

    In view are the tracks asked for most recently; two of them never share an identity, the scope ``camera`` apart.
    """

    def __init__(self, people: Bank, camera: str, epoch: int) -> None:
        self._bank = people
        self._camera = camera
        self._epoch = epoch
        self._chosen: OrderedDict[tuple[Part, ...], Identity] = OrderedDict()
        self._tries: dict[int, int] = {}
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
            return self._choose(scope, self._bank.distinct(*scope, beside=self._in_view()))
        self._chosen.move_to_end(scope)
        return known

    def scope(self, track: int, decision: Decision, wall: float) -> tuple[Part, ...]:
        """What the identity is drawn from."""
        period = int(wall // decision.rotation)
        if decision.identity is Scope.CAMERA:
            return bank.camera(self._camera, period)
        if decision.identity is Scope.ENROLLED and decision.member:
            return bank.enrolled(decision.member, period)
        return bank.track(self._camera, self._epoch, track)

    def another(self, track: int) -> None:
        """Draw the track's identity anew: the next one that its scope gives."""
        scope = bank.track(self._camera, self._epoch, track)
        self._tries[track] = self._tries.get(track, 0) + 1
        drawn = self._bank.distinct(*scope, f"another {self._tries[track]}", beside=self._in_view())
        self._choose(scope, drawn)
        self._passed.pop(track, None)

    def show(self, scope: tuple[Part, ...], identity: Identity) -> None:
        """Show the identity in the scope from now on, where that is a track's; others have theirs for good."""
        if scope[0] == "track":
            self._choose(scope, identity)

    def passed(self, track: int, index: int) -> None:
        """In frame number index the track's identity was found unlike the face."""
        self._passed[track] = index

    def since(self, track: int, index: int) -> int | None:
        """How many frames before number index the track's identity last passed; None where it never did."""
        last = self._passed.get(track)
        return None if last is None else index - last

    def _in_view(self) -> list[bytes]:
        return [identity.key for identity in list(self._chosen.values())[-_IN_VIEW:]]

    def _choose(self, scope: tuple[Part, ...], identity: Identity) -> Identity:
        self._chosen[scope] = identity
        self._chosen.move_to_end(scope)
        if len(self._chosen) > _REMEMBERED:
            self._chosen.popitem(last=False)
        for kept in (self._tries, self._passed):
            while len(kept) > _REMEMBERED:
                del kept[next(iter(kept))]
        return identity


class Scene:
    """The cast of one frame; see ``paint.Casting``."""

    def __init__(self, cast: Cast, frame: Frame, verdict: Verdict) -> None:
        self._cast = cast
        self._decisions = {face.track: decision for face, decision in zip(frame.faces, verdict.faces, strict=True)}
        self._wall = frame.wall or frame.time
        self._index = frame.index

    def __call__(self, face: Face) -> Identity:
        return self._cast.identity(face.track, self._decisions[face.track], self._wall)

    def another(self, face: Face) -> bool:
        scope = self._cast.scope(face.track, self._decisions[face.track], self._wall)
        if scope[0] != "track":  # everyone's, or a member's: it must not change for one face
            return False
        self._cast.another(face.track)
        return True

    def show(self, face: Face, identity: Identity) -> None:
        scope = self._cast.scope(face.track, self._decisions[face.track], self._wall)
        self._cast.show(scope, identity)
        self._cast.passed(face.track, self._index)

    def since(self, face: Face) -> int | None:
        return self._cast.since(face.track, self._index)

    def passed(self, face: Face) -> None:
        self._cast.passed(face.track, self._index)
