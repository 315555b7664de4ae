"""The space of faces and times, cut into cells in which no condition of two rule sets changes.

A dimension is one thing that rules ask about; a set of its cells is a bit mask. A literal (dimension, mask) says that
the face's cell is in the mask; a clause is an alternative of literals.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anonymizer.policy import geometry
from anonymizer.policy.actions import Action
from anonymizer.policy.decision import CameraRules
from anonymizer.policy.geometry import Polygon
from anonymizer.policy.rules import Certainty, Range, Rule, RuleSet

Literal = tuple[int, int]
Clause = tuple[Literal, ...]

OUT, OVER, IN = 1, 2, 4
"""A face and a zone: apart even with the margin, touching, wholly inside."""
NEITHER, BOTH, OLD_ONLY, NEW_ONLY = 1, 2, 4, 8
"""Who recognises a face: the old rules' thresholds, the new ones'."""
TIME, KNOWN, FRESH, POSE, HEIGHT, SHARE, VIEW, CONFIDENCE = range(8)
RANGES = {HEIGHT: "height", SHARE: "height_share", VIEW: "time_in_view", CONFIDENCE: "confidence"}


MAX_INSTANTS = 60_000


class Intricate(Exception):
    """Two rule sets are too large to be compared; the message says in what."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that stands for all at which the same schedules are on. old, new: those schedules; None: not judged."""

    time: float | None
    old: frozenset[str] | None
    new: frozenset[str] | None


def moments(old: RuleSet, new: RuleSet) -> list[Moment]:
    """One moment for every combination of schedules that can be on together, and one for an unknown time.

    Raises Intricate when there are too many times at which one changes.
    """
    sides = []
    for rules in (old, new):
        used = {name for rule in rules.rules for name in rule.when.schedule}
        sides.append({name: table for name, table in rules.timetables().items() if name in used})
    blind = [None if side else frozenset[str]() for side in sides]
    found = {(blind[0], blind[1]): Moment(None, blind[0], blind[1])}
    for time in _instants(old, new) if any(sides) else ():
        on: list[frozenset[str] | None] = []
        for side in sides:
            try:
                on.append(frozenset(name for name, table in side.items() if table.active(time)))
            except ValueError:
                on.append(None)
        found.setdefault((on[0], on[1]), Moment(time, on[0], on[1]))
    return list(found.values())


def _instants(old: RuleSet, new: RuleSet) -> list[float]:
    """Every time at which a schedule may change, over enough days to see each combination.

    Between two special days (holidays, events) a week repeats itself, so eight days after each special day, and one
    week without any, show all. With two time zones, whose clocks change on different days, a whole year is added.
    """
    special: set[datetime.date] = set()
    instants: set[float] = set()
    minutes = {0}
    first = datetime.date(2026, 1, 5)
    zones = {zoneinfo.ZoneInfo(rules.timezone) for rules in (old, new)}
    for rules in (old, new):
        zone = zoneinfo.ZoneInfo(rules.timezone)
        special |= set(rules.holidays)
        for schedule in rules.schedules.values():
            for window in schedule.windows:
                minutes |= {window.start % 1440, window.end % 1440}
        for calendar in rules.calendars.values():
            special |= calendar.days
            first = datetime.datetime.fromtimestamp(calendar.since, zone).date() + datetime.timedelta(days=8)
            for time in (calendar.since, calendar.until, *(t for event in calendar.events for t in event)):
                instants.add(time)
                special.add(datetime.datetime.fromtimestamp(time, zone).date())
    days = {day + datetime.timedelta(days=n) for day in special for n in range(-2, 9)}
    for _ in range(520):
        week = [first + datetime.timedelta(days=n) for n in range(-1, 9)]
        if special.isdisjoint(week):
            break
        first += datetime.timedelta(days=7)
    days |= {first + datetime.timedelta(days=n) for n in range(8 if len(zones) == 1 else 367)}
    if len(days) * len(minutes) * len(zones) + len(instants) > MAX_INSTANTS:
        raise Intricate("the schedules change too often to be compared")
    for zone in zones:
        for day in days:
            midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zone)
            instants |= {midnight.replace(hour=m // 60, minute=m % 60).timestamp() for m in minutes}
    return sorted(instants)


class Cells:
    """The dimensions for one camera. full: the mask of all cells of each dimension."""

    known = KNOWN

    def __init__(self, a: CameraRules, b: CameraRules, times: Sequence[Moment]) -> None:
        self.times = times
        both = (*a.here, *b.here)
        self.groups = sorted({group for rule in both for group in rule.when.group})
        used = {
            side.zones[name] for side in (a, b) for rule in side.here for name in rule.when.zone if name in side.zones
        }
        self.polygons: list[Polygon] = sorted(used)
        self.cuts: dict[int, list[float]] = {
            dim: sorted({c for r in both if (w := getattr(r.when, key)) for c in (w.min, w.max) if c})
            for dim, key in RANGES.items()
        }
        self.full = [(1 << len(times)) - 1, _recognisers(a.rules.recognition, b.rules.recognition), 3, 3]
        self.full += [(2 << len(self.cuts[dim])) - 1 for dim in RANGES]
        self.group_at = {group: len(self.full) + n for n, group in enumerate(self.groups)}
        self.full += [3] * len(self.groups)
        self.zone_at = {polygon: len(self.full) + n for n, polygon in enumerate(self.polygons)}
        self.full += [OUT | OVER | IN] * len(self.polygons)
        self.contained = [
            (self.zone_at[p], self.zone_at[q])
            for p in self.polygons
            for q in self.polygons
            if p != q and geometry.within(p, q)
        ]
        self.apart = [
            (self.zone_at[p], self.zone_at[q])
            for p in self.polygons
            for q in self.polygons
            if p != q and not geometry.touch(geometry.bounds(p), geometry.bounds(q))
        ]

    def known_mask(self, side: int) -> int:
        return BOTH | (OLD_ONLY, NEW_ONLY)[side]

    def clauses(self, rule: Rule, rules: CameraRules, side: int) -> tuple[Clause, ...] | None:
        """What must hold for the rule to decide; None where it never can on this camera."""
        when = rule.when
        keep = rule.then.action is Action.KEEP
        clauses: list[Clause] = []
        if keep:
            clauses.append(((FRESH, 1),))
        if when.schedule:
            on = [m.old if side == 0 else m.new for m in self.times]
            mask = sum(1 << n for n, names in enumerate(on) if names and not names.isdisjoint(when.schedule))
            clauses.append(((TIME, mask),))
        if when.group:
            clauses.append(((KNOWN, self.known_mask(side)),))
            clauses.append(tuple((self.group_at[group], 1) for group in when.group))
        if when.unknown is not None:
            mask = self.known_mask(side)
            clauses.append(((KNOWN, 15 & ~mask if when.unknown else mask),))
        if when.pose is not None:
            clauses.append(((POSE, 1 if when.pose == "usable" else 2),))
        for dim, key in RANGES.items():
            asked: Range | None = getattr(when, key)
            if asked is not None:
                cells = range(len(self.cuts[dim]) + 1)
                clauses.append(((dim, sum(1 << n for n in cells if asked.holds(self.middle(dim, n)))),))
        if when.zone:
            mask = IN if keep else OVER | IN
            zones = tuple((self.zone_at[rules.zones[name]], mask) for name in when.zone if name in rules.zones)
            if not zones:
                return None
            clauses.append(zones)
        return tuple(clauses)

    def middle(self, dim: int, cell: int) -> float:
        """A value in a cell of a range dimension."""
        edges = [0.0, *self.cuts[dim]]
        if cell + 1 < len(edges):
            return (edges[cell] + edges[cell + 1]) / 2
        return edges[-1] + (0.1 if dim in (SHARE, CONFIDENCE) else 40.0)

    def time(self, state: list[int] | None) -> float | None:
        mask = state[TIME] if state else 0
        return next((m.time for n, m in enumerate(self.times) if mask >> n & 1), None)

    def narrow(self, state: list[int], literals: Iterable[Literal]) -> list[int] | None:
        """state with the literals added and their consequences drawn; None where that is impossible."""
        after = list(state)
        for dim, mask in literals:
            after[dim] &= mask
            if not after[dim]:
                return None
        changed = True
        while changed:
            changed = False
            for p, q in self.contained:  # p lies within q
                old = after[p], after[q]
                if after[p] == IN:
                    after[q] &= IN
                elif not after[p] & OUT:
                    after[q] &= OVER | IN
                if after[q] == OUT:
                    after[p] &= OUT
                elif not after[q] & IN:
                    after[p] &= OUT | OVER
                changed |= old != (after[p], after[q])
            for p, q in self.apart:
                if after[p] == IN and after[q] & IN:
                    after[q] &= OUT | OVER
                    changed = True
            if not all(after):
                return None
        return after


def _recognisers(old: Certainty, new: Certainty) -> int:
    """Which of the two may recognise a face that the other does not."""
    mask = NEITHER | BOTH
    if not _surer(new, old):
        mask |= NEW_ONLY
    if not _surer(old, new):
        mask |= OLD_ONLY
    return mask


def _surer(one: Certainty, other: Certainty) -> bool:
    """Whether whom one recognises, other surely recognises too."""
    return (
        one.enter >= other.enter
        and one.leave >= other.leave
        and one.lead >= other.lead
        and one.sightings >= other.sightings
        and one.fresh <= other.fresh
    )
