"""``anonymizer rules …`` as a user meets it."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest

from anonymizer.errors import ConfigError
from anonymizer.policy import RuleSet, commands, envelope, load
from anonymizer.policy.envelope import Nonces, Refused
from anonymizer.record import chain, keys

TEXT = """\
timezone: Europe/Berlin
zones: {till: {polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]}}
schedules: {open: {windows: Mon-Fri 08:00-18:00}}
rules:
  - {name: far, when: {height: {max: 20}}, then: solid}
  - {name: staff, when: {zone: till, schedule: open, group: staff}, then: keep}
"""


def run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    commands.register(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["rules", *map(str, words)])
    code = arguments.command(arguments)
    assert isinstance(code, int)
    return code


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(TEXT)
    return path


def test_check(rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", rules) == 0
    assert capsys.readouterr().out == f"{rules}: 2 rules, default replace: good\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text("defualt: solid\nrules: [{name: a, then: kep}]\n")
    with pytest.raises(ConfigError) as caught:
        run("check", bad, rules, tmp_path / "absent.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{bad}:1:1: unknown key 'defualt'. Did you mean 'default'?"
    assert "Did you mean 'keep'?" in lines[1] and lines[1].startswith(f"{bad}:2:25")
    assert lines[2].startswith(f"{tmp_path}/absent.yaml: cannot be read") and caught.value.exit_code == 2
    bad.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        run("check", bad)


def test_check_remarks_on_what_is_probably_not_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "zones: {a: {polygon: [[0, 0], [1, 0], [1, 1]]}, b: {camera: gate, polygon: [[0, 0], [1, 0], [1, 1]]}}\n"
        "schedules: {s: {windows: Mon}}\n"
        "rules: [{name: all, then: solid}, {name: never, when: {zone: b, camera: hall}, then: blur}]\n"
    )
    assert run("check", path) == 0
    out = capsys.readouterr().out
    for words in (
        "'all' always applies",
        "zone 'a' is not used",
        "schedule 's' is not used",
        "its zone 'b' is on none",
    ):
        assert words in out
    assert "zone 'b' is not used" not in out


def test_test_says_which_rule_decides_and_why(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face = "x=900 y=500 w=60 h=80 group=staff,guards member=anna"
    assert run("test", rules, "--camera", "gate", "--time", "2026-11-24T17:30", "--face", face) == 0
    out = capsys.readouterr().out
    assert "rule 'far' does not hold: not height max 20" in out
    assert "rule 'staff' holds: zone till" in out and "face 1: keep by 'staff'" in out
    assert run("test", rules, "--camera", "gate", "--time", "2026-11-24T17:30Z", "--face", face) == 0
    out = capsys.readouterr().out
    assert "not schedule open; zone till" in out and "face 1: replace by 'default'" in out
    run(
        "test",
        rules,
        "--camera",
        "gate",
        "--time",
        "2026-11-24T17:30",
        "--face",
        face,
        "--face",
        "x=960 y=500 w=60 h=80",
    )
    out = capsys.readouterr().out
    assert "face 1: replace by 'staff (touches another face)'" in out and "face 2: replace by 'default'" in out
    assert run("test", rules, "--camera", "gate", "--face", "x=0 y=0 w=9 h=9", "--size", "99x99") == 0
    assert "face 1: solid by 'far'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--face", "x=1 y=2 w=3", "lacks its place"),
        ("--face", "x=1 y=2 w=3 h=a", "is not a number"),
        ("--face", "x=1 y=2 w=3 h=4 gruop=staff", "Did you mean 'group'?"),
        ("--time", "noon", "is not a time"),
        ("--size", "1920", "is not a size"),
    ],
)
def test_arguments_that_make_no_sense(rules: Path, option: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run("test", rules, "--camera", "gate", "--face", "x=1 y=2 w=3 h=4", option, value)
    assert words in str(caught.value)


def test_whole_pictures_and_doubts_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("default: privacy\n")
    run("test", path, "--camera", "gate", "--face", "x=1 y=2 w=0 h=4")
    out = capsys.readouterr().out
    assert "not judged" in out and "the whole picture is covered" in out


def test_schema_and_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out)["properties"]["rules"]["type"] == "array"
    assert run("example") == 0
    assert load(capsys.readouterr().out, "f") == RuleSet()


def test_compare(rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(TEXT.replace("then: keep", "then: {action: solid}"))
    assert run("compare", rules, other) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{other} is not laxer than {rules}"
    assert out[1].startswith(f"{rules} is laxer than {other}: on camera") and "gets keep instead of solid" in out[1]
    assert run("compare", other, rules) == 1


def test_calendars_lie_beside_the_file(rules: Path) -> None:
    rules.write_text(TEXT + "holiday_calendar: days.ics\n")
    with pytest.raises(ConfigError, match=r"7:19: calendar 'days.ics': .*No such file"):
        run("check", rules)
    (rules.parent / "days.ics").write_text("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nEND:VCALENDAR\r\n")
    assert run("check", rules) == 0


def test_an_officer_signs_what_the_service_obeys_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, text, topic = tmp_path / "relax.pem", tmp_path / "rules.yaml", "anonymizer/gate/rules/set"
    public = chain.public_key(keys.create_relax(key, tmp_path / "state"))
    text.write_text("default: blur  # überall\n")
    assert run("sign", topic, f"@{text}", "--key", key, "--minutes", "60") == 0
    sealed = capsys.readouterr().out.strip().encode()
    payload, used = envelope.unseal(sealed, public, topic, Nonces(), time.time())
    assert payload == text.read_bytes()
    with pytest.raises(Refused, match="used before"):
        envelope.unseal(sealed, public, topic, used, time.time())
    assert run("sign", topic, "OFF", "--key", key) == 0
    later = capsys.readouterr().out.strip().encode()
    with pytest.raises(Refused, match="expired"):
        envelope.unseal(later, public, topic, used, time.time() + 301)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["@absent.yaml", "--key", "relax.pem"], "cannot be read"),
        (["OFF", "--key", "absent.pem"], "keys create relax"),
        (["OFF", "--key", "relax.pem", "--minutes", "61"], "at most 60"),
        (["OFF", "--key", "relax.pem", "--minutes", "nan"], "at most 60"),
    ],
)
def test_what_cannot_be_signed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    keys.create_relax(tmp_path / "relax.pem", tmp_path / "state")
    with pytest.raises(ConfigError, match=why):
        run("sign", "anonymizer/gate/privacy/set", *words)


def test_shipped_rules_go_by_their_name(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "gdpr-default", "retail") == 0
    assert run("test", "school", "--camera", "yard", "--face", "x=1 y=1 w=9 h=9") == 0
    assert run("compare", "gdpr-default", rules) == 1
    with pytest.raises(ConfigError, match="Did you mean 'retail'"):
        run("check", "retial")
