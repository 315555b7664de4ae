"""One declaration: validation with all errors, the schema, the example, and secrets that do not print."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import enum
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import jsonschema
import pytest

from anonymizer import cli, registry, settings, yamlfile
from anonymizer.errors import ConfigError
from anonymizer.schema import example, json_schema
from anonymizer.settings import Secret, Wrong, build, setting
from anonymizer.yamlfile import InvalidFile, parse


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Even:
    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def from_setting(cls, value: Any) -> Even:
        if not isinstance(value, int) or value % 2:
            raise ValueError("an even number is due")
        return cls(value)

    @staticmethod
    def setting_schema() -> dict[str, Any]:
        return {"type": "integer", "multipleOf": 2}

    def to_setting(self) -> int:
        return self.number


@dataclass(frozen=True, kw_only=True)
class User:
    """Someone who may watch."""

    name: str = setting("Name", pattern="[a-z]+", example="guard")
    password: Secret = setting("Password", example="env:PASSWORD")


@dataclass(frozen=True, kw_only=True)
class Limits:
    rate: float = setting("Rate", default=4, unit="Mbit/s", minimum=0.1, maximum=100)
    size: tuple[int, int] | None = setting("Size", default=None, unit="pixels", example=[640, 360])


@dataclass(frozen=True, kw_only=True)
class Then:
    SHORTHAND: ClassVar = "action"

    action: Literal["cover", "keep"] = setting("Action")
    margin: float = setting("Margin", default=0.1)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server.

    Not part of the description.
    """

    port: int = setting("Port", default=8554, description="Where readers knock", minimum=1, maximum=65535)
    audio: bool = setting("Audio", default=False)
    method: Literal["tcp", "udp"] = setting("Method", default="tcp")
    colour: Colour = setting("Colour", default=Colour.RED)
    even: Even = setting("Even", factory=lambda: Even(2))
    paths: tuple[str, ...] = setting("Paths", default=("a",), single=True, maximum=3)
    holidays: tuple[datetime.date, ...] = setting("Holidays", default=())
    file: Path | None = setting("File", default=None, example="x.txt")
    limits: Limits = setting("Limits", factory=Limits)
    then: Then = setting("Then", factory=lambda: Then(action="cover"))
    users: tuple[User, ...] = setting("Users")
    rates: dict[str, float] = setting("Rates", factory=dict)
    rooms: dict[str, Limits] = setting("Rooms", factory=dict)

    def __post_init__(self) -> None:
        if self.port == 80:
            raise Wrong("port 80 is taken", "port")
        wrong = [Wrong(f"{u.name} twice", "users", 1, "name") for u in self.users[1:] if u.name == self.users[0].name]
        if self.port == 81:
            wrong.append(Wrong("port 81 is taken", "port"))
        if wrong:
            raise ExceptionGroup("", wrong)


GOOD = "users: [{name: guard, password: env:P}]\n"


def test_builds_with_defaults_and_values() -> None:
    server = build(
        Server,
        parse(
            GOOD + "port: 99\npaths: one\neven: 4\ncolour: green\nmethod: udp\nholidays: [2026-12-25]\n"
            "limits: {rate: 2, size: [3, 4]}\nrooms: {hall: {}}\nfile: a/b\naudio: true\n",
            "f",
        ),
    )
    assert (server.port, server.paths, server.even.number, server.colour) == (99, ("one",), 4, Colour.GREEN)
    assert server.limits == Limits(rate=2.0, size=(3, 4)) and isinstance(server.limits.rate, float)
    assert server.rooms == {"hall": Limits()} and server.file == Path("a/b")
    assert server.holidays == (datetime.date(2026, 12, 25),) and server.audio and server.method == "udp"
    assert build(Server, parse(GOOD, "f")).port == 8554
    assert build(Server, parse(GOOD + "then: keep", "f")).then == Then(action="keep")
    assert build(Server, parse(GOOD + "then: {action: keep, margin: 1}", "f")).then == Then(action="keep", margin=1.0)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("prot: 1", "2:1", "unknown key 'prot'. Did you mean 'port'?"),
        ("port: '8554'", "2:7", "a whole number is due here, not text ('8554'); remove the quotes"),
        ("port: true", "2:7", "not true or false (True)"),
        ("port: 0", "2:7", "0 is too small; at least 1"),
        ("port: 65536", "2:7", "at most 65535"),
        ("port: 1.5", "2:7", "a whole number"),
        ("port:", "2:6", "remove the key to get its default"),
        ("port: 80", "2:7", "port 80 is taken"),
        ("audio: off", "2:8", "write true or false"),
        ("method: udq", "2:9", "'udq' is not one of tcp, udp. Did you mean 'udp'?"),
        ("method: 5", "2:9", "one of tcp, udp is due here"),
        ("colour: blue", "2:9", "'blue' is not one of red, green"),
        ("even: 3", "2:7", "an even number is due"),
        ("paths: [a, 5]", "2:12", "text is due here, not a whole number (5); put it in quotes"),
        ("paths: [a, b, c, d]", "2:8", "at most 3"),
        ("holidays: [25.12.2026]", "2:12", "is not a date"),
        ("limits: {rate: 0}", "2:16", "0 is too small; at least 0.1 Mbit/s"),
        ("limits: {rate: .nan}", "2:16", "finite"),
        ("limits: {size: [1]}", "2:16", "a list of 2"),
        ("then: kep", "2:7", "Did you mean 'keep'?"),
        ("then: [keep]", "2:7", "a mapping (action, margin) is due"),
        ("limits: 5", "2:9", "a mapping (rate, size) is due"),
        ("rooms: {hall: {raet: 1}}", "2:16", "Did you mean 'rate'?"),
        ("rates: {a: x}", "2:12", "a number is due"),
        ("rates: []", "2:8", "a mapping is due"),
    ],
)
def test_each_problem_has_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        build(Server, parse(GOOD + text, "f"))
    assert [str(p.mark) for p in caught.value.problems] == [f"f:{place}"]
    assert words in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidFile) as caught:
        build(Server, parse("port: 0\nusers:\n  - name: A B\n  - password: 12345\nfoo: 1\n", "f"))
    assert [str(p.mark) for p in caught.value.problems] == ["f:1:7", "f:3:5", "f:3:11", "f:4:5", "f:4:15", "f:5:1"]
    assert "12345" not in str(caught.value)
    with pytest.raises(InvalidFile) as caught:
        build(Server, parse("port: 81\nusers:\n- {name: a, password: b}\n- {name: a, password: b}\n", "f"))
    assert [str(p) for p in caught.value.problems] == ["f:1:7: port 81 is taken", "f:4:10: a twice"]
    with pytest.raises(InvalidFile, match="key 'users' is missing"):
        build(Server, parse("{}", "f"))
    with pytest.raises(InvalidFile, match="a mapping"):
        build(Server, parse("", "f"))


def test_schema_agrees_with_build() -> None:
    schema = json_schema(Server)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for text in [
        "",
        "port: 99",
        "paths: one",
        "paths: [a, b]",
        "limits: {size: [1, 2]}",
        "limits: {size: null}",
        "then: keep",
        "even: 4",
    ]:
        build(Server, parse(GOOD + text, "f"))
        assert validator.is_valid(parse(GOOD + text, "f").data()), text
    for text in [
        "prot: 1",
        "port: '1'",
        "port: 0",
        "method: x",
        "colour: x",
        "paths: [5]",
        "limits: {size: [1]}",
        "even: 3",
    ]:
        assert not validator.is_valid(parse(GOOD + text, "f").data()), text
    assert schema["properties"]["port"]["default"] == 8554 and "Where readers knock" in json.dumps(schema)
    assert schema["description"] == "A server."


def test_the_example_is_the_defaults() -> None:
    text = example(Server)
    server = build(Server, parse(text, "example"))
    assert dataclasses.replace(server, users=(), even=Even(2)).limits == Limits()
    default = Server(users=())
    for name in ("port", "audio", "method", "colour", "paths", "limits", "rooms", "file"):
        assert getattr(server, name) == getattr(default, name), name
    assert "# Rate (in Mbit/s, at least 0.1, at most 100)." in text
    uncommented = "\n".join(
        line[2:] if line.startswith("# ") and ":" in line and line[2].islower() else line for line in text.splitlines()
    )
    assert "file: x.txt" in uncommented


def test_secrets_do_not_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret("hunter2")
    user = User(name="a", password=secret)
    shown = f"{secret} {secret!r} {user} {user!r} {settings.plain(user)} {[secret]} {dataclasses.asdict(user)}"
    assert "hunter2" not in shown and secret.reveal() == "hunter2"
    with pytest.raises(TypeError):
        json.dumps({"password": secret})
    assert pickle.loads(pickle.dumps(secret)) == secret == copy.deepcopy(secret) != Secret("other")
    monkeypatch.setenv("THE_SECRET", "from env")
    assert (
        Secret("env:THE_SECRET").reveal() == "from env" and str(Secret("env:THE_SECRET")) == "Secret('env:THE_SECRET')"
    )
    monkeypatch.delenv("THE_SECRET")
    with pytest.raises(ConfigError, match="environment variable THE_SECRET"):
        Secret("env:THE_SECRET").reveal()
    path = tmp_path / "secret"
    path.write_text("from file\n")
    assert Secret(f"file:{path}").reveal() == "from file"
    path.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        Secret(f"file:{path}").reveal()
    with pytest.raises(ConfigError, match="cannot be read"):
        Secret(f"file:{tmp_path}/absent").reveal()


def test_hint() -> None:
    assert settings.hint("time-zone", ["timezone", "rules"]) == " Did you mean 'timezone'?"
    assert settings.hint("xyz", ["timezone", "rules"]) == " Known: timezone, rules."
    assert yamlfile.parse("a", "f").kind == "text"


@pytest.mark.parametrize(
    "words",
    [
        ("redact", "a.mp4", "b.mp4", "--crf", "-7"),
        ("redact", "a.mp4", "b.mp4", "--crf", "52"),
        ("redact", "a.mp4", "b.mp4", "--look-size", "99999999999"),
        ("redact", "a.mp4", "b.mp4", "--look-size", "-1"),
        ("evaluate", "cost", "a.mp4", "--crf", "99"),
        ("demo", "--rtsp-port", "99999"),
        ("demo", "--page-port", "-1"),
    ],
)
def test_an_option_has_the_limits_of_its_setting(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "is too small; at least" in (said := capsys.readouterr().err) or "is too large; at most" in said


def test_a_demo_of_a_file_that_is_not_there_does_not_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--source", "nope.mp4"]) == 4
    assert "nope.mp4: there is no such file" in capsys.readouterr().err


def test_the_models_names_are_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{model.name} " in f"\n{said}" for model in registry.manifest())
