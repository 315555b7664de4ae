"""``anonymizer evaluate recall|reidentify|utility|stability|cost|all``: what an anonymised clip still gives away."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

import anonymizer
from anonymizer import assembly, config, registry
from anonymizer.errors import ConfigError, PublishError, SourceError
from anonymizer.evaluate import cost, excerpt, page, people
from anonymizer.evaluate.coverage import Coverage
from anonymizer.evaluate.figure import Section
from anonymizer.evaluate.identity import Identities
from anonymizer.evaluate.labels import Labels, find_labels, read_labels, read_report
from anonymizer.evaluate.scene import Clip, Observer, Reference, Walk
from anonymizer.evaluate.stability import Stability
from anonymizer.evaluate.utility import Utility
from anonymizer.faces.detectors import Detector, load_detector
from anonymizer.faces.landmarks import Landmarker
from anonymizer.faces.recogniser import FAMILIES, Recogniser
from anonymizer.ingest.file import FileSource
from anonymizer.policy import Action, RuleSet, Treatment
from anonymizer.publish.encoder import EncoderSettings, Preset
from anonymizer.redact import redact
from anonymizer.settings import hint, number

PARTS = {
    "recall": "which faces were covered, which were not and for how long",
    "reidentify": "how often recognisers still know people",
    "utility": "whether faces, poses and expressions are still there, and the rest untouched",
    "stability": "whether faces flicker or change",
}
_ABOUT = """\
Measures what anonymised footage gives away, keeps and costs, on footage of your own. Clips are redacted first, unless
their anonymised versions are given. Writes evaluation.html and evaluation.json into the output folder; sheets in them
show anonymised faces only.
"""
_EXAMPLES = """\
examples:
  anonymizer evaluate utility yard.mp4
  anonymizer evaluate recall yard.mp4 --reference other_detector.onnx
  anonymizer evaluate all yard.mp4 door.mp4 --reference other_detector.onnx --recogniser arcface=recogniser.onnx
  anonymizer evaluate reidentify --recogniser sface=recogniser.onnx --people staff_photos
"""
TAIL = 1
"""Frames that some tools lose at a clip's end."""

_METHODS = ("replace", "solid", "pixelate", "blur", "silhouette")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="measure what anonymised footage gives away, keeps and costs", description=_ABOUT,
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    verbs = evaluate.add_subparsers(metavar="VERB", required=True)
    for name, about in {**PARTS, "all": "all of this, and the cost"}.items():
        verb = verbs.add_parser(name, help=about, description=f"Measures {about}.")
        _footage(verb)
        if name in ("reidentify", "stability", "all"):
            verb.add_argument(
                "--recogniser", action="append", default=[], metavar="FAMILY=FILE",
                help=f"an ONNX face recogniser that attacks; may be repeated. Families: {', '.join(FAMILIES)}",
            )  # fmt: skip
        if name in ("reidentify", "all"):
            verb.add_argument("--people", type=Path, metavar="FOLDER", help="pictures of known people, a folder each")
            verb.add_argument("--most-people", type=_count, metavar="N", help="take N of them, drawn by the seed")
            verb.add_argument(
                "--most-parrots", type=_count, metavar="N",
                help="try parrots and linkage, which redact anew for every method and release, on N of them",
            )  # fmt: skip
            verb.add_argument(
                "--portraits", type=Path, metavar="FOLDER", help="a picture a person, to compare diversity with"
            )
        if name in ("utility", "all"):
            verb.add_argument(
                "--landmarks", default="auto", metavar="FILE",
                help="landmark net that judges; better one that did not redact (default: the product's)",
            )  # fmt: skip
            verb.add_argument("--iris", type=Path, metavar="FILE", help="MediaPipe's iris model, to go with its mesh")
        if name == "all":
            verb.add_argument("--no-cost", action="store_true", help="leave the cost out")
            verb.add_argument(
                "--rounds",
                type=_count,
                default=1,
                metavar="N",
                help="how often cost is measured (default: %(default)s)",
            )
        verb.set_defaults(command=_run, parts=tuple(PARTS) if name == "all" else (name,))
    about = "what anonymising costs over decoding and encoding alone"
    verb = verbs.add_parser("cost", help=about, description=f"Measures {about}.")
    verb.add_argument("clips", type=Path, nargs=1, metavar="CLIP")
    verb.add_argument("--preset", choices=get_args(Preset), default="superfast", help="of x264 (default: %(default)s)")
    verb.add_argument("--crf", type=number(EncoderSettings, "crf"), default=23, help="of x264 (default: %(default)s)")
    verb.add_argument(
        "--rounds", type=_count, default=3, metavar="N", help="how often it is measured (default: %(default)s)"
    )
    _output(verb)
    verb.set_defaults(command=_cost)


def _footage(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("clips", type=Path, nargs="*", metavar="CLIP", help="original footage")
    verb.add_argument(
        "--anonymised", type=Path, metavar="PATH",
        help="the clip's anonymised version, or a folder that holds CLIP.mp4 (or CLIP's own name) for each; with the "
        "reports beside them as .json. Without it the clips are anonymised first, into the output folder",
    )  # fmt: skip
    verb.add_argument("--labels", type=Path, metavar="PATH", help="a label file, or a folder of them")
    verb.add_argument(
        "--reference", metavar="FILE",
        help="the detector that judges, an ONNX file or a name of `anonymizer models list`; recall without labels "
        "needs one that did not redact",
    )  # fmt: skip
    verb.add_argument("--config", type=Path, metavar="FILE", help="settings for anonymising")
    verb.add_argument("--method", choices=_METHODS, help="what happens to every face, instead of what the rules say")
    verb.add_argument(
        "--step", type=_count, default=5, metavar="N",
        help="look at every Nth frame; choose it so that they are labelled (default: %(default)s)",
    )  # fmt: skip
    verb.add_argument("--frames", type=_count, metavar="N", help="redact and look no further than N frames into a clip")
    verb.add_argument(
        "--seed", type=int, default=0, help="draws the faces on the sheets, and people (default: %(default)s)"
    )
    _output(verb)


def _output(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--out", type=Path, default=Path("evaluation"), metavar="FOLDER", help="for the report (default: %(default)s)"
    )
    verb.add_argument("--json", action="store_true", help="print the figures as JSON")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


@dataclass(frozen=True, slots=True)
class _Judge:
    detector: Detector
    path: Path


def _run(given: argparse.Namespace) -> int:
    recognisers = _recognisers(getattr(given, "recogniser", []))
    lacking = _lacking(given, recognisers)
    given.parts = tuple(part for part in given.parts if part not in lacking)
    labels = _checked(given, recognisers)
    for part, needs in lacking.items():
        _say(f"leaving out {part}, which needs {needs}")
    _folder(given.out)
    path = registry.resolve("detector", given.reference or "auto")
    judge = _Judge(load_detector(path), path)
    settings = config.load(given.config) if given.config else config.Config()
    observers: list[Observer] = []
    if "recall" in given.parts:
        observers.append(Coverage(path.name))
    if "reidentify" in given.parts:
        observers.append(Identities(recognisers))
    if "utility" in given.parts:
        net = registry.resolve("landmarks", given.landmarks)
        observers.append(Utility(Landmarker(net, iris=given.iris), net.name, given.seed))
    if "stability" in given.parts:
        observers.append(Stability(recognisers))

    facts = _facts(given, judge)
    facts += [(f"left out: {part}", f"needs {needs}") for part, needs in lacking.items()]
    doubts: list[str] = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:  # half the wait on two cores
        asked = getattr(given, "people", None) or getattr(given, "portraits", None)
        attacked = beside.submit(_attack, given, path, settings) if asked else None
        for source in given.clips:
            clip = _clip(source, given, settings, labels[source])
            walk = Walk(clip, judge.detector, settings.encoder, step=given.step)
            _say(f"looking at {clip.name}")
            for scene in walk:
                for observer in observers:
                    observer.see(scene)
            facts.append((f"clip {clip.name}", _about(clip, walk)))
            if abs(walk.frames[0] - walk.frames[1]) > TAIL:
                doubts.append(
                    f"{clip.name}: the anonymised clip has {walk.frames[1]} frames, the original {walk.frames[0]}. If "
                    "one is shifted, faces are compared with other pictures, and what is left of them is not seen."
                )
                print(doubts[-1], file=sys.stderr, flush=True)
        people_section, reference = attacked.result() if attacked else (None, Reference())
    facts += [(f"threshold {n}", f"{v:.4f}, FAR 1e-3 of natural faces") for n, v in reference.thresholds.items()]
    sections = [observer.section(reference) for observer in observers] if given.clips else []
    for section in sections:
        section.about = " ".join([section.about, *doubts])
    sections += [] if people_section is None else [people_section]
    if given.clips and not getattr(given, "no_cost", True):
        _say("measuring cost")
        encoder, first = settings.encoder, given.clips[0]
        sections.append(cost.section(first, encoder, cost.rounds(first, encoder, given.rounds, given.config)))
    return _tell(given, facts, sections)


def _attack(given: argparse.Namespace, detector: Path, settings: config.Config) -> tuple[Section | None, Reference]:
    """What is tried on known people and portraits, in a process of its own."""
    recognisers = _recognisers(getattr(given, "recogniser", []))
    judge = load_detector(detector)
    reference = Reference()
    if getattr(given, "portraits", None) is not None:
        reference.portraits.update(people.portraits(given.portraits, recognisers, judge))
    if getattr(given, "people", None) is None:
        return None, reference
    photos = people.read(given.people, judge, most=given.most_people, seed=given.seed)
    _say(f"attacking {len(photos)} photographs of known people")
    method = Action[(given.method or "replace").upper()]
    samples = people.samples(photos, recognisers, settings, method)
    reference.thresholds.update(people.natural(samples, recognisers))
    section = people.section(
        photos, samples, recognisers, settings, reference, method, most=given.most_parrots, seed=given.seed
    )
    return section, reference


def _lacking(given: argparse.Namespace, recognisers: list[Recogniser]) -> dict[str, str]:
    """The parts of ``all`` that the command gives nothing for, and what they need. Who asks for one part means it."""
    if len(given.parts) == 1:
        return {}
    lacking = {}
    if given.clips and not (given.labels or given.reference):
        lacking["recall"] = "--labels, or --reference with a detector that did not redact"
    if not (recognisers or given.people):
        lacking["reidentify"] = "--recogniser FAMILY=FILE"
    return lacking


def _checked(given: argparse.Namespace, recognisers: list[Recogniser]) -> dict[Path, Labels | None]:
    """The labels of each clip. What is missing is said before any work begins."""
    if not given.clips and getattr(given, "people", None) is None:
        raise ConfigError("nothing to evaluate: give a clip" + (", or --people" if hasattr(given, "people") else ""))
    if "reidentify" in given.parts and not recognisers:
        raise ConfigError("reidentify needs a recogniser: --recogniser FAMILY=FILE")
    for option in ("anonymised", "labels"):
        path = getattr(given, option)
        if len(given.clips) > 1 and path is not None and path.is_file():
            raise ConfigError(f"--{option} {path}: is one file for {len(given.clips)} clips; give a folder")
    labels: dict[Path, Labels | None] = {}
    for source in given.clips:
        if not source.is_file():
            raise SourceError(f"{source}: there is no such file")
        with FileSource(source) as reader:  # raises where it is no video
            video = reader.video
        found = find_labels(given.labels, source) if given.labels else None
        labels[source] = known = read_labels(found) if found is not None else None
        if known is not None:
            try:
                known.check(video)
            except ConfigError as error:
                raise ConfigError(f"{source}: {error}") from None
        if given.anonymised:
            _anonymised(source, _name(source, given.clips), given.anonymised)
        if "recall" in given.parts and not given.reference and labels[source] is None:
            raise ConfigError(f"{source}: recall needs labels, or --reference with a detector that did not redact")
    return labels


def _say(what: str) -> None:
    """What takes the time, for who waits."""
    print(f"{what} …", file=sys.stderr, flush=True)


def _recognisers(given: Sequence[str]) -> list[Recogniser]:
    """Models named FAMILY=FILE. ConfigError for a wrong name, ModelError for a missing or wrong file."""
    out: list[Recogniser] = []
    for one in given:
        family, found, path = one.partition("=")
        if not found:
            raise ConfigError(f"recogniser {one!r}: write FAMILY=FILE; families: {', '.join(FAMILIES)}")
        if family not in FAMILIES:
            raise ConfigError(f"recogniser {one!r}: there is no family {family!r}.{hint(family, FAMILIES)}")
        taken = sum(other.name.split(" ")[0] == family for other in out)
        out.append(Recogniser(Path(path), family, name=f"{family} {taken + 1}" if taken else family))
    return out


def _cost(given: argparse.Namespace) -> int:
    clip: Path = given.clips[0]
    if not clip.is_file():
        raise SourceError(f"{clip}: there is no such file")
    _folder(given.out)
    settings = EncoderSettings(preset=given.preset, crf=given.crf)
    section = cost.section(clip, settings, cost.rounds(clip, settings, given.rounds))
    return _tell(given, [("software", f"anonymizer {anonymizer.__version__}"), ("clip", str(clip))], [section])


def _clip(source: Path, given: argparse.Namespace, settings: config.Config, labels: Labels | None) -> Clip:
    """The clip with its anonymised version, which is made where none is given, and its report."""
    name = _name(source, given.clips)
    target = _anonymised(source, name, given.anonymised) if given.anonymised else given.out / f"{name}.mp4"
    report = target.with_suffix(".json")
    if not given.anonymised:
        rules = assembly.rules(settings.rules)
        if given.method:
            rules = RuleSet(default=Treatment(action=Action[given.method.upper()]))
        _say(f"redacting {name}")
        if given.frames:
            excerpt.redacted(source, target, settings, rules, report, given.frames)
        else:
            redact(source, target, settings, rules, report=report)
    return Clip(name, source, target, read_report(report) if report.is_file() else None, labels, given.frames)


def _name(source: Path, among: list[Path]) -> str:
    """The stem, with the folder's name before it where two clips have the same."""
    twins = sum(other.stem == source.stem for other in among)
    return source.stem if twins == 1 else f"{source.resolve().parent.name}-{source.stem}"


def _anonymised(source: Path, name: str, given: Path) -> Path:
    if given.is_file():
        return given
    for candidate in (given / f"{name}.mp4", given / source.name):
        if candidate.is_file() and not candidate.samefile(source):
            return candidate
    raise SourceError(f"{given}: holds no anonymised version of {source}; looked for {name}.mp4 and {source.name}")


def _facts(given: argparse.Namespace, judge: _Judge) -> list[tuple[str, str]]:
    facts = [
        ("software", f"anonymizer {anonymizer.__version__}"),
        ("command", shlex.join(["anonymizer", *sys.argv[1:]])),
        ("frames", f"one in {given.step}" + (f", of the first {given.frames} of a clip" if given.frames else "")),
        ("seed", str(given.seed)),
        ("judging detector", _file(judge.path)),
    ]
    for one in getattr(given, "recogniser", []):
        name, _, path = one.partition("=")
        facts.append((f"recogniser {name}", _file(Path(path))))
    return facts


def _file(path: Path) -> str:
    return f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}…"


def _about(clip: Clip, walk: Walk) -> str:
    frames, other = walk.frames
    parts = [f"{frames} frames, {walk.judged} of them judged"]
    if frames != other:
        parts.append(f"the anonymised one has {other}")
    parts.append("labelled" if clip.labels else "no labels")
    if clip.report is None:
        parts.append("no report: what was done to each face is not known")
    return ", ".join(parts)


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PublishError(f"{path}: cannot be made ({error.strerror}); name another folder with --out") from error


def _tell(given: argparse.Namespace, facts: list[tuple[str, str]], sections: list[Section]) -> int:
    title = "What the anonymised footage gives away, keeps and costs"
    html, data = page.write(given.out, title, facts, sections)
    if given.json:
        print(json.dumps(page.plain(title, facts, sections)))
        return 0
    console = Console(width=max(100, min(160, Console().width)))
    for section in sections:
        table = Table("figure", "of", "value", "goal", "count", title=section.title, title_justify="left")
        for figure in section.figures:
            goal = "" if figure.goal is None else f"{figure.goal} {figure.verdict()}"
            table.add_row(figure.name, figure.of, figure.text(), goal, str(figure.count))
        console.print(table)
    print(f"{html}\n{data}", file=sys.stderr)
    return 0
