"""The way of one camera's frames: find the faces, let the policy decide, paint. Read this first.

    pipeline = Pipeline(finder, landmarker, policy, swapper, cast)
    for frame in source:
        for done in pipeline.push(frame):
            encoder.write(done)
    for done in pipeline.flush():
        encoder.write(done)

Every frame goes in once and comes out once, in order, a look-ahead later. There is no way past ``finish``: whatever
fails before it or in it, the picture is covered whole there. A live camera's worker calls the three parts of ``push``,
``find``, ``locate`` and ``finish``, in a thread each.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from anonymizer.faces import agreement
from anonymizer.faces.finder import Finder, Ready
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.pose import pose_of
from anonymizer.faces.smoothing import Smoother
from anonymizer.frame import Frame, Planes
from anonymizer.policy import Policy
from anonymizer.policy.geometry import Polygon
from anonymizer.recognition import Recognition
from anonymizer.synthesis import cover
from anonymizer.synthesis.cast import Cast
from anonymizer.synthesis.paint import paint
from anonymizer.synthesis.swapper import Swapper

log = logging.getLogger(__name__)

SMALLEST = 14
"""Pixels: boxes that are less high get no landmarks, since nothing could be drawn there."""
DOUBTED, REST = 0.4, 0.1
"""A face with less presence than DOUBTED is hidden or turned away, and is covered, and so is one whose landmarks do not
go with the detector's points: the landmark net, which costs more than the paint, sees it again REST seconds later."""


class Pipeline:
    """One source's stages, wired. ``seconds`` adds up the wall time of each stage."""

    def __init__(
        self, finder: Finder, landmarker: Landmarker | None, policy: Policy, swapper: Swapper | None, cast: Cast
    ) -> None:
        self._finder = finder
        self._landmarker = landmarker
        self.policy = policy
        self._swapper = swapper
        self._cast = cast
        self.replacing = True
        """Whether faces that the policy wants replaced are; False covers them solid, which is stronger and cheaper."""
        self.newcomers: int | None = None
        """As for ``paint``: a live camera's worker has no time to look for many identities at once."""
        self.recognition: Recognition | None = None
        """Who tells the policy of enrolled people; None where no rule asks."""
        self._smoother = Smoother()
        self._rests: dict[int, float] = {}
        """Tracks that the landmark net does not see before that time."""
        self._doubts: set[str] = set()
        """What has been said of the rules: it holds of every frame, and is said once."""
        self.seconds = {"detect and track": 0.0, "landmarks": 0.0, "decide": 0.0, "paint": 0.0}

    def push(self, frame: Frame) -> list[Frame]:
        """Take a decoded frame; returns those that are painted and may be shown, oldest first, none or several."""
        return [self.finish(self.locate(one)) for one in self.find(frame)]

    def flush(self) -> list[Frame]:
        """All frames that still wait, painted. The next frame starts afresh, with new tracks."""
        return [self.finish(self.locate(one)) for one in self.rest()]

    def find(self, frame: Frame) -> list[Ready]:
        """Take a decoded frame; returns those whose faces are known, oldest first, for ``locate``."""
        start = perf_counter()
        ready = self._finder.push(frame)
        self.seconds["detect and track"] += perf_counter() - start
        return ready

    def rest(self) -> list[Ready]:
        """All frames that still wait, for ``locate``. The next frame starts afresh, with new tracks."""
        return self._finder.flush()

    def limit_detector(self, size: int) -> None:
        """Let the detector see at most size pixels of the longer side: the first thing to go in overload."""
        self._finder.limit(size)

    @staticmethod
    def covered(frame: Frame, reason: str) -> Frame:
        """The frame, covered whole, for when nothing can be known of it."""
        frame.uncertain = reason
        _cover_whole(frame)
        return frame

    def locate(self, ready: Ready) -> Ready:
        """Find the landmarks of a frame's faces, in the order of ``find``; for ``finish``, blind where that failed."""
        start = perf_counter()
        try:
            if not ready.blind:
                self._locate(ready.frame)
        except Exception as error:
            log.exception("landmarks failed, and the frame is covered whole")
            ready = ready._replace(blind=f"landmarks failed: {error}")
        self.seconds["landmarks"] += perf_counter() - start
        return ready

    def finish(self, ready: Ready) -> Frame:
        """The frame, painted, or covered whole with the reason in ``uncertain``. In the order of ``locate``."""
        frame = ready.frame
        frame.uncertain = ready.blind
        if not frame.uncertain:
            try:
                self._decide_and_paint(frame)
            except Exception as error:
                log.exception("a frame could not be painted and is covered whole")
                frame.uncertain = f"painting failed: {error}"
        if frame.uncertain:
            _cover_whole(frame)
        return frame

    def _decide_and_paint(self, frame: Frame) -> None:
        start = perf_counter()
        if self.recognition is not None:
            self.recognition.look(frame, self.policy)
        verdict = self.policy.decide(frame)
        for doubt in set(verdict.doubts) - self._doubts:
            log.warning("rules could not be applied, and the default was: %s", doubt)
            self._doubts.add(doubt)
        decided = perf_counter()
        if verdict.whole:
            _cover_whole(frame)
        elif verdict.masks or any(face.action != "keep" for face in frame.faces):
            for face, decision in zip(frame.faces, verdict.faces, strict=True):
                face.margin = decision.margin
            planes = _edit(frame)
            cast = self._cast.scene(frame, verdict)
            swapper = self._swapper if self.replacing else None
            # Masks lie beneath too: what surrounds a drawn face moves, and nothing masked may move out.
            _mask(planes, verdict.masks)
            for one in paint(planes, frame.faces, swapper, cast, frame.time, self.newcomers):
                if one.error is not None:
                    log.warning("a face is covered instead of replaced: %s", one.reason)
            _mask(planes, verdict.masks)
        self.seconds["decide"] += decided - start
        self.seconds["paint"] += perf_counter() - decided

    def _locate(self, frame: Frame) -> None:
        """Landmarks and pose of the faces that are large enough to be replaced."""
        if self._landmarker is None or self._swapper is None or not self.replacing:
            return
        large = [face for face in frame.faces if face.box[3] >= SMALLEST]
        self._rests = {track: until for track, until in self._rests.items() if frame.time < until}
        worth = [face for face in large if face.track not in self._rests]
        self._smoother.keep({face.track for face in worth})
        if not worth:
            return
        for face in worth:
            face.landmarks = self._smoother.last(face.track)
        found = self._landmarker(frame.planes, worth)
        for face, points, presence in zip(worth, found.points, found.presence, strict=True):
            if presence < DOUBTED or (face.points is not None and agreement.doubt(points, face.points, believed=True)):
                self._rests[face.track] = frame.time + REST
        solid = self._smoother([face.track for face in worth], found.solid, frame.time, frame.planes.y)
        for face, points, presence, pose in zip(worth, solid, found.presence, pose_of(solid), strict=True):
            face.landmarks, face.presence = points[:, :2], float(presence)
            face.pose = float(pose[0]), float(pose[1]), float(pose[2])


def _edit(frame: Frame) -> Planes:
    assert frame.picture is not None
    frame.planes = frame.picture.edit()
    return frame.planes


def _mask(planes: Planes, masks: Sequence[Polygon]) -> None:
    for corners in masks:
        cover.polygon(planes, np.array(corners) * (planes.width, planes.height))


def _cover_whole(frame: Frame) -> None:
    cover.privacy(_edit(frame))
    frame.whole = True
    for face in frame.faces:
        face.action = face.action or "privacy"
        face.method, face.painted = "privacy", face.box
