"""Modules that come only with one of the package's extras."""

from __future__ import annotations

import importlib
from types import ModuleType

from anonymizer.errors import ConfigError


def module(name: str, extra: str, what: str) -> ModuleType:
    """The module of that name, which the extra installs. ConfigError, saying what needs it, where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{what} need the extra: pip install 'anonymizer[{extra}]'") from error
