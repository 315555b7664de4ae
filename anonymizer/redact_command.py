"""``anonymizer redact IN OUT``: a file, or a folder of them."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from anonymizer import assembly, config
from anonymizer.archive import PARTIAL, Outcome, Watcher, Work, redact_folder
from anonymizer.errors import ConfigError
from anonymizer.faces.look import LookSettings
from anonymizer.policy import Action, RuleSet, Treatment
from anonymizer.publish.encoder import EncoderSettings, Preset
from anonymizer.redact import Summary, redact
from anonymizer.settings import number

_METHODS = ("replace", "solid", "pixelate", "blur")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("redact", help="anonymise a video file, or a folder of them")
    command.add_argument("source", type=Path, metavar="IN", help="a video, or a folder, which is gone through whole")
    command.add_argument(
        "target", type=Path, metavar="OUT", help="its suffix says which kind of file is written; a folder for a folder"
    )
    command.add_argument("--config", type=Path, metavar="FILE", help="settings; `anonymizer config example` shows all")
    command.add_argument(
        "--report", type=Path, metavar="FILE", help="write what was done to each face, as JSON; a folder for a folder"
    )
    command.add_argument("--method", choices=_METHODS, help="what happens to every face, instead of what the rules say")
    command.add_argument(
        "--camera", default="", metavar="NAME", help="whose zones, masks and rules apply (default: each file's stem)"
    )
    command.add_argument("--preset", choices=get_args(Preset), help="of x264")
    command.add_argument(
        "--crf", type=number(EncoderSettings, "crf"), help="quality, 0 to 51; smaller is better and larger"
    )
    command.add_argument(
        "--thorough",
        action="store_true",
        help="look at every frame at full size, and mirrored too; small faint faces are covered as well",
    )
    command.add_argument(
        "--copy-clean-gops",
        action="store_true",
        help="keep the camera's own H.264 packets where a whole closed GOP, every frame looked at, shows no face; "
        "small faint faces count, and are covered as well",
    )
    command.add_argument(
        "--look-size",
        type=number(LookSettings, "size"),
        metavar="PIXELS",
        help="with --copy-clean-gops: longer side of what the detector sees of every frame; 0 for the frame's own size "
        "(default: faces.look.size of the settings, 960)",
    )
    command.add_argument(
        "--audio", choices=("drop", "copy"), default="drop", help="voices tell on people (default: drop)"
    )
    command.add_argument("--jobs", type=int, metavar="N", help="files at a time (default: what cores and memory allow)")
    command.add_argument("--json", action="store_true", help="print the summary as JSON, and no progress bar")
    command.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> int:
    if given.jobs is not None and given.jobs < 1:
        raise ConfigError("--jobs must be at least 1")
    settings = _settings(given)
    if given.method:
        rules = RuleSet(default=Treatment(action=Action[given.method.upper()]))
    else:
        rules = assembly.rules(settings.rules)
    _warn_of_cameras(given, rules)
    copy = given.copy_clean_gops
    audio = given.audio == "copy"
    with _Bars(shown=not given.json and sys.stderr.isatty()) as bars:
        if given.source.is_dir():
            work = Work(settings, rules, audio, copy, given.report, given.camera)
            outcomes = redact_folder(given.source, given.target, work, jobs=given.jobs, watcher=bars)
        else:
            name = given.source.name
            summary = redact(
                given.source, given.target, settings, rules, camera=given.camera, report=given.report, audio=audio,
                copy=copy,
                progress=lambda done, total: bars.progress(name, done, total),
            )  # fmt: skip
    if given.source.is_dir():
        return _tell_folder(given, outcomes)
    _tell(given, summary)
    return PARTIAL if summary.problems else 0


def _warn_of_cameras(given: argparse.Namespace, rules: RuleSet) -> None:
    """Zones, masks and rules of cameras that are none here never apply, and nothing else would tell."""
    files = given.source.rglob("*") if given.source.is_dir() else [given.source]
    names = {given.camera} if given.camera else {file.stem for file in files}
    if rules.cameras and names.isdisjoint(rules.cameras):
        cameras = ", ".join(sorted(rules.cameras))
        print(
            f"anonymizer: warning: the rules have zones, masks or conditions for {cameras}, and none of them applies: "
            "say with --camera which camera this is",
            file=sys.stderr,
        )


def _settings(given: argparse.Namespace) -> config.Config:
    settings = config.load(given.config) if given.config else config.Config()
    encoder = {name: getattr(given, name) for name in ("preset", "crf") if getattr(given, name) is not None}
    if encoder:
        settings = replace(settings, encoder=replace(settings.encoder, **encoder))
    faces = settings.faces
    if given.look_size is not None:
        faces = replace(faces, look=replace(faces.look, size=given.look_size))
    if given.thorough:
        faces = replace(faces, thorough=True)
    return replace(settings, faces=faces)


class _Bars(Watcher):
    """A bar for each file at work, and one for all where there are several."""

    def __init__(self, shown: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
        self._tasks: dict[str, TaskID] = {}
        self._all: TaskID | None = None

    def begin(self, files: int) -> None:
        self._all = self._bars.add_task("files", total=files)

    def progress(self, file: str, done: int, total: int | None) -> None:
        if file not in self._tasks:
            self._tasks[file] = self._bars.add_task(file, total=total)
        self._bars.update(self._tasks[file], completed=done, total=total)

    def end(self, outcome: Outcome) -> None:
        if (task := self._tasks.pop(outcome.file, None)) is not None:
            self._bars.remove_task(task)
        if self._all is not None:
            self._bars.advance(self._all)

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


def _tell(given: argparse.Namespace, summary: Summary) -> None:
    for problem in summary.problems:
        print(f"anonymizer: warning: {given.source}: {problem}", file=sys.stderr)
    if given.json:
        print(json.dumps({"source": str(given.source), "target": str(given.target), **summary.plain()}))
        return
    print(f"{given.target}: {_sentence(summary.plain())}")


def _sentence(told: dict[str, Any]) -> str:
    methods = ", ".join(f"{count} × {name}" for name, count in sorted(told["methods"].items())) or "none"
    text = f"{told['frames']} frames, {told['tracks']} tracks; faces: {methods}"
    if told["covered_whole"]:
        text += f"; covered whole: {told['covered_whole']} frames"
    if "nothing_copied" in told:
        return f"{text}; no GOP copied: {told['nothing_copied']}"
    return f"{text}; {told['copied_gops']} of {told['gops']} GOPs copied" if "gops" in told else text


def _tell_folder(given: argparse.Namespace, outcomes: list[Outcome]) -> int:
    code = max((one.code for one in outcomes), default=0)
    counts = dict.fromkeys(("done", "skipped", "not a video", "failed"), 0)
    for one in outcomes:
        counts[one.status] += 1
        if one.code:
            kind = "warning" if one.code == PARTIAL else "error"
            print(f"anonymizer: {kind}: {one.file}: {one.message}", file=sys.stderr)
    if given.json:
        files = [
            {"file": one.file, "status": one.status, "code": one.code, "message": one.message, **one.summary}
            for one in outcomes
        ]
        told = {"source": str(given.source), "target": str(given.target), "code": code, "counts": counts}
        print(json.dumps({**told, "files": files}))
        return code
    for one in outcomes:
        if one.status == "done":
            print(f"{one.file}: {_sentence(one.summary)}")
        elif one.status == "not a video":
            print(f"{one.file}: left out, {one.message}")
    print(
        f"{given.target}: {counts['done']} files done, {counts['skipped']} were done before, "
        f"{counts['not a video']} are no videos, {counts['failed']} failed"
    )
    return code
