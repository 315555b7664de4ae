"""``anonymizer redact IN OUT``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from anonymizer import assembly, config
from anonymizer.policy import Action, RuleSet, Treatment
from anonymizer.publish.encoder import Preset
from anonymizer.redact import Summary, redact

PARTIAL = 3
_METHODS = ("replace", "solid", "pixelate", "blur")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("redact", help="anonymise a video file")
    command.add_argument("source", type=Path, metavar="IN")
    command.add_argument("target", type=Path, metavar="OUT", help="its suffix says which kind of file is written")
    command.add_argument("--config", type=Path, metavar="FILE", help="settings; `anonymizer config example` shows all")
    command.add_argument("--report", type=Path, metavar="FILE", help="write what was done to each face, as JSON")
    command.add_argument("--method", choices=_METHODS, help="what happens to every face, instead of what the rules say")
    command.add_argument("--preset", choices=get_args(Preset), help="of x264")
    command.add_argument("--crf", type=int, help="quality, 0 to 51; smaller is better and larger")
    command.add_argument("--thorough", action="store_true", help="look at every frame at full size, and mirrored too")
    command.add_argument(
        "--audio", choices=("drop", "copy"), default="drop", help="voices tell on people (default: drop)"
    )
    command.add_argument("--json", action="store_true", help="print the summary as JSON, and no progress bar")
    command.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> int:
    settings = _settings(given)
    if given.method:
        rules = RuleSet(default=Treatment(action=Action[given.method.upper()]))
    else:
        rules = assembly.rules(settings.rules)
    arguments = (given.source, given.target, settings, rules)
    options = {"report": given.report, "audio": given.audio == "copy"}
    if given.json or not sys.stderr.isatty():
        summary = redact(*arguments, **options)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(given.source.name, total=None)
            summary = redact(
                *arguments, progress=lambda done, total: bar.update(task, completed=done, total=total), **options
            )
    _tell(given, summary)
    return PARTIAL if summary.problems else 0


def _settings(given: argparse.Namespace) -> config.Config:
    settings = config.load(given.config) if given.config else config.Config()
    encoder = {name: getattr(given, name) for name in ("preset", "crf") if getattr(given, name) is not None}
    if encoder:
        settings = replace(settings, encoder=replace(settings.encoder, **encoder))
    if given.thorough:
        settings = replace(settings, faces=replace(settings.faces, thorough=True))
    return settings


def _tell(given: argparse.Namespace, summary: Summary) -> None:
    for problem in summary.problems:
        print(f"anonymizer: warning: {given.source}: {problem}", file=sys.stderr)
    if given.json:
        told = {
            "source": str(given.source),
            "target": str(given.target),
            "frames": summary.frames,
            "faces": summary.faces,
            "tracks": len(summary.tracks),
            "methods": summary.methods,
            "covered_whole": summary.covered_whole,
            "problems": summary.problems,
            "seconds": {stage: round(spent, 3) for stage, spent in summary.seconds.items()},
        }
        print(json.dumps(told))
        return
    methods = ", ".join(f"{count} × {name}" for name, count in sorted(summary.methods.items())) or "none"
    print(f"{given.target}: {summary.frames} frames, {len(summary.tracks)} tracks; faces: {methods}")
