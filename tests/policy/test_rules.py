"""Rule files: what they mean, and every error with its place."""

from __future__ import annotations

import datetime
from pathlib import Path

import jsonschema
import pytest

from anonymizer import yamlfile
from anonymizer.policy import Action, RuleSet, Scope, Treatment, load
from anonymizer.policy.rules import CALENDAR_YEARS
from anonymizer.schema import example, json_schema
from anonymizer.yamlfile import InvalidFile

GOOD = """\
timezone: Europe/Berlin
default: {action: pixelate, margin: 0.3}
zones:
  till: {camera: gate, polygon: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]}
schedules:
  open: {windows: Mon-Fri 08:00-18:00}
rules:
  - name: staff
    when: {zone: till, schedule: open, group: [staff, guards], height: {min: 20}}
    then: keep
  - name: rest
    then: {action: replace, identity: camera}
"""


def test_a_rule_file_is_read() -> None:
    rules = load(GOOD, "f")
    assert rules.default == Treatment(action=Action.PIXELATE, margin=0.3)
    staff, rest = rules.rules
    assert staff.when.zone == ("till",) and staff.when.group == ("staff", "guards") and staff.then.action is Action.KEEP
    assert staff.when.height is not None and staff.when.height.min == 20 and staff.when.about_faces
    assert rest.then.identity is Scope.CAMERA and not rest.when.about_faces
    assert rules.asks_groups and not load("{}", "f").asks_groups
    assert load("default: {action: replace, identity: enrolled}", "f").asks_groups
    assert load("rules: [{name: a, when: {unknown: true}, then: solid}]", "f").asks_groups


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("default: {action: pixelate, margin: 0.3}", "default: keep", "2:10", "the default must not be keep"),
        ("pixelate", "pixellate", "2:19", "Did you mean 'pixelate'?"),
        ("Europe/Berlin", "Europe/Berln", "1:11", "Did you mean 'Europe/Berlin'?"),
        ("zone: till", "zone: tlil", "9:18", "there is no zone 'tlil'. Did you mean 'till'?"),
        ("schedule: open", "schedule: [open, opne]", "9:41", "there is no schedule 'opne'. Did you mean 'open'?"),
        ("zone: till, schedule: open, group: [staff, guards], ", "", "10:11", "keep needs a reason"),
        ("name: rest", "name: staff", "11:11", "rule 1 is already named 'staff'"),
        ("name: rest", "name: default", "11:11", "stands for the default"),
        ("group: [staff, guards]", "group: staff, unknown: true", "9:63", "an unknown face is in no group"),
        ("group: [staff, guards]", "group: []", "9:47", "a length of 0 is too small"),
        ("{min: 20}", "{min: 20, max: 20}", "9:78", "the range is empty"),
        ("{min: 20}", "{}", "9:72", "min, max or both"),
        ("Mon-Fri 08:00-18:00", "Mon-Fri 08:00", "6:19", "is not a time window"),
        ("08:00-18:00", "08:00-18:00, holiday: closed", "6:40", "Did you mean 'holidays'?"),
        ("windows: Mon-Fri 08:00-18:00", "holidays: closed", "6:9", "needs windows, a calendar or both"),
        ("[0.5, 0.1]", "[5, 0.1]", "4:46", "lies outside the picture"),
        ("[0.5, 0.5]]", "[0.9, 0.1]]", "4:33", "the polygon has no area"),
        ("[0.5, 0.5]]", "[0.9, 0.5], [0.3, 0.0]]", "4:33", "crosses or touches itself"),
        ("[[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]", "[[0.1, 0.1], [0.5, 0.1]]", "4:33", "a length of 2"),
        ("identity: camera", "identiy: camera", "12:29", "Did you mean 'identity'?"),
        ("identity: camera", "enhance: lite", "12:38", "Did you mean 'light'?"),
        ("identity: camera", "enhance: true", "12:38", "one of off, light is due here"),
        ("identity: camera", "margin: -1", "12:37", "at least 0"),
        ("timezone: Europe/Berlin", "holidays: [0001-01-01]", "1:12", "not between 1990 and 2199"),
        ("timezone: Europe/Berlin", "recognition: {enter: 0.3}", "1:14", "leave must not be above enter"),
    ],
)
def test_each_error_has_its_place(old: str, new: str, place: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidFile) as caught:
        load(GOOD.replace(old, new, 1), "f")
    assert [str(p.mark) for p in caught.value.problems] == [f"f:{place}"]
    assert words in str(caught.value)


def test_all_errors_are_told_at_once() -> None:
    text = GOOD.replace("zone: till", "zone: tlil").replace("schedule: open", "schedule: opne")
    text = text.replace("timezone: Europe/Berlin", "timezone: Berlin")
    with pytest.raises(InvalidFile) as caught:
        load(text, "f")
    assert [p.mark.line for p in caught.value.problems] == [1, 9, 9]


def test_an_empty_file_is_an_error_and_an_empty_mapping_the_default() -> None:
    with pytest.raises(InvalidFile):
        load("", "f")
    assert load("{}", "f") == RuleSet() and RuleSet().default.action is Action.REPLACE


def test_unsafe_sets_cannot_be_made_in_code_either() -> None:
    with pytest.raises(ExceptionGroup):
        RuleSet(default=Treatment(action=Action.KEEP))


ICS = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
    b"DTSTART:20261102T180000\r\nDTEND:20261102T200000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def test_calendars_are_read_through_the_given_function() -> None:
    text = "schedules: {choir: {calendar: choir.ics}}\nholiday_calendar: holidays.ics\ntimezone: Europe/Berlin\n"
    asked = []

    def read(name: str) -> bytes:
        asked.append(name)
        return ICS

    rules = load(text, "f", today=datetime.date(2026, 11, 24), read=read)
    assert sorted(asked) == ["choir.ics", "holidays.ics"]
    evening = datetime.datetime(2026, 11, 2, 17, 30, tzinfo=datetime.UTC).timestamp()
    table = rules.timetables()["choir"]
    assert table.active(evening) and not table.active(evening - 3600)
    assert rules.calendars["choir.ics"].until > evening + (CALENDAR_YEARS - 1) * 365 * 86400


def test_calendars_that_cannot_be_read_are_told_with_their_place() -> None:
    text = "schedules: {choir: {calendar: choir.ics}}\nholiday_calendar: holidays.ics\n"

    def read(name: str) -> bytes:
        raise FileNotFoundError(2, "No such file", name)

    with pytest.raises(InvalidFile) as caught:
        load(text, "f", today=datetime.date(2026, 11, 24), read=read)
    assert [str(p.mark) for p in caught.value.problems] == ["f:1:31", "f:2:19"] and "No such file" in str(caught.value)
    with pytest.raises(InvalidFile, match="not in rules sent over MQTT"):
        load(text, "f")


def test_the_schema_agrees_with_the_reader(shipped: list[Path]) -> None:
    schema = json_schema(RuleSet)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for text in (GOOD, *(path.read_text() for path in shipped)):
        validator.validate(yamlfile.parse(text, "f").data())
    for old, new in (
        ("pixelate", "pixellate"),
        ("margin: 0.3", "margin: -1"),
        ("name: rest", "nme: rest"),
        ("[0.5, 0.1]", "[0.5]"),
    ):
        assert not validator.is_valid(yamlfile.parse(GOOD.replace(old, new), "f").data())


def test_the_example_is_valid_and_means_the_defaults() -> None:
    assert load(example(RuleSet), "example") == RuleSet()
