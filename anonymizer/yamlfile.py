"""Strict YAML: 1.2 core types, no duplicate keys, and every value knows where it stands.

PyYAML alone reads YAML 1.1, in which ``22:00`` is 1320, ``off`` is false, and a key written twice silently wins. Here
only ``true``/``false``, ``null``, whole numbers and decimals are typed; everything else is text (YAML 1.2.2, chapter
10.3). Tags, merge keys and several documents in one file are refused, as is anything that could grow without bound:
the text may come from the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anonymizer.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 50_000

_CORE = "tag:yaml.org,2002:"
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file. line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    mark: Mark
    message: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}"


class InvalidFile(ConfigError):
    """One or more problems in one file, each with its place."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.mark.line, p.mark.column)))
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self.problems),)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place.

    value: None, bool, int, float, str, a list of nodes, or a dict of nodes by key. keys: the place of each key of a
    mapping. plain: a scalar written without quotes.
    """

    value: Any
    mark: Mark
    keys: dict[str, Mark] | None = None
    plain: bool = False

    @property
    def kind(self) -> str:
        """What stands here, in words: ``text``, ``a list``, …"""
        return "nothing" if self.value is None else _NAMES[type(self.value)]

    def data(self) -> Any:
        """The value as plain Python data, without places."""
        if isinstance(self.value, dict):
            return {key: node.data() for key, node in self.value.items()}
        return [node.data() for node in self.value] if isinstance(self.value, list) else self.value

    def child(self, step: str | int) -> Node | None:
        """The value at a key of a mapping or a position of a list, or None."""
        if isinstance(step, str):
            return self.value.get(step) if isinstance(self.value, dict) else None
        return self.value[step] if isinstance(self.value, list) and step < len(self.value) else None

    def walk(self) -> Iterator[Node]:
        yield self
        children = self.value.values() if isinstance(self.value, dict) else self.value
        for child in children if isinstance(self.value, dict | list) else ():
            yield from child.walk()


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Its depth is bounded, so that hostile nesting cannot exhaust the stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(rf"^(?:{_pattern})\Z"), _first)


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader above would not read as text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """As the base class does; but YAML reads the control character NEL as a line break unless it is escaped."""
        node: yaml.ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", data, '"' if "\x85" in data else None)
        return node


_Dumper.add_representer(str, _Dumper.represent_text)


def dump(data: Any, *, flow: bool = False) -> str:
    """Plain data as YAML that ``parse`` reads back to the same data; flow: in one line, with braces."""
    width = 1 << 30 if flow else 110
    text: str = yaml.dump(
        data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=flow or None, width=width
    )
    return text.removesuffix("...\n")


def parse(text: str, file: str) -> Node:
    """The single document in text; file names it in messages. Raises InvalidFile.

    An empty document is a node with value None.
    """
    start = Mark(file, 1, 1)
    if len(text) > MAX_BYTES:
        raise InvalidFile([Problem(start, f"the text has {len(text)} characters; at most {MAX_BYTES} are read")])
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Mark(file, mark.line + 1, mark.column + 1) if mark else start
        raise InvalidFile([Problem(place, _sentence(error))]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Mark(file, before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        raise InvalidFile([Problem(place, f"character {error.character!r} is not allowed in YAML")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if root is None:
        return Node(None, start)
    conversion = _Conversion(file)
    node = conversion.node(root, 0)
    if conversion.problems:
        raise InvalidFile(conversion.problems)
    return node


def read(path: Path) -> Node:
    """Parses the file at path (UTF-8). Raises ConfigError when it cannot be read, InvalidFile when it is not valid."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return parse(raw.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise InvalidFile([Problem(Mark(str(path), line, column), "not UTF-8 text; save the file as UTF-8")]) from None


class _Conversion:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.nodes = 0

    def node(self, raw: yaml.Node, depth: int) -> Node:
        mark = Mark(self.file, raw.start_mark.line + 1, raw.start_mark.column + 1)
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:  # aliases multiply; an alias inside its own anchor never ends
            what = f"nested deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            raise InvalidFile([*self.problems, Problem(mark, f"{what} once aliases are followed")])
        if isinstance(raw, yaml.ScalarNode):
            return Node(self.scalar(raw, mark), mark, plain=raw.style is None)
        if isinstance(raw, yaml.SequenceNode):
            self.refuse_tag(raw, "seq", mark)
            return Node([self.node(item, depth + 1) for item in raw.value], mark)
        self.refuse_tag(raw, "map", mark)
        values: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        for key, value in raw.value:
            place = Mark(self.file, key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem(place, "a key must be text, not a list or a mapping"))
                continue
            name = self.text(key.value, place)
            if name in keys:
                self.problems.append(
                    Problem(place, f"key {name!r} was already given in line {keys[name].line}; remove one of the two")
                )
                continue
            keys[name], values[name] = place, self.node(value, depth + 1)
        return Node(values, mark, keys)

    def refuse_tag(self, raw: yaml.Node, expected: str, mark: Mark) -> None:
        if raw.tag != _CORE + expected:
            self.problems.append(Problem(mark, "tags are not allowed; put text that begins with ! in quotes"))

    def text(self, value: str, mark: Mark) -> str:
        """Joins the surrogate pairs that JSON writes for characters beyond U+FFFF."""
        if any("\ud800" <= c <= "\udfff" for c in value):
            try:
                return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                self.problems.append(Problem(mark, "half a surrogate pair; write the character itself"))
        return value

    def scalar(self, raw: yaml.ScalarNode, mark: Mark) -> Any:
        text = self.text(raw.value, mark)
        try:
            if raw.tag == _CORE + "str":
                return text
            if raw.tag == _CORE + "null":
                return None
            if raw.tag == _CORE + "bool":
                return {"true": True, "false": False}[text.lower()]
            if raw.tag == _CORE + "int":
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if raw.tag == _CORE + "float":
                return float(re.sub(r"\.(?=[in])", "", text.lower()))
        except (ValueError, KeyError):
            self.problems.append(Problem(mark, f"{text[:40]!r} cannot be read as {raw.tag.removeprefix(_CORE)}"))
            return None
        self.refuse_tag(raw, "str", mark)
        return text


def _sentence(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's complaint. It quotes names of aliases, which may be a password that begins with ``*``: not repeated."""
    if "alias" in str(error.problem):
        return "not valid YAML: an alias without its anchor; put text that begins with * in quotes"
    return "not valid YAML: " + ", ".join(part for part in (error.problem, error.context) if part)
