"""Plain cases of laxer and stricter, each with its witness. Random ones stand in test_properties."""

from __future__ import annotations

import datetime
import time
from zoneinfo import ZoneInfo

import pytest

from anonymizer.policy import Action, RuleSet, Treatment, compare, load
from anonymizer.policy.compare import laxer
from anonymizer.policy.decision import CameraRules
from anonymizer.policy.rules import Area, Range, Rule, When

BASE = """\
timezone: Europe/Berlin
default: {action: replace, margin: 0.2}
zones:
  till: {camera: gate, polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]}
  door: {camera: gate, polygon: [[0.0, 0.0], [0.1, 0.0], [0.1, 0.9], [0.0, 0.9]]}
masks:
  window: {polygon: [[0.5, 0.0], [0.9, 0.0], [0.9, 0.3], [0.5, 0.3]]}
schedules:
  open: {windows: Mon-Fri 08:00-18:00}
rules:
  - {name: door, when: {zone: door}, then: {action: silhouette, margin: 0.3}}
  - {name: staff, when: {zone: till, schedule: open, group: staff}, then: keep}
  - {name: small, when: {height: {max: 20}}, then: {action: solid, margin: 0.3}}
"""
STRICTER = [
    ("action: replace", "action: solid"),
    ("margin: 0.2", "margin: 0.3"),
    ("then: keep", "then: {action: solid, margin: 0.3}"),
    ("[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]", "[[0.3, 0.3], [0.7, 0.3], [0.7, 0.7]]"),
    ("[[0.0, 0.0], [0.1, 0.0], [0.1, 0.9], [0.0, 0.9]]", "[[0.0, 0.0], [0.2, 0.0], [0.2, 1.0], [0.0, 1.0]]"),
    ("[[0.5, 0.0], [0.9, 0.0], [0.9, 0.3], [0.5, 0.3]]", "[[0.4, 0.0], [1.0, 0.0], [1.0, 0.4], [0.4, 0.4]]"),
    ("Mon-Fri 08:00-18:00", "Mon-Thu 09:00-17:00"),
    ("Mon-Fri 08:00-18:00}", "Mon-Fri 08:00-18:00}\nholidays: [2026-12-25]"),
    ("group: staff", "group: staff, pose: usable"),
    ("{max: 20}", "{max: 30}"),
    ("timezone", "recognition: {enter: 0.6}\ntimezone"),
    ("timezone", "recognition: {fresh: 0.5, sightings: 4}\ntimezone"),
    ("rules:\n", "rules:\n  - {name: new, when: {confidence: {max: 0.4}}, then: {action: silhouette, margin: 0.3}}\n"),
]
OTHER = [
    ("timezone: Europe/Berlin", "timezone: Europe/London"),
    ("Mon-Fri 08:00-18:00", "Mon-Fri 09:00-19:00"),
    ("[[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]", "[[0.1, 0.3], [0.7, 0.3], [0.7, 0.7]]"),
    ("timezone", "recognition: {fresh: 0.5, enter: 0.45}\ntimezone"),
    # Stronger where it applied, but it applies to faces half in the zone too, which were replaced.
    ("then: keep", "then: blur"),
]


@pytest.mark.parametrize(("old", "new"), STRICTER)
def test_a_stricter_set_is_not_laxer_and_its_reverse_is(old: str, new: str) -> None:
    base, changed = load(BASE, "f"), load(BASE.replace(old, new, 1), "f")
    assert base != changed
    assert laxer(base, changed) is None
    witness = laxer(changed, base)
    assert witness is not None and witness.sure


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_what_is_neither_stricter_nor_laxer_counts_as_laxer_both_ways(old: str, new: str) -> None:
    base, changed = load(BASE, "f"), load(BASE.replace(old, new, 1), "f")
    assert laxer(base, changed) is not None and laxer(changed, base) is not None


def test_a_set_is_not_laxer_than_itself() -> None:
    assert laxer(load(BASE, "f"), load(BASE, "g")) is None


def test_the_witness_can_be_put_to_both_sets() -> None:
    old, new = load(BASE, "f"), load(BASE.replace("08:00-18:00", "07:30-18:00"), "f")
    witness = laxer(old, new)
    assert witness is not None and witness.face is not None and witness.picture is not None and witness.time is not None
    local = datetime.datetime.fromtimestamp(witness.time, ZoneInfo("Europe/Berlin"))
    assert (local.hour, local.minute) == (7, 30) and local.weekday() < 5
    assert (witness.camera, witness.new) == ("gate", "staff")
    decided = [CameraRules(r, witness.camera).decide([witness.face], witness.picture).faces[0] for r in (old, new)]
    assert [str(d.action) for d in decided] == ["solid", "keep"]
    assert "on camera gate at Mon" in str(witness) and "gets keep instead of solid" in str(witness)


def test_looser_recognition_is_told_as_such() -> None:
    witness = laxer(load(BASE, "f"), load("recognition: {enter: 0.45}\n" + BASE, "f"))
    assert witness is not None and "though the old thresholds would not" in str(witness)


def test_identities_that_live_longer() -> None:
    def of(identity: str, hours: int = 24, action: str = "replace") -> RuleSet:
        return load(f"default: {{action: {action}, identity: {identity}}}\nrotation_hours: {hours}", "f")

    assert laxer(of("track"), of("camera")) is not None and laxer(of("camera"), of("track")) is None
    assert laxer(of("camera"), of("enrolled")) is not None and laxer(of("enrolled"), of("camera")) is not None
    assert laxer(of("enrolled"), of("track")) is None
    assert laxer(of("camera"), of("camera", 48)) is not None and laxer(of("camera", 48), of("camera")) is None
    assert laxer(of("track"), of("track", 48)) is None
    assert laxer(of("camera"), of("camera", 48, "solid")) is None


def test_a_mask_that_shrinks_and_a_picture_no_longer_covered() -> None:
    witness = laxer(load(BASE, "f"), load(BASE.replace("[0.5, 0.0], [0.9, 0.0]", "[0.5, 0.1], [0.9, 0.1]"), "f"))
    assert witness is not None and "mask 'window'" in str(witness)
    whole = load("rules: [{name: a, then: privacy}]", "f")
    both = "{name: a, when: {height: {min: 30}}, then: privacy}, {name: b, when: {height: {max: 30}}, then: privacy}"
    faces = load(f"rules: [{both}]", "f")
    assert laxer(faces, load("default: privacy", "f")) is None
    witness = laxer(whole, faces)
    assert witness is not None and "no longer covered whole" in str(witness)


def test_the_default_counts_even_where_a_rule_always_applies() -> None:
    """It also stands for errors."""
    old, new = (
        load("rules: [{name: a, then: solid}]\ndefault: solid", "f"),
        load("rules: [{name: a, then: solid}]", "f"),
    )
    witness = laxer(old, new)
    assert witness is not None and "cannot be judged" in str(witness)


def test_rules_behind_one_that_always_applies_do_not_count() -> None:
    zones = "zones: {z: {polygon: [[0, 0], [1, 0], [1, 1]]}}\n"
    old = load(zones + "rules: [{name: a, then: solid}]", "f")
    new = load(zones + "rules: [{name: a, then: solid}, {name: b, when: {zone: z}, then: keep}]", "f")
    assert laxer(old, new) is None


def test_calendars_and_clocks() -> None:
    ics = (
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        b"DTSTART:20261102T1800%02d\r\nDTEND:20261102T200000\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    text = BASE.replace("windows: Mon-Fri 08:00-18:00", "calendar: c.ics")

    def at(second: int) -> RuleSet:
        return load(text, "f", today=datetime.date(2026, 11, 24), read=lambda name: ics % second)

    assert laxer(at(0), at(1)) is None and laxer(at(0), at(0)) is None
    witness = laxer(at(1), at(0))
    assert witness is not None and witness.time == datetime.datetime(2026, 11, 2, 17, tzinfo=datetime.UTC).timestamp()


def test_a_large_set_is_compared_in_time() -> None:
    """Beyond the budget of the search the answer is yes."""
    cameras = tuple(f"c{n}" for n in range(5))
    rules = tuple(
        Rule(
            name=f"r{n}",
            when=When(
                camera=(cameras[n % 5],),
                zone=(f"z{n % 12}", f"z{(n + 5) % 12}"),
                height=Range(min=float(n + 1), max=float(2 * n + 20)),
                confidence=Range(min=n / 100),
            ),
            then=Treatment(action=Action.KEEP if n % 3 else Action.SOLID),
        )
        for n in range(60)
    )
    zones = {
        f"z{n}": Area(polygon=((n / 20, 0.1), (n / 20 + 0.4, 0.1), (n / 20 + 0.4, 0.9), (n / 20, 0.9)))
        for n in range(12)
    }
    old = RuleSet(rules=rules, zones=zones)
    start = time.process_time()
    assert laxer(old, old) is None
    stricter = RuleSet(rules=rules[:30] + rules[31:], zones=zones)
    laxer(old, stricter)
    laxer(stricter, old)
    assert time.process_time() - start < 20


def test_a_search_cut_short_says_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "BUDGET", 3)
    witness = laxer(load(BASE, "f"), load(BASE, "f"))
    assert witness is not None and not witness.sure and "could get" in str(witness) and "cut short" in str(witness)


def test_schedules_that_change_too_often_count_as_laxer() -> None:
    windows = ", ".join(f"'{h:02}:{m:02}-23:59'" for h in range(10) for m in (1, 9, 17, 33, 57))
    holidays = ", ".join(str(datetime.date(2026, 1, 1) + datetime.timedelta(days=12 * n)) for n in range(900))
    text = f"schedules: {{s: {{windows: [{windows}]}}}}\nholidays: [{holidays}]\n"
    rules = load(text + "rules: [{name: a, when: {schedule: s}, then: solid}]", "f")
    witness = laxer(rules, rules)
    assert witness is not None and not witness.sure and "change too often" in str(witness)


def test_an_unknown_time_counts() -> None:
    """Without a clock the default decides where there are schedules, and the rules where there are none."""
    zone = "zones: {z: {polygon: [[0, 0], [1, 0], [1, 1]]}}\n"
    always = "schedules: {all: {windows: 00:00-24:00}}\n"
    timed = load(zone + always + "rules: [{name: a, when: {zone: z, schedule: all}, then: keep}]", "f")
    timeless = load(zone + "rules: [{name: a, when: {zone: z}, then: keep}]", "f")
    witness = laxer(timed, timeless)
    assert witness is not None and witness.sure and witness.time is None and witness.new == "a"
    assert laxer(timeless, timed) is None


def test_faces_not_seen_just_now_count() -> None:
    """A rule behind keep decides about those of its faces that are not fresh."""
    keep = "rules: [{name: a, when: {group: staff}, then: keep}"
    old, new = load(keep + ", {name: b, when: {group: staff}, then: solid}]", "f"), load(keep + "]", "f")
    witness = laxer(old, new)
    assert witness is not None and "not seen just now" in str(witness) and laxer(new, old) is None


def test_two_time_zones_are_compared_over_a_year() -> None:
    """Noon in Berlin is six in New York, but for the weeks in which only one of the two has changed its clock."""
    rules = "zones: {z: {polygon: [[0, 0], [1, 0], [1, 1]]}}\n"
    rules += "rules: [{name: a, when: {zone: z, schedule: s}, then: keep}]\n"
    berlin = load(rules + "timezone: Europe/Berlin\nschedules: {s: {windows: 12:00-13:00}}", "f")
    new_york = load(rules + "timezone: America/New_York\nschedules: {s: {windows: 06:00-07:00}}", "f")
    witness = laxer(berlin, new_york)
    assert witness is not None and witness.sure and witness.time is not None
    assert datetime.datetime.fromtimestamp(witness.time, datetime.UTC).month in (3, 10, 11)
