"""What a rule file may say, and how it is read."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from anonymizer import yamlfile
from anonymizer.errors import ConfigError
from anonymizer.policy import geometry
from anonymizer.policy.actions import Action, Treatment
from anonymizer.policy.geometry import Polygon
from anonymizer.policy.schedule import Calendar, Timetable, Window, read_calendar
from anonymizer.settings import Wrong, build, hint, setting
from anonymizer.yamlfile import InvalidFile, Mark, Problem

MAX_RULES = 200
MAX_CORNERS = 64
MAX_NAMED = 100
MAX_HOLIDAYS = 1000
MAX_WINDOWS = 50
YEARS = range(1990, 2200)
"""Years in which a holiday may lie."""
CALENDAR_YEARS = 3
"""How far ahead calendars are written out when rules are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """From ``min`` on and below ``max``."""

    min: float | None = setting("From", default=None, minimum=0, example=20)
    max: float | None = setting("Below", default=None, minimum=0, example=60)

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise Wrong("a range needs min, max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise Wrong(f"min {self.min:g} is not below max {self.max:g}; the range is empty", "min")

    def holds(self, value: float) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value < self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """The conditions of a rule; all that are given must hold."""

    camera: tuple[str, ...] = setting("Cameras", default=(), single=True, minimum=1, example="gate")
    zone: tuple[str, ...] = setting(
        "Zones",
        default=(),
        single=True,
        minimum=1,
        example="till",
        description="The face touches one of these zones, with a margin; for keep: lies wholly inside one of them",
    )
    schedule: tuple[str, ...] = setting(
        "Schedules", default=(), single=True, minimum=1, example="opening", description="One of these schedules is on"
    )
    group: tuple[str, ...] = setting(
        "Groups",
        default=(),
        single=True,
        minimum=1,
        example="staff",
        description="The face is recognised as a member of one of these groups of enrolled people",
    )
    unknown: bool | None = setting(
        "Unknown", default=None, example=True, description="true: recognised as nobody; false: as any enrolled person"
    )
    height: Range | None = setting("Face height", default=None, unit="pixels")
    height_share: Range | None = setting("Face height", default=None, unit="shares of the picture's height")
    time_in_view: Range | None = setting("Time in view", default=None, unit="seconds")
    confidence: Range | None = setting("Detector's confidence", default=None, unit="shares of 1")
    pose: Literal["usable", "unusable"] | None = setting(
        "Pose",
        default=None,
        example="unusable",
        description="Whether the head is turned too far for a good replacement",
    )

    @property
    def about_faces(self) -> bool:
        """Whether anything is asked of a face, beyond camera and time."""
        asked = self.height, self.height_share, self.time_in_view, self.confidence, self.pose, self.unknown
        return bool(self.zone or self.group) or any(condition is not None for condition in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A polygon in fractions of the picture, on some cameras or on all."""

    polygon: Polygon = setting(
        "Polygon",
        description="Corners as [x, y], 0 to 1 from the upper left corner of the picture",
        minimum=3,
        maximum=MAX_CORNERS,
        example=[[0.1, 0.2], [0.5, 0.2], [0.5, 0.9], [0.1, 0.9]],
    )
    camera: tuple[str, ...] = setting("Cameras", default=(), single=True, minimum=1, example="gate")

    def __post_init__(self) -> None:
        for index, (x, y) in enumerate(self.polygon):
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise Wrong(
                    f"corner [{x:g}, {y:g}] lies outside the picture; write fractions from 0 to 1", "polygon", index
                )
        if geometry.crosses_itself(self.polygon):
            raise Wrong("the polygon's outline crosses or touches itself", "polygon")
        if abs(geometry.area(self.polygon)) < 1e-6:
            raise Wrong("the polygon has no area", "polygon")

    def on(self, camera: str) -> bool:
        return not self.camera or camera in self.camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When something applies."""

    windows: tuple[Window, ...] = setting(
        "Windows",
        default=(),
        single=True,
        maximum=MAX_WINDOWS,
        description="Weekly spans of local time",
        example=["Mon-Fri 08:00-18:00"],
    )
    holidays: Literal["closed", "ordinary", "only"] = setting(
        "Holidays",
        default="closed",
        description="Windows that begin on a holiday: do not count (closed), count (ordinary), or are the only ones "
        "that count (only)",
    )
    calendar: str | None = setting(
        "Calendar",
        default=None,
        description="An iCalendar file; the schedule is also on during its events",
        example="events.ics",
    )

    def __post_init__(self) -> None:
        if not self.windows and self.calendar is None:
            raise Wrong("a schedule needs windows, a calendar or both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How sure recognition must be. Similarities are the recogniser's cosine, -1 to 1."""

    enter: float = setting("Similarity to be recognised", default=0.5, minimum=-1, maximum=1)
    leave: float = setting("Similarity below which recognition ends at once", default=0.42, minimum=-1, maximum=1)
    lead: float = setting(
        "Lead",
        default=0.05,
        minimum=0,
        maximum=2,
        description="By how much the next most similar member must be less so",
    )
    sightings: int = setting("Sightings in a row before a face is recognised", default=3, minimum=1, maximum=100)
    fresh: float = setting("Age of the newest sighting at most", default=1.0, unit="seconds", minimum=0.05, maximum=10)

    def __post_init__(self) -> None:
        if self.leave > self.enter:
            raise Wrong("leave must not be above enter", "leave")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str = setting("Name", pattern=r"\S(.{0,78}\S)?", example="everyone else")
    when: When = setting("When", factory=When, description="Conditions; none given, the rule always applies")
    then: Treatment = setting("Then", description="What happens to the face")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Which face is treated how. The first rule whose conditions hold decides; where none does, the default."""

    default: Treatment = setting(
        "Default",
        factory=lambda: Treatment(action=Action.REPLACE),
        description="What happens where no rule applies, or one cannot be evaluated; never keep",
    )
    rules: tuple[Rule, ...] = setting("Rules", default=(), description="In order", maximum=MAX_RULES)
    zones: dict[str, Area] = setting(
        "Zones", factory=dict, description="Named polygons for the rules", maximum=MAX_NAMED
    )
    masks: dict[str, Area] = setting(
        "Masks",
        factory=dict,
        description="Named polygons that are always covered, whatever is in them",
        maximum=MAX_NAMED,
    )
    timezone: str = setting("Time zone", default="UTC", description="Of windows and holidays", example="Europe/Berlin")
    schedules: dict[str, Schedule] = setting(
        "Schedules", factory=dict, description="Named schedules for the rules", maximum=MAX_NAMED
    )
    holidays: tuple[datetime.date, ...] = setting(
        "Holidays", default=(), description="Dates such as 2026-12-25", maximum=MAX_HOLIDAYS
    )
    holiday_calendar: str | None = setting(
        "Holiday calendar",
        default=None,
        description="An iCalendar file whose all-day events are holidays too",
        example="holidays.ics",
    )
    rotation_hours: float = setting(
        "Rotation",
        default=24.0,
        unit="hours",
        minimum=1,
        maximum=24 * 366,
        description="After this time identities of the scopes camera and enrolled change",
    )
    recognition: Certainty = setting("Recognition", factory=Certainty)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    """The calendars that schedules name, as read; filled by ``load``."""

    KEEP_REASONS: ClassVar = "zone or group"

    def __post_init__(self) -> None:
        wrong = list(self._wrong())
        if wrong:
            raise ExceptionGroup("rules", wrong)

    def _wrong(self) -> Iterator[Wrong]:
        if self.default.action is Action.KEEP:
            yield Wrong("the default must not be keep: it also stands for errors", "default")
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            zones = zoneinfo.available_timezones()
            yield Wrong(f"{self.timezone!r} is not a time zone.{hint(self.timezone, zones)}", "timezone")
        for index, day in enumerate(self.holidays):
            if day.year not in YEARS:
                yield Wrong(f"{day} is not between {YEARS[0]} and {YEARS[-1]}", "holidays", index)
        seen: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            at = "rules", index
            if rule.name == "default":
                yield Wrong("no rule may be named 'default': that name stands for the default", *at, "name")
            if rule.name in seen:
                yield Wrong(f"rule {seen[rule.name] + 1} is already named {rule.name!r}", *at, "name")
            seen.setdefault(rule.name, index)
            for what, asked, known in (
                ("zone", rule.when.zone, self.zones),
                ("schedule", rule.when.schedule, self.schedules),
            ):
                for place, name in enumerate(asked):
                    if name not in known:
                        yield Wrong(f"there is no {what} {name!r}.{hint(name, known)}", *at, "when", what, place)
            if rule.when.unknown and rule.when.group:
                yield Wrong("an unknown face is in no group; remove one of the two", *at, "when", "unknown")
            if rule.then.action is Action.KEEP and not (rule.when.zone or rule.when.group):
                yield Wrong(f"keep needs a reason: name a {self.KEEP_REASONS} under when", *at, "then")

    @property
    def asks_groups(self) -> bool:
        """Whether faces have to be recognised at all."""
        return any(rule.when.group or rule.when.unknown is not None for rule in self.rules) or any(
            str(treatment.identity) == "enrolled" for treatment in (self.default, *(rule.then for rule in self.rules))
        )

    @property
    def cameras(self) -> frozenset[str]:
        """Those that zones, masks and rules name."""
        named = [area.camera for area in (*self.zones.values(), *self.masks.values())]
        return frozenset[str]().union(*named, *(rule.when.camera for rule in self.rules))

    def timetables(self) -> dict[str, Timetable]:
        """The schedules by name, ready to be asked."""
        zone = zoneinfo.ZoneInfo(self.timezone)
        holidays = frozenset(self.holidays)
        holiday_calendar = self.calendars[self.holiday_calendar] if self.holiday_calendar else None
        return {
            name: Timetable(
                zone,
                schedule.windows,
                holidays,
                schedule.holidays,
                self.calendars[schedule.calendar] if schedule.calendar else None,
                holiday_calendar,
            )
            for name, schedule in self.schedules.items()
        }


def load(
    text: str, file: str, *, today: datetime.date | None = None, read: Callable[[str], bytes] | None = None
) -> RuleSet:
    """The rules in text, which file names in messages. Raises InvalidFile with every problem, its line and column.

    read gives the bytes of a calendar file named in the rules (OSError when it cannot), and today, with which it must
    be given, says from when on; without them, as for rules that come over the network, calendars are refused.
    """
    return from_node(yamlfile.parse(text, file), today=today, read=read)


def from_node(
    node: yamlfile.Node, *, today: datetime.date | None = None, read: Callable[[str], bytes] | None = None
) -> RuleSet:
    """As ``load``, from a node of a parsed file."""
    rules = build(RuleSet, node)
    named = [(rules.holiday_calendar, node.child("holiday_calendar"))]
    schedules = node.child("schedules")
    for name, schedule in rules.schedules.items():
        written = schedules.child(name) if schedules else None
        named.append((schedule.calendar, written.child("calendar") if written else None))
    calendars: dict[str, Calendar] = {}
    problems: list[Problem] = []
    for path, at in named:
        if path is None or path in calendars:
            continue
        mark = at.mark if at else Mark(node.mark.file, 1, 1)
        if read is None or today is None:
            problems.append(Problem(mark, "calendars can be named only in rule files, not in rules sent over MQTT"))
            continue
        try:
            zone = zoneinfo.ZoneInfo(rules.timezone)
            since, until = today - datetime.timedelta(days=366), today + datetime.timedelta(days=366 * CALENDAR_YEARS)
            calendars[path] = read_calendar(read(path), zone, since, until)
        except (OSError, ConfigError) as error:
            problems.append(Problem(mark, f"calendar {path!r}: {error}"))
    if problems:
        raise InvalidFile(problems)
    return replace(rules, calendars=calendars) if calendars else rules
