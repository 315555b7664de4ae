"""The rules of one camera, asked when a frame is painted: the hook in the frame's way."""

from __future__ import annotations

from dataclasses import replace

from anonymizer.frame import Face, Frame
from anonymizer.policy.actions import Action
from anonymizer.policy.decision import CameraRules, FaceFacts, Picture, Verdict, touching
from anonymizer.policy.recognition import Recognition, Recognitions
from anonymizer.policy.rules import RuleSet

USABLE_YAW = 60.0
USABLE_PITCH = 40.0
USABLE_PRESENCE = 0.5
"""Beyond these (degrees; the landmark net's presence) a pose is not usable."""
FORGET_AFTER = 10.0
"""Seconds after which a track that is gone starts anew."""


class Policy:
    """Decides for one camera. Not thread-safe, but ``rules`` may be set at any time: the next frame obeys them.

    epoch: what to add to a frame's time for seconds since 1970 where the frame does not carry its own; None where that
    is not known, so that rules with schedules give way to the default.
    """

    def __init__(self, rules: RuleSet, camera: str, epoch: float | None = None) -> None:
        self.camera = camera
        self.epoch = epoch
        self._rules = CameraRules(rules, camera)
        self._recognitions = Recognitions()
        self._seen: dict[int, tuple[float, float]] = {}
        self._tidied = float("-inf")

    @property
    def rules(self) -> RuleSet:
        return self._rules.rules

    @rules.setter
    def rules(self, rules: RuleSet) -> None:
        self._rules = CameraRules(rules, self.camera)

    def recognised(self, track: int, recognition: Recognition) -> None:
        """Takes what the recogniser said of a track's face in one frame."""
        self._recognitions.add(track, recognition)

    def decide(self, frame: Frame) -> Verdict:
        """Sets action and rule of every face of the frame; the verdict holds what else the painter needs.

        Never raises for anything that a frame can hold: what cannot be judged gets the rule set's default.
        """
        rules, now = self._rules, frame.time
        facts = [self._facts(face, now) for face in frame.faces]
        if self._recognitions:
            self._recognise(facts, now)
            facts = [self._with_known(fact, rules, now) for fact in facts]
        self._tidy(now)
        time = frame.wall or (None if self.epoch is None else now + self.epoch)
        verdict = rules.decide(facts, Picture(self.camera, time, frame.planes.width, frame.planes.height))
        for face, decision in zip(frame.faces, verdict.faces, strict=True):
            face.action = str(Action.PRIVACY if verdict.whole else decision.action)
            face.rule = decision.rule
            face.enhance = str(decision.enhance)
        return verdict

    def _facts(self, face: Face, now: float) -> FaceFacts:
        first, _ = self._seen.get(face.track, (now, now))
        self._seen[face.track] = first, now
        usable = face.presence >= USABLE_PRESENCE and face.pose is not None
        if usable and face.pose is not None:
            usable = abs(face.pose[0]) <= USABLE_YAW and abs(face.pose[1]) <= USABLE_PITCH
        height = None if face.seen is None else face.seen[3]
        return FaceFacts(face.track, face.box, now - face.seen_at, face.score, now - first, usable, height=height)

    def _recognise(self, facts: list[FaceFacts], now: float) -> None:
        """Faces that touch may exchange their tracks: both have to be recognised anew."""
        for pair in touching(facts):
            for i in pair:
                self._recognitions.doubt(facts[i].track, now)

    def _with_known(self, fact: FaceFacts, rules: CameraRules, now: float) -> FaceFacts:
        known = self._recognitions.known(fact.track, now, rules.rules.recognition)
        return fact if known is None else replace(fact, known=known)

    def _tidy(self, now: float) -> None:
        if abs(now - self._tidied) < 1.0:
            return
        self._tidied = now
        self._recognitions.forget(now)
        for track in [track for track, (_, last) in self._seen.items() if abs(now - last) > FORGET_AFTER]:
            del self._seen[track]
