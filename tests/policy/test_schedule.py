"""Windows over midnight, weekdays, holidays, both changes of the clock, and calendars."""

from __future__ import annotations

import datetime
import sys
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymizer.errors import ConfigError
from anonymizer.policy import schedule
from anonymizer.policy.schedule import Timetable, Window, read_calendar

BERLIN = ZoneInfo("Europe/Berlin")


def table(*windows: str, **more: Any) -> Timetable:
    return Timetable(BERLIN, tuple(map(Window.from_setting, windows)), **more)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("Mon-Fri 08:00-18:00", "01234", 480, 1080),
        ("mon,wed , SUN 8:00 - 18:30", "026", 480, 1110),
        ("Fri-Mon 00:00-24:00", "4560", 0, 1440),
        ("Saturday, Sunday", "56", 0, 1440),
        ("22:00-06:00", "0123456", 1320, 360),
        ("Fri 22:00-00:00", "4", 1320, 0),
    ],
)
def test_windows_are_read(text: str, days: str, start: int, end: int) -> None:
    window = Window.from_setting(text)
    assert (window.days, window.start, window.end) == (frozenset(map(int, days)), start, end)
    assert Window.from_setting(window.to_setting()) == window


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "Mon-",
        "Foo 08:00-09:00",
        "25:00-26:00",
        "08:60-09:00",
        "08:00-08:00",
        "24:00-08:00",
        "8-9",
        480,
        None,
        "Mon-Tue-Wed",
        "Mon 08:00",
        "24:01-02:00",
    ],
)
def test_other_texts_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"window|weekday|time of day|length"):
        Window.from_setting(text)


def test_bounds_and_weekdays() -> None:
    hours = table("Mon-Fri 08:00-18:00")
    assert hours.active(at("2026-11-24T08:00")) and hours.active(at("2026-11-24T17:59:59.999"))
    assert not hours.active(at("2026-11-24T07:59:59")) and not hours.active(at("2026-11-24T18:00"))
    assert not hours.active(at("2026-11-28T12:00"))


def test_over_midnight_belongs_to_the_day_it_begins() -> None:
    night = table("Fri 22:00-06:00")
    assert night.active(at("2026-11-27T22:00")) and night.active(at("2026-11-28T05:59"))
    assert not night.active(at("2026-11-27T05:00")) and not night.active(at("2026-11-28T06:00"))
    assert not night.active(at("2026-11-28T23:00"))


def test_holidays() -> None:
    christmas = frozenset({datetime.date(2026, 12, 25)})  # a Friday
    night = table("Fri 22:00-06:00", holidays=christmas)
    assert not night.active(at("2026-12-25T23:00")) and not night.active(at("2026-12-26T01:00"))
    assert night.active(at("2026-12-19T01:00"))
    only = table("10:00-12:00", holidays=christmas, holidays_are="only")
    assert only.active(at("2026-12-25T11:00")) and not only.active(at("2026-12-24T11:00"))
    assert table("Fri", holidays=christmas, holidays_are="ordinary").active(at("2026-12-25T11:00"))


def test_the_clock_goes_forward() -> None:
    """29 March 2026: 02:00–03:00 does not exist in Berlin."""
    early = table("Sun 01:30-02:30")
    before = at("2026-03-29T01:59:59")
    assert early.active(before) and not early.active(before + 1)
    assert not table("Sun 02:00-03:00").active(before + 1)
    assert table("Sun 03:00-04:00").active(before + 1)
    night = table("Sat 22:00-06:00")
    length = sum(night.active(at("2026-03-28T20:00") + 60 * m) for m in range(24 * 60))
    assert length == 7 * 60


def test_the_clock_goes_back() -> None:
    """25 October 2026: 02:00–03:00 comes twice, and the window is on both times."""
    early = table("Sun 02:15-02:45")
    assert early.active(at("2026-10-25T02:30")) and early.active(at("2026-10-25T02:30", fold=1))
    assert not early.active(at("2026-10-25T02:50")) and not early.active(at("2026-10-25T02:00", fold=1))
    night = table("Sat 22:00-06:00")
    assert sum(night.active(at("2026-10-24T20:00") + 60 * m) for m in range(24 * 60)) == 9 * 60


@settings(deadline=None)
@given(st.floats(0, 4e9), st.sampled_from(["Mon-Fri 08:00-18:00", "Fri-Sun 22:00-06:00", "Sun", "03:10-03:05"]))
def test_agrees_with_the_wall_clock(time: float, text: str) -> None:
    window = Window.from_setting(text)
    local = datetime.datetime.fromtimestamp(time, BERLIN)
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if window.start < window.end:
        expected = day in window.days and window.start <= minute < window.end
    else:
        expected = (day in window.days and minute >= window.start) or (
            (day - 1) % 7 in window.days and minute < window.end
        )
    assert table(text).active(time) == expected


ICS = b"""BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//test//EN\r
BEGIN:VEVENT\r
UID:1\r
DTSTAMP:20260101T000000Z\r
DTSTART;TZID=Europe/Berlin:20261102T180000\r
DTEND;TZID=Europe/Berlin:20261102T200000\r
RRULE:FREQ=WEEKLY;COUNT=4\r
EXDATE;TZID=Europe/Berlin:20261116T180000\r
SUMMARY:Choir\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:2\r
DTSTAMP:20260101T000000Z\r
DTSTART;VALUE=DATE:20261223\r
DTEND;VALUE=DATE:20261226\r
SUMMARY:Holidays\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:3\r
DTSTAMP:20260101T000000Z\r
DTSTART:20261109T185900Z\r
DTEND:20261109T193000Z\r
END:VEVENT\r
END:VCALENDAR\r
"""


def calendar() -> schedule.Calendar:
    return read_calendar(ICS, BERLIN, datetime.date(2026, 1, 1), datetime.date(2027, 1, 1))


def test_calendar_events_recur_and_merge() -> None:
    assert len(calendar().events) == 4
    choir = Timetable(BERLIN, (), calendar=calendar())
    assert choir.active(at("2026-11-02T18:00")) and not choir.active(at("2026-11-02T20:00"))
    assert not choir.active(at("2026-11-16T19:00"))  # excepted
    assert choir.active(at("2026-11-09T20:29"))  # a second event overlaps the first
    assert choir.active(at("2026-12-24T00:00")) and not choir.active(at("2026-12-26T00:00"))
    assert not choir.active(at("2026-11-30T19:00"))


def test_all_day_events_are_holidays() -> None:
    assert sorted(calendar().days) == [datetime.date(2026, 12, day) for day in (23, 24, 25)]
    hours = table("Mon-Fri 08:00-18:00", holiday_calendar=calendar())
    assert not hours.active(at("2026-12-24T12:00")) and hours.active(at("2026-12-22T12:00"))


def test_beyond_what_was_read_nothing_is_claimed() -> None:
    for one in (Timetable(BERLIN, (), calendar=calendar()), table("Mon", holiday_calendar=calendar())):
        for time in ("2025-12-31T23:59", "2027-01-01T00:00"):
            with pytest.raises(ValueError, match="outside the span"):
                one.active(at(time))


def test_what_is_no_calendar_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    span = datetime.date(2026, 1, 1), datetime.date(2027, 1, 1)
    with pytest.raises(ConfigError, match="not a readable iCalendar file"):
        read_calendar(b"hello", BERLIN, *span)
    monkeypatch.setattr(schedule, "MAX_EVENTS", 3)
    with pytest.raises(ConfigError, match="at most 3"):
        read_calendar(ICS, BERLIN, *span)
    monkeypatch.setitem(sys.modules, "icalendar", None)
    with pytest.raises(ConfigError, match="pip install"):
        read_calendar(ICS, BERLIN, *span)
