"""Who plays whom: identities by the scope that the policy names, never the same twice in one view."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

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

    def scene(self, frame: Frame, verdict: Verdict) -> Callable[[Face], Identity]:
        """Gives each face of the frame its identity, by what the verdict says of it."""
        decisions = {face.track: decision for face, decision in zip(frame.faces, verdict.faces, strict=True)}
        wall = frame.wall or frame.time
        return lambda face: self.identity(face.track, decisions[face.track], wall)

    def identity(self, track: int, decision: Decision, wall: float) -> Identity:
        """The identity of a track at a time, UTC seconds, from which the rotation period follows."""
        period = int(wall // decision.rotation)
        if decision.identity is Scope.CAMERA:
            return self._bank.identity(*bank.camera(self._camera, period))
        scope = bank.track(self._camera, self._epoch, track)
        if decision.identity is Scope.ENROLLED and decision.member:
            scope = bank.enrolled(decision.member, period)
        known = self._chosen.get(scope)
        if known is None:
            in_view = [identity.key for identity in list(self._chosen.values())[-_IN_VIEW:]]
            known = self._chosen[scope] = self._bank.distinct(*scope, beside=in_view)
            if len(self._chosen) > _REMEMBERED:
                self._chosen.popitem(last=False)
        else:
            self._chosen.move_to_end(scope)
        return known
