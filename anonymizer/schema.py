"""What the declaration of settings says of itself: the JSON Schema for editors, and the commented example file."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any

from anonymizer import yamlfile
from anonymizer.settings import Declared, Setting, declared, plain


def json_schema(cls: type, title: str = "") -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of cls, for editors and other programs."""
    definitions: dict[str, Any] = {}
    root = _schema_of_settings(cls, definitions)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title or cls.__name__, **root}
    return {**schema, "$defs": definitions} if definitions else schema


def _schema_of_settings(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {}
    for d in declared(cls):
        schema = _schema(d.kind, d.said, definitions)
        described = {"title": d.said.title, "description": d.told, **schema}
        if d.default is not dataclasses.MISSING and d.default is not None:
            described["default"] = plain(d.default)
        properties[d.name] = described
    required = [d.name for d in declared(cls) if d.default is dataclasses.MISSING]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if cls.__doc__:
        schema["description"] = _first_paragraph(cls)
    return {**schema, "required": required} if required else schema


def _schema(kind: Any, said: Setting, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        inner = [_schema(a, said, definitions) for a in arguments if a is not type(None)]
        return {"anyOf": [*inner, {"type": "null"}]} if len(inner) < len(arguments) else inner[0]
    if origin is typing.Literal:
        return {"enum": [str(a) for a in arguments]}
    if origin is tuple:
        return _schema_of_items(arguments, said, definitions)
    if origin is dict:
        schema = {"type": "object", "additionalProperties": _schema(arguments[1], _unbounded(said), definitions)}
        schema |= _limited(said, "minProperties", "maxProperties")
        if said.pattern:
            schema["propertyNames"] = {"pattern": f"^(?:{said.pattern})$"}
        return schema
    if hasattr(kind, "setting_schema"):
        return dict(kind.setting_schema())
    if dataclasses.is_dataclass(kind):
        cls = typing.cast(type, kind)
        if cls.__name__ not in definitions:
            definitions[cls.__name__] = {}
            definitions[cls.__name__] = _schema_of_settings(cls, definitions)
        whole = {"$ref": f"#/$defs/{cls.__name__}"}
        short = [d for d in declared(cls) if d.name == getattr(cls, "SHORTHAND", None)]
        return {"anyOf": [*(_schema(d.kind, d.said, definitions) for d in short), whole]} if short else whole
    if issubclass(kind, enum.Enum):
        return {"enum": [member.name.lower() for member in kind]}
    if kind is bool:
        return {"type": "boolean"}
    if kind in (int, float):
        return {"type": "integer" if kind is int else "number", **_limited(said, "minimum", "maximum")}
    schema = {"type": "string", **_limited(said, "minLength", "maxLength")}
    if said.pattern:
        schema["pattern"] = f"^(?:{said.pattern})$"
    return schema | ({"format": "date"} if kind is datetime.date else {})


def _schema_of_items(arguments: tuple[Any, ...], said: Setting, definitions: dict[str, Any]) -> dict[str, Any]:
    numbers = all(a in (int, float, Ellipsis) for a in arguments)
    items = [_schema(a, said if numbers else _unbounded(said), definitions) for a in arguments if a is not Ellipsis]
    if arguments[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    schema = {"type": "array", "items": items[0]}
    if not numbers:
        schema |= _limited(said, "minItems", "maxItems")
    return {"anyOf": [items[0], schema]} if said.single else schema


def _limited(said: Setting, least: str, most: str) -> dict[str, Any]:
    return {key: limit for key, limit in ((least, said.minimum), (most, said.maximum)) if limit is not None}


def _unbounded(said: Setting) -> Setting:
    return dataclasses.replace(said, minimum=None, maximum=None)


def example(cls: type) -> str:
    """A commented YAML file: every key with its meaning, unit, limits and default; optional parts commented out."""
    head = [f"# {line}".rstrip() for line in _first_paragraph(cls).splitlines()]
    return "\n".join([*head, "", *_example_of_settings(cls)]) + "\n"


def _example_of_settings(cls: type, instance: Any = None) -> Iterator[str]:
    for d in declared(cls):
        if instance is not None:
            d = dataclasses.replace(d, default=getattr(instance, d.name))  # noqa: PLW2901
        title = f"{d.said.title}: {d.told}" if d.said.description else f"{d.said.title}{d.limits}."
        yield from (f"# {line}" for line in textwrap.wrap(title, 100))
        inner = _settings_within(d.kind)
        lines = list(_example_of_field(d, inner))
        shown = d.default is dataclasses.MISSING or (d.kind is inner if inner else not _open(d))
        yield from lines if shown else (f"# {line}".rstrip() for line in lines)


def _open(d: Declared) -> bool:
    """Whether nothing stands where the key is left out, so that the example shows another value, commented out."""
    return d.default is None or (d.default in ((), {}) and d.said.example is not None)


def _example_of_field(d: Declared, inner: type | None) -> Iterator[str]:
    if inner is not None and d.said.example is None:
        origin = typing.get_origin(d.kind)
        body = list(_example_of_settings(inner, d.default if isinstance(d.default, inner) else None))
        if origin is tuple:
            keys = [index for index, line in enumerate(body) if not line.startswith("#")] or [0]
            marked = [f"{'- ' if index == keys[0] else '  '}{line}" for index, line in enumerate(body)]
            yield from (f"{d.name}:", *(f"  {line}" for line in marked))
        elif origin is dict:
            yield from (f"{d.name}:", "  example:", *(f"    {line}" for line in body))
        else:
            yield from (f"{d.name}:", *(f"  {line}" for line in body))
        return
    value = d.said.example if d.default is dataclasses.MISSING or inner is not None or _open(d) else plain(d.default)
    if isinstance(value, dict) and value:
        yield from (f"{d.name}:", *(f"  {line}" for line in yamlfile.dump(value).splitlines()))
    else:
        yield f"{d.name}: {yamlfile.dump(value, flow=True).rstrip()}"


def _settings_within(kind: Any) -> type | None:
    """The settings class that a field holds, alone, optional, in a list or in a mapping."""
    for candidate in (kind, *typing.get_args(kind)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return None if hasattr(candidate, "from_setting") else candidate
    return None


def _first_paragraph(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n\n")[0]
