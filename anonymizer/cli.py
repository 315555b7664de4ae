"""The ``anonymizer`` command. Each room that has commands registers its own."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import cast

import anonymizer
from anonymizer.errors import AnonymizerError

Command = Callable[[argparse.Namespace], int]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="anonymizer",
        description="Replaces faces in video before anyone can store them: in files, or between camera and recorder.",
        epilog="Exit codes: 0 done, 2 wrong settings or arguments, 3 done in part, 4 source unreadable, "
        "5 model missing or wrong, 6 output cannot be written, 7 the signer of a package is not proven. `verify` "
        "ends with 1 where a package is broken.",
    )
    top.add_argument("--version", action="version", version=f"anonymizer {anonymizer.__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="log more, to standard error")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for room in _rooms():
        room.register(commands)
    return top


def _rooms() -> list[ModuleType]:
    from anonymizer import (
        camera_command,
        enroll_command,
        identities_command,
        redact_command,
        registry_command,
        run_command,
    )
    from anonymizer.demo import command as demo_command
    from anonymizer.evaluate import command as evaluate_command
    from anonymizer.export import command as export_command
    from anonymizer.export import erase_command, verify_command
    from anonymizer.policy import commands as rules_command
    from anonymizer.record import command as record_command

    return [
        redact_command,
        run_command,
        demo_command,
        camera_command,
        rules_command,
        enroll_command,
        identities_command,
        record_command,
        export_command,
        erase_command,
        verify_command,
        registry_command,
        evaluate_command,
    ]


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def _terminate(*_: object) -> None:
    raise _Terminated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; an error that a user can meet is one line on standard error."""
    given = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if given.verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return cast(Command, given.command)(given)
    except AnonymizerError as error:
        print(f"anonymizer: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print("anonymizer: interrupted; nothing half-made is left", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(interrupt, _Terminated) else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output is gone; Python must not complain about it once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
