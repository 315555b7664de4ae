"""``anonymizer rules …``: check, try out, compare and describe rule files."""

from __future__ import annotations

import argparse
import datetime
import json
import zoneinfo
from pathlib import Path

from anonymizer import schema, settings
from anonymizer.errors import ConfigError
from anonymizer.policy import files, sign_command
from anonymizer.policy.compare import laxer
from anonymizer.policy.decision import CameraRules, FaceFacts, Picture
from anonymizer.policy.explain import explain, remarks
from anonymizer.policy.recognition import Recognition
from anonymizer.policy.rules import RuleSet

FACE_HELP = (
    "a face as 'x=820 y=300 w=60 h=80' in pixels, and where needed confidence=0.8 view=3 (seconds) pose=unusable "
    "age=0.1 (seconds since its detection) group=staff member=anna; may be given several times"
)
_RULES = "a rules file, or the name of shipped rules"
_NUMBERS = {"x", "y", "w", "h", "confidence", "view", "age"}
_WORDS = {"pose", "group", "member"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rules = subparsers.add_parser("rules", help="check, try out and compare rule files")
    commands = rules.add_subparsers(required=True, metavar="VERB")
    one = commands.add_parser("check", help="report every error with its line and column")
    one.add_argument("files", nargs="+", metavar="RULES", help=_RULES)
    one.set_defaults(command=_check)
    one = commands.add_parser("test", help="say which rule decides about a face, and why")
    one.add_argument("file", metavar="RULES", help=_RULES)
    one.add_argument("--camera", required=True)
    one.add_argument(
        "--time", help="such as 2026-11-24T17:30, in the rules' time zone unless it names one; default now"
    )
    one.add_argument("--size", default="1920x1080", help="of the picture, in pixels; default %(default)s")
    one.add_argument("--face", action="append", required=True, help=FACE_HELP)
    one.set_defaults(command=_test)
    one = commands.add_parser("schema", help="print the JSON Schema of rule files, for editors")
    one.set_defaults(command=_schema)
    one = commands.add_parser("example", help="print an example with every key explained")
    one.set_defaults(command=_example)
    one = commands.add_parser("simulate", help="redact a video and draw zones, rules and decisions into it")
    one.add_argument("video", type=Path, metavar="VIDEO")
    one.add_argument("file", metavar="RULES", help=_RULES)
    one.add_argument("target", type=Path, metavar="OUT")
    one.add_argument("--camera", help="whose rules apply; default: the video's name without its suffix")
    one.add_argument("--start", help="when the video begins, as --time of `rules test`; default: unknown")
    one.add_argument("--config", type=Path, metavar="SETTINGS", help="settings; `anonymizer config example` shows all")
    one.set_defaults(command=_simulate)
    one = commands.add_parser("compare", help="say whether rule file B is laxer than A; exit code 1 if so")
    one.add_argument("a", metavar="A", help=_RULES)
    one.add_argument("b", metavar="B", help=_RULES)
    one.set_defaults(command=_compare)
    sign_command.register(commands)


def _check(arguments: argparse.Namespace) -> int:
    failures = []
    for name in arguments.files:
        try:
            path = files.find(name)
            rules = files.read(path)
        except ConfigError as error:
            failures.append(str(error))
            continue
        print(f"{path}: {len(rules.rules)} rules, default {rules.default.action}: good")
        for remark in remarks(rules):
            print(f"{path}: note: {remark}")
    if failures:
        raise ConfigError("\n".join(failures))
    return 0


def _test(arguments: argparse.Namespace) -> int:
    rules = files.read(files.find(arguments.file))
    zone = zoneinfo.ZoneInfo(rules.timezone)
    time = _time(arguments.time, zone) if arguments.time else datetime.datetime.now(zone).timestamp()
    width, height = _size(arguments.size)
    picture = Picture(arguments.camera, time, width, height)
    faces = [_face(number, text) for number, text in enumerate(arguments.face, 1)]
    verdict = CameraRules(rules, arguments.camera).decide(faces, picture)
    for face, decision in zip(faces, verdict.faces, strict=True):
        steps = explain(rules, face, picture)
        for step in steps:
            why = "; ".join((*(f"not {words}" for words in step.failed), *step.met)) or "no conditions"
            print(f"face {face.track}: rule {step.rule!r} {'holds' if step.holds else 'does not hold'}: {why}")
        options = f"margin {decision.margin:g}, identity {decision.identity}"
        print(f"face {face.track}: {decision.action} by {decision.rule!r} ({options})")
    for doubt in verdict.doubts:
        print(f"not judged, so that the default applies: {doubt}")
    if verdict.whole:
        print("the whole picture is covered")
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    print(json.dumps(schema.json_schema(RuleSet, "Rules of anonymizer"), indent=2, ensure_ascii=False))
    return 0


def _example(arguments: argparse.Namespace) -> int:
    print(schema.example(RuleSet), end="")
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    from anonymizer import config  # the whole frame path, which the other commands do without
    from anonymizer.simulate import simulate

    rules = files.read(files.find(arguments.file))
    start = _time(arguments.start, zoneinfo.ZoneInfo(rules.timezone)) if arguments.start else None
    camera = arguments.camera or arguments.video.stem
    chosen = config.load(arguments.config) if arguments.config else config.Config()
    counts = simulate(arguments.video, rules, arguments.target, chosen, camera=camera, start=start)
    for (rule, action), number in sorted(counts.items()):
        print(f"{number} faces: {action} by {rule!r}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    a, b = (files.read(files.find(name)) for name in (arguments.a, arguments.b))
    witness, reverse = laxer(a, b), laxer(b, a)
    for one, other, found in ((arguments.b, arguments.a, witness), (arguments.a, arguments.b, reverse)):
        verb = "is" if found is None or found.sure else "may be"
        print(f"{one} {'is not' if found is None else verb} laxer than {other}{f': {found}' if found else ''}")
    return 0 if witness is None else 1


def _time(text: str, zone: zoneinfo.ZoneInfo) -> float:
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a time; write it as 2026-11-24T17:30") from None
    return (time if time.tzinfo else time.replace(tzinfo=zone)).timestamp()


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"--size {text!r} is not a size; write it as 1920x1080")
    return int(width), int(height)


def _face(number: int, text: str) -> FaceFacts:
    said: dict[str, str] = {}
    for part in text.split():
        key, equals, value = part.partition("=")
        if not equals or key not in _NUMBERS | _WORDS:
            raise ConfigError(f"--face: {part!r} is not understood.{settings.hint(key, sorted(_NUMBERS | _WORDS))}")
        said[key] = value
    try:
        numbers = {key: float(value) for key, value in said.items() if key in _NUMBERS}
    except ValueError:
        raise ConfigError(f"--face {text!r}: one of {', '.join(sorted(_NUMBERS))} is not a number") from None
    if not {"x", "y", "w", "h"} <= numbers.keys():
        raise ConfigError(f"--face {text!r} lacks its place: x, y, w and h in pixels are due")
    known = None
    if "group" in said or "member" in said:
        groups = frozenset(filter(None, said.get("group", "").split(",")))
        known = Recognition(said.get("member", "someone"), groups, 1.0, 0.0)
    return FaceFacts(
        track=number,
        box=(numbers["x"], numbers["y"], numbers["w"], numbers["h"]),
        age=numbers.get("age", 0.0),
        confidence=numbers.get("confidence", 1.0),
        time_in_view=numbers.get("view", 0.0),
        pose_usable=said.get("pose", "usable") != "unusable",
        known=known,
    )
