"""The stage that recognises enrolled people, where a rule asks for it and not otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from anonymizer.faces import topology
from anonymizer.faces.recogniser import Recogniser
from anonymizer.frame import Face, Frame
from anonymizer.groups import Gallery
from anonymizer.policy import Policy

INTERVAL, EAGER = 0.25, 0.08
"""Seconds between two looks at one track; the shorter ones for a track's first looks, and after it touched another."""
EAGER_LOOKS = 6
"""Looks at the shorter interval: enough to recognise, few enough for strangers to be cheap."""
CAP = 3
"""Faces looked at in one picture at most."""
SMALLEST = 36
"""Pixels: in a face less high nobody is told from anybody."""


class Recognition:
    """Tells the policy who is who. Embeddings live as long as a call and are kept nowhere."""

    def __init__(self, recogniser: Recogniser, gallery: Gallery) -> None:
        self._recogniser = recogniser
        self.gallery = gallery
        self._looked: dict[int, tuple[float, int]] = {}
        """When each track was last looked at, and how often since it stood alone."""

    def look(self, frame: Frame, policy: Policy) -> None:
        """Look at the faces of a frame that are due, those longest unseen first."""
        if not self.gallery or not policy.rules.asks_groups:
            return
        now, touching = frame.time, _touching(frame.faces)
        before, self._looked = self._looked, {}
        for face in frame.faces:
            at, count = before.get(face.track, (float("-inf"), 0))
            self._looked[face.track] = (at if at <= now else float("-inf")), 0 if face.track in touching else count
        due = [face for face in frame.faces if face.track not in touching and _fit(face) and self._due(face, now)]
        for face in sorted(due, key=lambda f: self._looked[f.track][0])[:CAP]:
            self._looked[face.track] = now, self._looked[face.track][1] + 1
            points = face.points if face.landmarks is None else topology.five_points(face.landmarks[None])[0]
            assert points is not None
            embedding = self._recogniser.embed(frame.planes, points)
            if embedding is not None:
                policy.recognised(face.track, self.gallery.match(embedding, now, frame.wall or now))

    def _due(self, face: Face, now: float) -> bool:
        at, count = self._looked[face.track]
        return now - at >= (EAGER if count < EAGER_LOOKS else INTERVAL) - 1e-3


def _touching(faces: Sequence[Face]) -> set[int]:
    """Tracks whose boxes, grown by a fifth on each side, overlap another's: an embedding may then be of either."""
    touching = set()
    for i, a in enumerate(faces):
        for b in faces[i + 1 :]:
            (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
            if abs(2 * (ax - bx) + aw - bw) < 1.4 * (aw + bw) and abs(2 * (ay - by) + ah - bh) < 1.4 * (ah + bh):
                touching |= {a.track, b.track}
    return touching


def _fit(face: Face) -> bool:
    """Whether the face can be told from others: large enough, and seen from the front or half."""
    if (face.seen or face.box)[3] < SMALLEST or (face.landmarks is None and face.points is None):
        return False
    return face.pose is None or abs(face.pose[0]) < 40
