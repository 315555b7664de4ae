"""The way of one camera's frames: find the faces, let the policy decide, paint. Read this first.

    pipeline = Pipeline(finder, landmarker, policy, swapper, identity_of)
    for frame in source:
        for done in pipeline.push(frame):
            encoder.write(done)
    for done in pipeline.flush():
        encoder.write(done)

Every frame goes in once and comes out once, in order, a look-ahead later. There is no way past ``_finish``: whatever
fails in it, the picture is covered whole before it is handed on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from anonymizer.faces.finder import Finder, Ready
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.pose import pose_of
from anonymizer.faces.smoothing import Smoother
from anonymizer.frame import Face, Frame
from anonymizer.synthesis import cover
from anonymizer.synthesis.bank import Identity
from anonymizer.synthesis.paint import paint
from anonymizer.synthesis.swapper import Swapper

log = logging.getLogger(__name__)

SMALLEST = 14
"""Pixels: boxes that are less high get no landmarks, since nothing could be drawn there."""


class Decides(Protocol):
    """The policy as the frame path sees it."""

    def decide(self, frame: Frame) -> None:
        """Set action and rule of each face. Asked when the frame is painted, so that waiting frames obey new rules."""
        ...


class Pipeline:
    """One source's stages, wired. ``seconds`` adds up the wall time of each stage."""

    def __init__(
        self,
        finder: Finder,
        landmarker: Landmarker | None,
        policy: Decides,
        swapper: Swapper | None,
        identity_of: Callable[[Face], Identity],
    ) -> None:
        self._finder = finder
        self._landmarker = landmarker
        self._policy = policy
        self._swapper = swapper
        self._identity_of = identity_of
        self._smoother = Smoother()
        self.seconds = {"detect and track": 0.0, "landmarks": 0.0, "decide": 0.0, "paint": 0.0}

    def push(self, frame: Frame) -> list[Frame]:
        """Take a decoded frame; returns those that are painted and may be shown, oldest first, none or several."""
        start = perf_counter()
        ready = self._finder.push(frame)
        self.seconds["detect and track"] += perf_counter() - start
        return [self._finish(one) for one in ready]

    def flush(self) -> list[Frame]:
        """All frames that still wait, painted. The next frame starts afresh, with new tracks."""
        return [self._finish(one) for one in self._finder.flush()]

    def _finish(self, ready: Ready) -> Frame:
        frame = ready.frame
        frame.uncertain = ready.blind
        if not frame.uncertain:
            try:
                self._decide_and_paint(frame)
            except Exception as error:
                log.exception("a frame could not be painted and is covered whole")
                frame.uncertain = f"painting failed: {error}"
        if frame.uncertain:
            assert frame.picture is not None
            frame.planes = frame.picture.edit()
            cover.privacy(frame.planes)
            for face in frame.faces:
                face.action = face.method = "privacy"
                face.painted = face.box
        return frame

    def _decide_and_paint(self, frame: Frame) -> None:
        start = perf_counter()
        self._locate(frame)
        located = perf_counter()
        self._policy.decide(frame)
        decided = perf_counter()
        if any(face.action != "keep" for face in frame.faces):
            assert frame.picture is not None
            frame.planes = frame.picture.edit()
            fallbacks = paint(frame.planes, frame.faces, self._swapper, self._identity_of, frame.time)
            for one in fallbacks:
                if one.error is not None:
                    log.warning("a face is covered instead of replaced: %s", one.reason)
        self.seconds["landmarks"] += located - start
        self.seconds["decide"] += decided - located
        self.seconds["paint"] += perf_counter() - decided

    def _locate(self, frame: Frame) -> None:
        """Landmarks and pose of the faces that are large enough to be replaced."""
        if self._landmarker is None or self._swapper is None:
            return
        worth = [face for face in frame.faces if face.box[3] >= SMALLEST]
        if not worth:
            return
        found = self._landmarker(frame.planes, worth)
        solid = self._smoother([face.track for face in worth], found.solid, frame.time)
        self._smoother.keep({face.track for face in worth})
        for face, points, presence, pose in zip(worth, solid, found.presence, pose_of(solid), strict=True):
            face.landmarks, face.presence = points[:, :2], float(presence)
            face.pose = float(pose[0]), float(pose[1]), float(pose[2])
