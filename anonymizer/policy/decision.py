"""The decision: what happens to each face of one picture. Pure.

Every doubt leads to covering: a face that cannot be judged gets the rule set's default, which is never ``keep``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from anonymizer.frame import Box
from anonymizer.policy import geometry
from anonymizer.policy.actions import Action, Cover, Enhance, Scope, Treatment, measure
from anonymizer.policy.geometry import Polygon, Rect
from anonymizer.policy.recognition import Recognition
from anonymizer.policy.rules import Rule, RuleSet

ZONE_MARGIN = 0.25
"""Share of a face's size added on each side before it is asked whether the face touches a zone."""
TOUCH_MARGIN = 0.2
"""Two faces touch when their boxes, grown by this share of their size on each side, overlap."""
KEEP_FRESH = 0.4
"""Seconds: a face whose newest detection is older, or that far in the future, is not kept."""
MAX_TIME = 2e11
"""Seconds since 1970, about the year 8300: beyond it the calendar is not trusted."""


@dataclass(frozen=True, slots=True)
class FaceFacts:
    """What the rules may ask about a face.

    box: what would be covered, pixels of the full picture. height: of the face itself, pixels; None where it is the
    box's. age: seconds between the picture and the detection that the box rests on.
    confidence: the detector's score, 0–1. time_in_view: seconds. pose_usable: not turned too far for a replacement.
    known: who the face is, once ``Recognitions.known`` says so.
    """

    track: int
    box: Box
    age: float = 0.0
    confidence: float = 1.0
    time_in_view: float = 0.0
    pose_usable: bool = True
    known: Recognition | None = None
    height: float | None = None

    @property
    def tall(self) -> float:
        return self.box[3] if self.height is None else self.height


@dataclass(frozen=True, slots=True)
class Picture:
    """Where and when. time: seconds since 1970, or None where the source has no wall clock; width, height: pixels."""

    camera: str
    time: float | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Decision:
    """rule: the name of the rule that decided, with a note where something else had a say. member: the enrolled person
    whose identity is meant, for the scope ``enrolled``. rotation: seconds that an identity of the scopes ``camera`` and
    ``enrolled`` lives."""

    rule: str
    action: Action
    margin: float
    identity: Scope
    enhance: Enhance
    rotation: float
    member: str = ""

    @property
    def cover(self) -> Cover:
        """The decision measured for comparison."""
        then = Treatment(action=self.action, margin=self.margin, identity=self.identity)
        return measure(then, self.rotation / 3600)


@dataclass(frozen=True, slots=True)
class Verdict:
    """faces: in the order given. whole: the whole picture has to be covered. masks: polygons to be covered, fractions
    of the picture. doubts: what could not be evaluated, for the log."""

    faces: tuple[Decision, ...]
    whole: bool
    masks: tuple[Polygon, ...]
    doubts: tuple[str, ...] = ()


class Unjudged(Exception):
    """A face or a picture that the rules cannot be applied to; the message says why."""


class CameraRules:
    """A rule set made ready for one camera."""

    def __init__(self, rules: RuleSet, camera: str) -> None:
        self.rules = rules
        self.camera = camera
        self.timetables = rules.timetables()
        self.zones = {name: area.polygon for name, area in rules.zones.items() if area.on(camera)}
        self.masks = tuple(area.polygon for area in rules.masks.values() if area.on(camera))
        here = [rule for rule in rules.rules if not rule.when.camera or camera in rule.when.camera]
        self.needs_time = any(rule.when.schedule for rule in rules.rules)
        self.here = tuple(here)
        self._now: tuple[int, tuple[Rule, ...]] | None = None

    def at(self, time: float | None) -> tuple[Rule, ...]:
        """The rules whose camera and schedule hold at time. Raises Unjudged when that cannot be said."""
        if not self.needs_time:
            return self.here
        if time is None:
            raise Unjudged("the rules have schedules and the time is not known")
        if not abs(time) < MAX_TIME:
            raise Unjudged(f"{time} is no time that the schedules know")
        second = int(time // 1)
        if self._now is None or self._now[0] != second:
            try:
                on = {name for name, table in self.timetables.items() if table.active(time)}
            except ValueError as error:
                raise Unjudged(f"the schedules cannot be evaluated: {error}") from None
            rules = tuple(r for r in self.here if not r.when.schedule or not on.isdisjoint(r.when.schedule))
            self._now = second, rules
        return self._now[1]

    def empty(self, time: float | None) -> Treatment:
        """What the rules say of a picture without a face: the first that asks nothing of one, else the default.

        Only ``privacy`` matters here: it covers the picture whole, whether or not a face was found.
        """
        try:
            return next((rule.then for rule in self.at(time) if not rule.when.about_faces), self.rules.default)
        except Unjudged:
            return self.rules.default

    def decide(self, faces: Sequence[FaceFacts], picture: Picture) -> Verdict:
        """What happens to each of faces in picture. Never raises: what cannot be judged gets the default."""
        doubts: list[str] = []
        default = self._decision("default", self.rules.default, None)
        try:
            rules = self.at(picture.time)
        except Unjudged as why:
            doubts.append(str(why))
            decisions = [default] * len(faces)
            return Verdict(tuple(decisions), default.action is Action.PRIVACY, self.masks, tuple(doubts))
        decisions = []
        for face in faces:
            try:
                decisions.append(self._judge(rules, face, picture))
            except Exception as why:  # whatever a broken record raises, the face is covered
                doubts.append(f"face {face.track}: {why}")
                decisions.append(default)
        decisions = spread(faces, decisions)
        whole = self.empty(picture.time).action is Action.PRIVACY or any(d.action is Action.PRIVACY for d in decisions)
        return Verdict(tuple(decisions), whole, self.masks, tuple(doubts))

    def _judge(self, rules: Sequence[Rule], face: FaceFacts, picture: Picture) -> Decision:
        rect = _rect(face, picture)
        near = geometry.grown(rect, ZONE_MARGIN)
        shown = max(0.0, rect[0]), max(0.0, rect[1]), min(1.0, rect[2]), min(1.0, rect[3])
        met: dict[str, bool] = {}
        for rule in rules:
            if self._holds(rule, face, picture, near, shown, met):
                return self._decision(rule.name, rule.then, face.known)
        return self._decision("default", self.rules.default, face.known)

    def _holds(
        self, rule: Rule, face: FaceFacts, picture: Picture, near: Rect, shown: Rect, met: dict[str, bool]
    ) -> bool:
        when = rule.when
        keep = rule.then.action is Action.KEEP
        if keep and not abs(face.age) <= KEEP_FRESH:
            return False
        known = face.known
        if when.group and (known is None or known.groups.isdisjoint(when.group)):
            return False
        if when.unknown is not None and when.unknown is not (known is None):
            return False
        if when.height is not None and not when.height.holds(face.tall):
            return False
        if when.height_share is not None and not when.height_share.holds(face.tall / picture.height):
            return False
        if when.time_in_view is not None and not when.time_in_view.holds(face.time_in_view):
            return False
        if when.confidence is not None and not when.confidence.holds(face.confidence):
            return False
        if when.pose is not None and (when.pose == "usable") is not face.pose_usable:
            return False
        if not when.zone:
            return True
        zones = self.zones
        if keep:
            return any(name in zones and geometry.inside(zones[name], shown) for name in when.zone)
        for name in when.zone:
            if name not in met:
                met[name] = name in zones and geometry.overlaps(zones[name], near)
            if met[name]:
                return True
        return False

    def _decision(self, rule: str, then: Treatment, known: Recognition | None) -> Decision:
        enrolled = then.identity is Scope.ENROLLED
        scope = Scope.TRACK if enrolled and known is None else then.identity
        member = known.member if enrolled and known is not None else ""
        return Decision(rule, then.action, then.margin, scope, then.enhance, self.rules.rotation_hours * 3600, member)


def _rect(face: FaceFacts, picture: Picture) -> Rect:
    """The face's box in fractions of the picture. Raises Unjudged for what is no face in the picture."""
    box = x, y, w, h = face.box
    if not all(map(math.isfinite, (face.confidence, face.time_in_view, face.tall))):
        raise Unjudged("its height, confidence or time in view is not a number")
    if not (picture.width > 0 and picture.height > 0):
        raise Unjudged(f"a picture of {picture.width}×{picture.height} pixels")
    rect = x / picture.width, y / picture.height, (x + w) / picture.width, (y + h) / picture.height
    if not (w > 0 and h > 0 and rect[0] < 1 and rect[1] < 1 and rect[2] > 0 and rect[3] > 0):
        raise Unjudged(f"a face at {box} is not in the picture")
    if not all(abs(edge) < 1e6 for edge in rect):
        raise Unjudged(f"a face at {box} is not finite")
    return rect


def _reach(box: Box) -> Rect:
    try:
        x, y, w, h = box
        if w > 0 and h > 0 and all(map(math.isfinite, (x, y, w, h))):
            return geometry.grown((x, y, x + w, y + h), TOUCH_MARGIN)
    except (TypeError, ValueError):
        pass
    return -math.inf, -math.inf, math.inf, math.inf


def touching(faces: Sequence[FaceFacts]) -> list[tuple[int, int]]:
    """Pairs of positions in faces whose grown boxes overlap. A face without a proper box may be anywhere."""
    rects = [_reach(face.box) for face in faces]
    order = sorted(range(len(rects)), key=lambda i: rects[i][0])
    pairs = []
    for place, i in enumerate(order):
        right = rects[i][2]
        for j in order[place + 1 :]:
            if rects[j][0] > right:
                break
            if geometry.touch(rects[i], rects[j]):
                pairs.append((min(i, j), max(i, j)))
    return pairs


def spread(faces: Sequence[FaceFacts], decisions: Sequence[Decision]) -> list[Decision]:
    """Raises weak treatments of faces that touch, directly or through others, a face with a stronger one.

    Which pixels belong to whom is uncertain where faces touch, and so is which track is whose. So each face of a
    cluster gets the strongest action in it, though not more than ``replace`` on this account, and the largest margin.
    Both are maxima, so stricter decisions can only lead to a stricter result. A face raised so gets an identity of its
    own: who it is, is in doubt.
    """
    decided = list(decisions)
    margins = {d.margin for d in decided}
    if len(faces) < 2 or (len(margins) == 1 and all(d.action >= Action.REPLACE for d in decided)):
        return decided
    cluster = list(range(len(faces)))

    def root(i: int) -> int:
        while cluster[i] != i:
            i = cluster[i]
        return i

    for i, j in touching(faces):
        cluster[root(j)] = root(i)
    actions: dict[int, Action] = {}
    margin: dict[int, float] = {}
    for i, decision in enumerate(decided):
        at = root(i)
        actions[at] = max(decision.action, actions.get(at, Action.KEEP))
        if decision.action is not Action.KEEP:
            margin[at] = max(decision.margin, margin.get(at, 0.0))
    for i, decision in enumerate(decided):
        action, wide = min(actions[root(i)], Action.REPLACE), margin.get(root(i), decision.margin)
        if action > decision.action:
            note = f"{decision.rule} (touches another face)"
            decided[i] = replace(
                decision, rule=note, action=action, margin=wide, identity=Scope.TRACK, member="", enhance=Enhance.OFF
            )
        elif wide > decision.margin and decision.action is not Action.KEEP:
            decided[i] = replace(decision, margin=wide)
    return decided
