"""``anonymizer run CONFIG`` and ``anonymizer config check|schema|example``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from anonymizer import assembly, checks, config, schema
from anonymizer.config import Config
from anonymizer.service import Service


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="anonymise cameras and serve them over RTSP")
    run.add_argument("config", type=Path, metavar="CONFIG")
    run.set_defaults(command=_run)
    files = commands.add_parser("config", help="check a configuration file, or see what may stand in one")
    verbs = files.add_subparsers(metavar="VERB", required=True)
    check = verbs.add_parser("check", help="all errors, with line and column")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(command=_check)
    verbs.add_parser("schema", help="JSON Schema, for editors").set_defaults(command=_schema)
    verbs.add_parser("example", help="every setting, explained").set_defaults(command=_example)


def _run(given: argparse.Namespace) -> int:
    loaded = config.load(given.config)
    print(f"models: {assembly.models(loaded)}", file=sys.stderr, flush=True)  # at every start, however little is logged

    async def serve() -> None:
        await Service(loaded, given.config).run()

    asyncio.run(serve())
    return 0


def _check(given: argparse.Namespace) -> int:
    loaded, missing = checks.check(given.file)
    for problem in missing:
        print(f"{problem.mark}: warning: {problem.message}", file=sys.stderr)
    print(f"{given.file}: good, {len(loaded.cameras)} cameras")
    return 0


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(schema.json_schema(Config, "anonymizer"), indent=2))
    return 0


def _example(_: argparse.Namespace) -> int:
    print(schema.example(Config), end="")
    return 0
