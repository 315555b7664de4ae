"""Weekly windows, holidays and calendar events in a time zone. Pure: the time is an argument."""

from __future__ import annotations

import bisect
import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from anonymizer.errors import ConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = 24 * 60
_CLOCK = r"(\d{1,2}):(\d{2})"
_WINDOW = re.compile(rf"(?:(?P<days>[A-Za-z, -]+?)\s*)?(?:{_CLOCK}\s*-\s*{_CLOCK})?")
_FORM = "write it as 'Mon-Fri 08:00-18:00', 'Sat,Sun' or '22:00-06:00'"
MAX_EVENTS = 20_000


@dataclass(frozen=True, slots=True)
class Window:
    """A span of local time on some weekdays.

    days: 0 is Monday. start and end: minutes after midnight, start included and end not; an end at or before the start
    lies on the next day, which the window reaches into whatever weekday that is.
    """

    days: frozenset[int]
    start: int
    end: int

    @classmethod
    def from_setting(cls, value: Any) -> Window:
        found = _WINDOW.fullmatch(value.strip()) if isinstance(value, str) and value.strip() else None
        if found is None:
            raise ValueError(f"{value!r} is not a time window; {_FORM}")
        days = _days(found["days"]) if found["days"] else frozenset(range(7))
        if found[2] is None:
            return cls(days, 0, MIDNIGHT)
        start, end = _minute(found[2], found[3]), _minute(found[4], found[5])
        if start in (end, MIDNIGHT):
            raise ValueError(f"{value!r} has no length; write 00:00-24:00 for a whole day")
        return cls(days, start, end)

    @staticmethod
    def setting_schema() -> dict[str, Any]:
        return {"type": "string", "description": _FORM, "examples": ["Mon-Fri 08:00-18:00", "Sat,Sun", "22:00-06:00"]}

    def to_setting(self) -> str:
        days = ",".join(DAYS[day].capitalize() for day in sorted(self.days))
        return f"{days} {self.start // 60:02}:{self.start % 60:02}-{self.end // 60:02}:{self.end % 60:02}"

    @property
    def overnight(self) -> bool:
        return self.end < self.start

    def begins(self, weekday: int, minute: int) -> bool:
        """Whether minute of a day lies in the window that starts on that day."""
        return weekday in self.days and self.start <= minute < (MIDNIGHT if self.overnight else self.end)

    def goes_on(self, yesterday: int, minute: int) -> bool:
        """Whether minute of a day lies in the window that started the day before."""
        return self.overnight and yesterday in self.days and minute < self.end


def _minute(hour: str, minute: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > MIDNIGHT:
        raise ValueError(f"{hour}:{minute} is not a time of day between 00:00 and 24:00")
    return value


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.replace(" ", "").lower().split(","):
        names = [name[:3] for name in part.split("-")]
        if not 1 <= len(names) <= 2 or any(name not in DAYS for name in names):
            raise ValueError(f"{part!r} is not a weekday or a span of weekdays; {_FORM}")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return frozenset(days)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Events of an iCalendar file between two times, recurrences written out.

    events: (start, end) in seconds since 1970, sorted and without overlap. days: dates with an all-day event. since,
    until: what the file was read for; outside it nothing is known, and ``Timetable`` says so.
    """

    events: tuple[tuple[float, float], ...]
    days: frozenset[datetime.date]
    since: float
    until: float

    def active(self, time: float) -> bool:
        self.known(time)
        at = bisect.bisect_right(self.events, (time, float("inf"))) - 1
        return at >= 0 and self.events[at][0] <= time < self.events[at][1]

    def known(self, time: float) -> None:
        if not self.since <= time < self.until:
            raise ValueError("the time lies outside the span that the calendar was read for; load the rules again")


def read_calendar(data: bytes, zone: ZoneInfo, since: datetime.date, until: datetime.date) -> Calendar:
    """The events of an iCalendar file (RFC 5545). Times without a zone, and all-day events, are in zone.

    Raises ConfigError when the data is not a calendar, has more than MAX_EVENTS events in the span, or the packages
    ``icalendar`` and ``recurring-ical-events`` are not installed.
    """
    try:
        import icalendar
        import recurring_ical_events
    except ImportError:
        raise ConfigError("reading calendars needs two more packages: pip install 'anonymizer[calendars]'") from None
    try:
        calendar = icalendar.Calendar.from_ical(data)
        found = recurring_ical_events.of(calendar).between(since, until)
    except Exception as error:  # the parsers raise many kinds, and each means the same here
        raise ConfigError(f"not a readable iCalendar file: {error}") from None
    if len(found) > MAX_EVENTS:
        raise ConfigError(f"{len(found)} events between {since} and {until}; at most {MAX_EVENTS} are read")
    spans, days = [], set()
    for event in found:
        start, end = event.start, event.end
        if not isinstance(start, datetime.datetime):
            last = max(end, start + datetime.timedelta(days=1))
            days |= {start + datetime.timedelta(days=n) for n in range((last - start).days)}
        spans.append((_seconds(start, zone), _seconds(end, zone)))
    return Calendar(_merged(spans), frozenset(days), _seconds(since, zone), _seconds(until, zone))


def _seconds(when: datetime.date, zone: ZoneInfo) -> float:
    if not isinstance(when, datetime.datetime):
        when = datetime.datetime.combine(when, datetime.time())
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def _merged(spans: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return tuple(merged)


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule ready to be asked. holidays_are: 'closed', 'ordinary' or 'only' (windows count on holidays alone)."""

    zone: ZoneInfo
    windows: tuple[Window, ...]
    holidays: frozenset[datetime.date] = frozenset()
    holidays_are: str = "closed"
    calendar: Calendar | None = None
    holiday_calendar: Calendar | None = None

    def active(self, time: float) -> bool:
        """Whether the schedule is on at time, seconds since 1970. Windows follow the local clock.

        An hour that the clock skips is never on, one that it repeats is on twice. Raises ValueError when a calendar
        does not reach to time.
        """
        if self.calendar is not None and self.calendar.active(time):
            return True
        if self.holiday_calendar is not None:
            self.holiday_calendar.known(time)
        local = datetime.datetime.fromtimestamp(time, self.zone)
        today, minute = local.date(), local.hour * 60 + local.minute
        yesterday = today - datetime.timedelta(days=1)
        weekday = today.weekday()
        return any(
            (window.begins(weekday, minute) and self._counts(today))
            or (window.goes_on((weekday - 1) % 7, minute) and self._counts(yesterday))
            for window in self.windows
        )

    def _counts(self, day: datetime.date) -> bool:
        if self.holidays_are == "ordinary":
            return True
        holiday = day in self.holidays or (self.holiday_calendar is not None and day in self.holiday_calendar.days)
        return holiday == (self.holidays_are == "only")
