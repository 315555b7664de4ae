"""Every error that a user can meet.

AnonymizerError
├── ConfigError     a setting, a rule file or a command line that cannot be obeyed
├── SourceError     a file or camera that cannot be read
├── ModelError      a model that is missing, altered, or does not match its contract
└── PublishError    an output that cannot be written or served

The message says what, where and what to do. ``exit_code`` is what the command line ends with.
"""

from __future__ import annotations


class AnonymizerError(Exception):
    exit_code = 1


class ConfigError(AnonymizerError):
    exit_code = 2


class SourceError(AnonymizerError):
    exit_code = 4


class ModelError(AnonymizerError):
    exit_code = 5


class PublishError(AnonymizerError):
    exit_code = 6
