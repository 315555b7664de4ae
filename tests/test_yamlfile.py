"""YAML's traps: what must stay text, what must be refused, and where the error is said to be."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anonymizer import yamlfile
from anonymizer.errors import ConfigError
from anonymizer.yamlfile import InvalidFile, parse


@pytest.mark.parametrize(
    "text",
    [
        "22:00",
        "08:00",
        "off",
        "on",
        "no",
        "yes",
        "y",
        "NO",
        "2026-12-25",
        "1_000",
        "0b11",
        "12:30:45",
        "=",
        "<<",
        "1e",
        "0o8",
        "tRue",
    ],
)
def test_stays_text(text: str) -> None:
    assert parse(f"key: {text}", "f").data() == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("'5'", "5"),
        ('"true"', "true"),
    ],
)
def test_core_types(text: str, value: object) -> None:
    found = parse(f"key: {text}", "f").data()["key"]
    assert found == value and type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(parse(".NaN", "f").value)


def test_every_value_knows_its_place() -> None:
    node = parse("a: 1\nb:\n  - x\n  - {c: 22:00}\n", "rules.yaml")
    inner = node.value["b"].value[1].value["c"]
    assert str(inner.mark) == "rules.yaml:4:9"
    assert node.keys is not None and str(node.keys["b"]) == "rules.yaml:2:1"
    assert [n.value for n in node.walk() if isinstance(n.value, int | str)] == [1, "x", "22:00"]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "already given in line 1"),
        ("a:\n  b: 1\n  'b': 2\n", "3:3", "already given in line 2"),
        ("a: !!python/object/apply:os.system [x]\n", "1:4", "tags are not allowed"),
        ("a: !!binary aGk=\n", "1:4", "tags are not allowed"),
        ("? [a]\n: 1\n", "1:3", "a key must be text"),
        ("a: 1\n---\nb: 2\n", "2:1", "single document"),
        ("a: [1,\n", "2:1", "not valid YAML"),
        ("a:\tb\n\tc: d", "1:3", "not valid YAML"),
        ("a: *secret\n", "1:4", "put text that begins with *"),
        ("a: \x00", "1:4", "not allowed in YAML"),
        ('a: "\\ud800"', "1:4", "surrogate"),
        (f"a: {'9' * 5000}", "1:4", "cannot be read as int"),
        ("a: &x [*x]", "1:4", "once aliases are followed"),
    ],
)
def test_refused_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse(text, "f.yaml")
    assert str(caught.value.problems[0].mark) == f"f.yaml:{place}"
    assert words in str(caught.value)


def test_two_problems_are_both_told_in_order() -> None:
    with pytest.raises(InvalidFile) as caught:
        parse("a: 1\na: 2\nb: !!set {}\n", "f")
    assert [p.mark.line for p in caught.value.problems] == [2, 3]
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.problems == caught.value.problems and str(again) == str(caught.value)


def test_an_alias_may_repeat_a_value_but_not_multiply() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n", "f").data() == {"a": [1, 2], "b": [1, 2]}
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(InvalidFile, match="once aliases are followed"):
        parse("l0: &l0 [x]\n" + levels, "f")


def test_depth_and_size_are_bounded() -> None:
    with pytest.raises(InvalidFile, match="nested deeper"):
        parse("[" * 100_000, "f")
    with pytest.raises(InvalidFile, match="at most"):
        parse(" " * (yamlfile.MAX_BYTES + 1), "f")


def test_json_is_read() -> None:
    assert parse('{"a": [1, 2.5, true, null, "22:00"], "b": "\\ud83d\\ude00 \\/"}', "f").data() == {
        "a": [1, 2.5, True, None, "22:00"],
        "b": "\U0001f600 /",
    }


def test_read_tells_of_missing_files_and_wrong_encodings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        yamlfile.read(tmp_path / "absent.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(InvalidFile, match=r"latin\.yaml:2:4: not UTF-8"):
        yamlfile.read(path)
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert yamlfile.read(path).data() == {"a": 1}


def works(text: str) -> bool:
    try:
        parse(text, "f").data()
    except InvalidFile as error:
        return bool(error.problems)
    return True


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert works(text)


DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["22:00", "off", "1e3", "0o7", "~", "", "=", "010", "true"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~1", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(DATA, st.booleans())
@example("a\x85b", False)
@example("a\u2028b\ufeff", True)
def test_what_is_dumped_is_read_back(data: object, flow: bool) -> None:
    assert parse(yamlfile.dump({"key": data}, flow=flow), "f").data() == {"key": data}
