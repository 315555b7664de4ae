"""Which rule decides about a face, and why each rule before it did not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from anonymizer import settings
from anonymizer.policy.actions import Action
from anonymizer.policy.decision import KEEP_FRESH, CameraRules, FaceFacts, Picture
from anonymizer.policy.rules import Rule, RuleSet, When


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One rule, in order. holds: all its conditions do. failed, met: its conditions, in words."""

    rule: str
    holds: bool
    met: tuple[str, ...]
    failed: tuple[str, ...]


def explain(rules: RuleSet, face: FaceFacts, picture: Picture) -> list[Step]:
    """The rules up to the one that decides, each condition asked by itself; the default is not listed."""
    steps: list[Step] = []
    for rule in rules.rules:
        met: list[str] = []
        failed: list[str] = []
        for condition, words in _conditions(rule):
            alone = CameraRules(dataclasses.replace(rules, rules=(condition,)), picture.camera)
            decided = alone.decide([face], picture).faces[0].rule == condition.name
            (met if decided else failed).append(words)
        steps.append(Step(rule.name, not failed, tuple(met), tuple(failed)))
        if not failed:
            break
    return steps


def _conditions(rule: Rule) -> Iterator[tuple[Rule, str]]:
    """The rule cut into rules of one condition each; a reason for keep stays with keep, which reads it strictly."""
    keep = rule.then.action is Action.KEEP
    for declared in settings.declared(When):
        value = getattr(rule.when, declared.name)
        if value in ((), None):
            continue
        one = dataclasses.replace(When(), **{declared.name: value})
        is_reason = declared.name in ("zone", "group")
        then = rule.then if not keep or is_reason else dataclasses.replace(rule.then, action=Action.REPLACE)
        yield Rule(name=rule.name, when=one, then=then), f"{declared.name} {_words(value)}{_strict(keep, is_reason)}"


def _words(value: object) -> str:
    plain = settings.plain(value)
    if isinstance(plain, dict):
        return " ".join(f"{key} {item:g}" for key, item in plain.items() if item is not None)
    if isinstance(plain, list):
        return " or ".join(plain)
    return str(plain).lower()


def _strict(keep: bool, is_reason: bool) -> str:
    return f" (surely, by a detection at most {KEEP_FRESH:g} s old)" if keep and is_reason else ""


def remarks(rules: RuleSet) -> list[str]:
    """What is allowed in a rule set but probably not meant."""
    found = []
    for index, rule in enumerate(rules.rules[:-1]):
        if rule.when == When():
            later = ", ".join(repr(r.name) for r in rules.rules[index + 1 :])
            found.append(f"rule {rule.name!r} always applies, so that these never do: {later}")
            break
    used_zones = {name for rule in rules.rules for name in rule.when.zone}
    used_schedules = {name for rule in rules.rules for name in rule.when.schedule}
    found += [f"zone {name!r} is not used by any rule" for name in rules.zones if name not in used_zones]
    found += [f"schedule {name!r} is not used by any rule" for name in rules.schedules if name not in used_schedules]
    for rule in rules.rules:
        cameras = set(rule.when.camera)
        for name in rule.when.zone:
            area = rules.zones[name]
            if cameras and area.camera and cameras.isdisjoint(area.camera):
                found.append(f"rule {rule.name!r} never applies: its zone {name!r} is on none of its cameras")
    return found
