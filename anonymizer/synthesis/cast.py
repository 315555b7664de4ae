"""Who plays whom: a new face for each track, never the same twice in one view."""

from __future__ import annotations

from collections import OrderedDict

from anonymizer.frame import Face
from anonymizer.synthesis import bank
from anonymizer.synthesis.bank import Bank, Identity

_REMEMBERED = 256
_IN_VIEW = 32


class Cast:
    """Identities of one camera's tracks. epoch: counts the starts of whatever numbers the tracks.

    In view are the tracks asked for most recently; two of them never share an identity.
    """

    def __init__(self, people: Bank, camera: str, epoch: int) -> None:
        self._bank = people
        self._camera = camera
        self._epoch = epoch
        self._chosen: OrderedDict[int, Identity] = OrderedDict()

    def __call__(self, face: Face) -> Identity:
        """The identity of the face's track."""
        known = self._chosen.get(face.track)
        if known is not None:
            self._chosen.move_to_end(face.track)
            return known
        scope = bank.track(self._camera, self._epoch, face.track)
        in_view = [identity.key for identity in list(self._chosen.values())[-_IN_VIEW:]]
        identity = self._bank.distinct(*scope, beside=in_view)
        self._chosen[face.track] = identity
        if len(self._chosen) > _REMEMBERED:
            self._chosen.popitem(last=False)
        return identity

