"""Settings declared once, as frozen dataclasses; from the declaration comes validation, and in schema.py
the JSON Schema and an example file.

    @dataclass(frozen=True, kw_only=True)
    class Server:
        "The RTSP server."

        port: int = setting("Port", default=8554, minimum=1, maximum=65535)
        password: Secret = setting("Password", description="Asked of every reader.", example="env:RTSP_PASSWORD")

        def __post_init__(self) -> None:
            if self.port == 80:
                raise Wrong("port 80 is the web server's", "port")

    server = build(Server, yamlfile.read(path))     # raises InvalidFile with every problem, each with line and column

A field's type may be bool, int, float, str, Secret, Path, datetime.date, a Literal, an Enum (by its name in lower
case), another such class, ``tuple[T, ...]``, ``tuple[A, B]``, ``dict[str, T]``, ``T | None``, or any class with
``from_setting(value)`` (plain YAML data in, ValueError when it will not do), ``setting_schema()`` (its JSON Schema) and
``to_setting()``. A settings class with ``SHORTHAND: ClassVar = "key"`` may be written as that key's value alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import difflib
import enum
import functools
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from anonymizer.errors import ConfigError
from anonymizer.yamlfile import InvalidFile, Mark, Node, Problem

T = TypeVar("T")


class Wrong(ValueError):
    """Raised by a settings class's ``__post_init__``, alone or several in an ExceptionGroup.

    message: what is wrong. path: the keys and list positions that lead to it from the class's own mapping.
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


class MissingSecret(ConfigError):
    """The variable or file of a secret is missing or empty."""


class Secret:
    """A password or key. Written ``env:NAME``, ``file:PATH`` or plain; read by ``reveal`` and shown by nothing else."""

    __slots__ = ("_written",)

    def __init__(self, written: str) -> None:
        self._written = written

    def reveal(self) -> str:
        """The secret itself. Raises MissingSecret when its variable or file is missing or empty."""
        kind, _, name = self._written.partition(":")
        if kind == "env":
            value = os.environ.get(name, "")
            if not value:
                raise MissingSecret(f"the secret env:{name} is missing: set the environment variable {name}")
            return value
        if kind == "file":
            try:
                value = Path(name).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise MissingSecret(f"the secret file:{name} cannot be read: {error}") from None
            if not value:
                raise MissingSecret(f"the secret file:{name} is empty")
            return value
        return self._written

    def __repr__(self) -> str:
        kind = self._written.partition(":")[0]
        return f"Secret({self._written!r})" if kind in {"env", "file"} else "Secret('…')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._written == other._written

    def __hash__(self) -> int:
        return hash(self._written)


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What is said of a field beside its type. example: YAML data for the example file where there is no default."""

    title: str
    description: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    single: bool = False
    example: Any = None


def setting(
    title: str,
    *,
    default: Any = dataclasses.MISSING,
    factory: Callable[[], Any] | None = None,
    description: str = "",
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    single: bool = False,
    example: Any = None,
) -> Any:
    """A dataclass field with its documentation and limits.

    minimum and maximum bound a number, or the length of a text, list or mapping, and hold for the items of a list of
    numbers. pattern must match a whole text (or each text of a list, each key of a mapping). single: one value may
    stand for a list of one.
    """
    said = Setting(title, description, unit, minimum, maximum, pattern, single, example)
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={"setting": said})
    return dataclasses.field(default=default, metadata={"setting": said})


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """One field of a settings class, resolved. default is MISSING where the key is required."""

    name: str
    kind: Any
    said: Setting
    default: Any

    @property
    def told(self) -> str:
        """Description, unit and limits in one line."""
        return f"{(self.said.description or self.said.title).rstrip('.')}{self.limits}."

    @property
    def limits(self) -> str:
        """Unit and limits in parentheses, or nothing."""
        said, of = self.said, ""
        kinds = [kind for kind in (self.kind, *typing.get_args(self.kind)) if kind in (int, float)]
        if not kinds:
            of = " characters" if self.kind is str else " entries"
        notes = [f"in {said.unit}"] if said.unit else []
        if said.minimum is not None:
            notes.append("not empty" if of and said.minimum == 1 else f"at least {said.minimum:g}{of}")
        notes += [f"at most {said.maximum:g}{of}"] if said.maximum is not None else []
        return f" ({', '.join(notes)})" if notes else ""


@functools.cache
def declared(cls: type) -> tuple[Declared, ...]:
    """The fields of a settings class in their order."""
    hints = typing.get_type_hints(cls)
    return tuple(
        Declared(
            f.name,
            hints[f.name],
            f.metadata["setting"],
            f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default,
        )
        for f in dataclasses.fields(cls)
        if "setting" in f.metadata
    )


def build(cls: type[T], node: Node) -> T:
    """An instance of cls from a parsed file. Raises InvalidFile with every problem found, in the file's order."""
    builder = _Builder()
    value = builder.settings(cls, node)
    if builder.problems:
        raise InvalidFile(builder.problems)
    return typing.cast(T, value)


def number(cls: type, name: str) -> Callable[[str], int]:
    """For argparse: the type of an option that stands for a setting, with the same limits."""
    (said,) = (d for d in declared(cls) if d.name == name)

    def parse(text: str) -> int:
        builder = _Builder()
        value = builder.field(said, Node(int(text), Mark("", 1, 1)))
        if builder.problems:
            raise argparse.ArgumentTypeError(builder.problems[0].message)
        return typing.cast(int, value)

    parse.__name__ = "number"  # argparse names it where there is none
    return parse


def hint(word: str, known: typing.Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for a word that is close to a known one, else the choices when they are few."""
    names = list(known)
    folded = {name.lower().replace("-", "_"): name for name in names}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), folded, 1, 0.6)
    if near:
        return f" Did you mean {folded[near[0]]!r}?"
    return f" Known: {', '.join(names)}." if names and len(names) <= 20 else ""


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else (error,)


class _Bad(enum.Enum):
    BAD = 0


BAD = _Bad.BAD  # stands for a value whose problem has been noted already


class _Builder:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def bad(self, node: Node, message: str) -> _Bad:
        self.problems.append(Problem(node.mark, message))
        return BAD

    def due(self, node: Node, what: str, note: str = "") -> _Bad:
        found = node.kind
        if isinstance(node.value, bool | int | float | str):
            found = f"{node.kind} ({node.value!r})" if len(str(node.value)) < 40 else found
        return self.bad(node, f"{what} is due here, not {found}{note}")

    def settings(self, cls: type, node: Node) -> Any:
        short = getattr(cls, "SHORTHAND", None)
        if short and not isinstance(node.value, dict | list):
            node = Node({short: node}, node.mark, {short: node.mark})
        if not isinstance(node.value, dict):
            return self.due(node, f"a mapping ({', '.join(d.name for d in declared(cls))})")
        fields = {d.name: d for d in declared(cls)}
        marks = node.keys or {}
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            if name not in fields:
                self.problems.append(Problem(marks[name], f"unknown key {name!r}.{hint(name, fields)}"))
                continue
            values[name] = self.field(fields[name], child)
        missing = [d for d in fields.values() if d.name not in values and d.default is dataclasses.MISSING]
        for d in missing:
            self.bad(node, f"key {d.name!r} is missing: {d.told}")
        if missing or BAD in values.values():
            return BAD
        built: Any = BAD
        try:
            built = cls(**values)
        except* ValueError as group:
            for error in _leaves(group):
                at = node
                for step in error.path if isinstance(error, Wrong) else ():
                    at = at.child(step) or at
                self.bad(at, str(error))
        return built

    def field(self, d: Declared, node: Node) -> Any:
        said = d.said
        if said.single and not isinstance(node.value, list) and node.value is not None:
            node = Node([node], node.mark)
        value = self.value(d.kind, node, said)
        return value if value is BAD else self.bounded(value, node, said)

    def bounded(self, value: Any, node: Node, said: Setting) -> Any:
        if isinstance(value, tuple) and value and all(isinstance(v, int | float) for v in value):
            sizes = [(v, child) for v, child in zip(value, node.value, strict=True)]
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool | enum.Enum)
            sizes = [(value if is_number else len(value), node)] if is_number or isinstance(value, _SIZED) else []
        for size, at in sizes:
            what = f"{size:g}" if at.value == size else f"a length of {size:g}"
            unit = f" {said.unit}" if said.unit else ""
            if said.minimum is not None and size < said.minimum:
                return self.bad(at, f"{what} is too small; at least {said.minimum:g}{unit} is due")
            if said.maximum is not None and size > said.maximum:
                return self.bad(at, f"{what} is too large; at most {said.maximum:g}{unit} is allowed")
        if said.pattern:
            texts = [value] if isinstance(value, str) else list(value) if isinstance(value, tuple | dict) else []
            for text in texts:
                if isinstance(text, str) and not re.fullmatch(said.pattern, text):
                    return self.bad(node, f"{text!r} does not have the form {said.pattern}")
        return value

    def value(self, kind: Any, node: Node, said: Setting) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in {typing.Union, types.UnionType}:
            inner = [a for a in arguments if a is not type(None)]
            return None if node.value is None and len(inner) < len(arguments) else self.value(inner[0], node, said)
        if node.value is None:
            return self.bad(node, "nothing stands here; write a value, or remove the key to get its default")
        if origin is typing.Literal:
            return self.choice({str(a): a for a in arguments}, node)
        if origin is tuple:
            return self.items(arguments, node, said)
        if origin is dict:
            if not isinstance(node.value, dict):
                return self.due(node, "a mapping")
            values = {key: self.value(arguments[1], child, said) for key, child in node.value.items()}
            return BAD if BAD in values.values() else values
        if dataclasses.is_dataclass(kind) and not hasattr(kind, "from_setting"):
            return self.settings(typing.cast(type, kind), node)
        if issubclass(kind, enum.Enum):
            return self.choice({member.name.lower(): member for member in kind}, node)
        return self.scalar(kind, node)

    def items(self, arguments: tuple[Any, ...], node: Node, said: Setting) -> Any:
        if not isinstance(node.value, list):
            return self.due(node, "a list")
        if arguments[-1] is Ellipsis:
            kinds = [arguments[0]] * len(node.value)
        elif len(arguments) != len(node.value):
            return self.bad(node, f"a list of {len(arguments)} is due here, not of {len(node.value)}")
        else:
            kinds = list(arguments)
        values = tuple(self.value(kind, child, said) for kind, child in zip(kinds, node.value, strict=True))
        return BAD if BAD in values else values

    def choice(self, choices: dict[str, Any], node: Node) -> Any:
        if isinstance(node.value, str) and node.value in choices:
            return choices[node.value]
        if isinstance(node.value, str):
            listed = hint(node.value, choices)
            return self.bad(node, f"{node.value!r} is not one of {', '.join(choices)}.{listed.partition(' Known')[0]}")
        return self.due(node, f"one of {', '.join(choices)}")

    def scalar(self, kind: Any, node: Node) -> Any:
        value = node.value
        if hasattr(kind, "from_setting"):
            try:
                return kind.from_setting(node.data())
            except ValueError as error:
                return self.bad(node, str(error))
        if kind is bool:
            note = "; write true or false" if value in ("on", "off", "yes", "no") else ""
            return value if isinstance(value, bool) else self.due(node, "true or false", note)
        if kind in (int, float):
            if isinstance(value, bool) or not isinstance(value, int | float):
                note = "; remove the quotes" if isinstance(value, str) and not node.plain else ""
                return self.due(node, _TYPE_WORDS[kind], note)
            if kind is int:
                return value if isinstance(value, int) else self.due(node, "a whole number")
            if not math.isfinite(value):
                return self.due(node, "a finite number")
            return float(value)
        if kind is Secret and not isinstance(value, str):
            return self.bad(node, "text is due here; put it in quotes")  # never repeats what stands there
        if not isinstance(value, str):
            return self.due(node, "text", "; put it in quotes" if not isinstance(value, dict | list) else "")
        if kind is datetime.date:
            try:
                return datetime.date.fromisoformat(value)
            except ValueError:
                return self.bad(node, f"{value!r} is not a date; write it as 2026-12-25")
        return value if kind is str else kind(value)


_SIZED = (str, tuple, dict)
_TYPE_WORDS = {int: "a whole number", float: "a number"}


def plain(value: Any) -> Any:
    """A setting as plain YAML data; secrets stay redacted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "to_setting"):
        return {d.name: plain(getattr(value, d.name)) for d in declared(type(value))}
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if hasattr(value, "to_setting"):
        return value.to_setting()
    return value if isinstance(value, bool | int | float | str | None) else str(value)
