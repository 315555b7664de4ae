"""Rules files: of one's own, by their path, and shipped ones, by their name."""

from __future__ import annotations

import datetime
from pathlib import Path

from anonymizer import resources, settings
from anonymizer.errors import ConfigError
from anonymizer.policy import rules as rulefile
from anonymizer.policy.rules import RuleSet


def is_path(name: str) -> bool:
    """Whether a file is meant, and no shipped rules."""
    return "/" in name or bool(Path(name).suffix)


def find(name: str) -> Path:
    """The file of that path, or of the shipped rules of that name. ConfigError where there are none."""
    if is_path(name):
        return Path(name)
    path = resources.folder("rules") / f"{name}.yaml"
    if not path.is_file():
        shipped = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"rules: there are no shipped rules {name!r}.{settings.hint(name, shipped)}")
    return path


def read(path: Path) -> RuleSet:
    """The rules in a file; calendars are looked for beside it. Raises ConfigError with every problem's place."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    today = datetime.datetime.now(datetime.UTC).date()
    return rulefile.load(text, str(path), today=today, read=lambda name: (path.parent / name).read_bytes())
