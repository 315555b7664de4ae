"""What MQTT lays over a camera's configured rules: a tightening, that may be taken off again. Pure.

change = Change("method", b"solid")
overlay, rules = apply(profile, overlay, change, may_relax=False)    # raises Refused or InvalidFile: nothing changes
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from anonymizer import settings, yamlfile
from anonymizer.errors import ConfigError
from anonymizer.policy import rules as rulefile
from anonymizer.policy.actions import Action, Treatment
from anonymizer.policy.compare import laxer
from anonymizer.policy.envelope import Refused
from anonymizer.policy.rules import Rule, RuleSet

MAX_TEXTS = 50
"""Rules sent one by one that are kept at most; a whole set replaces them all."""
METHODS = (Action.BLUR, Action.PIXELATE, Action.REPLACE, Action.SOLID, Action.SILHOUETTE)


@dataclass(frozen=True, slots=True)
class Overlay:
    """What was asked of one camera.

    enabled: False serves the designed picture instead of the camera's. privacy: the whole picture is covered. method:
    how faces that are not kept are covered. texts: rules as received, applied in order. relaxed: the fingerprint of the
    profile over which something in here was admitted although it is laxer, or empty. version: counts the changes.
    """

    enabled: bool = True
    privacy: bool = False
    method: Action | None = None
    texts: tuple[str, ...] = ()
    relaxed: str = ""
    version: int = 0

    def to_data(self) -> dict[str, Any]:
        """As JSON data, for the state file."""
        method = str(self.method) if self.method is not None else None
        return {
            "enabled": self.enabled,
            "privacy": self.privacy,
            "method": method,
            "texts": list(self.texts),
            "relaxed": self.relaxed,
            "version": self.version,
        }

    @classmethod
    def from_data(cls, data: Any) -> Overlay:
        """The reverse. Raises ConfigError for anything that ``to_data`` does not give."""
        default = cls().to_data()
        if not isinstance(data, dict) or set(data) != set(default):
            raise ConfigError(f"a stored overlay must have exactly the keys {', '.join(default)}")
        if isinstance(data["relaxed"], bool):  # as it was stored once: over no profile that is known
            data = {**data, "relaxed": ""}
        texts, method = data["texts"], data["method"]
        good = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        good = good and all(type(data[k]) is type(default[k]) for k in ("enabled", "privacy", "relaxed", "version"))
        if not good or method not in (None, *map(str, METHODS)):
            raise ConfigError("a stored overlay has a value of the wrong kind")
        return cls(**{**data, "texts": tuple(texts), "method": None if method is None else Action[method.upper()]})


@dataclass(frozen=True, slots=True)
class Change:
    """One message. what: the topic's part before ``/set``; payload: as received, an envelope already opened."""

    what: Literal["enabled", "privacy", "method", "rules"]
    payload: bytes


def apply(profile: RuleSet, overlay: Overlay, change: Change, *, may_relax: bool) -> tuple[Overlay, RuleSet]:
    """The overlay after a change, and the rules that hold then.

    Raises Refused when the rules would be laxer than profile and may_relax is False; InvalidFile, with line and column,
    or Refused, when the message cannot be understood. An empty ``rules`` or ``method`` payload takes them off.
    """
    text = _text(change.payload)
    if change.what == "enabled":
        after = replace(overlay, enabled=_switch(text, "enabled"))
    elif change.what == "privacy":
        after = replace(overlay, privacy=_switch(text, "privacy"))
    elif change.what == "method":
        after = replace(overlay, method=_method(text))
    else:
        after = replace(overlay, texts=_texts(overlay, text))
    after = replace(after, relaxed="", version=overlay.version + 1)
    result = effective(profile, after)
    bare = _bare(profile, after)
    witness = laxer(profile, bare)
    if witness is not None:
        if not may_relax and not (overlay.relaxed and laxer(_bare(profile, overlay), bare) is None):
            raise Refused(f"this would be laxer than the configured rules: {witness}")
        after = replace(after, relaxed=fingerprint(profile))
    return after, result


def settle(profile: RuleSet, overlay: Overlay, *, may_relax: bool) -> tuple[Overlay, RuleSet, str]:
    """A stored overlay over a profile that may have changed since: what of it still holds, the rules, and a complaint.

    What is laxer than profile holds where it is permitted and was admitted over this very profile: over a stronger one
    nobody asked for it. Of the rest each part that is still valid, and does not make the rules laxer than profile,
    stays; so do switches.
    """
    try:
        witness = laxer(profile, _bare(profile, overlay))
        if witness is None or (may_relax and overlay.relaxed == fingerprint(profile)):
            return overlay, effective(profile, overlay), ""
        complaint = f"they would be laxer than the configured rules: {witness}"
    except ConfigError as error:
        complaint = str(error)
    kept = replace(overlay, texts=(), method=None, relaxed="", version=overlay.version + 1)
    for text in (*overlay.texts, None):
        more = replace(kept, method=overlay.method) if text is None else replace(kept, texts=(*kept.texts, text))
        with contextlib.suppress(ConfigError):
            if laxer(profile, _bare(profile, more)) is None:
                kept = more
    return kept, effective(profile, kept), f"rules set over MQTT were dropped: {complaint}"


def tightens(before: tuple[RuleSet, Overlay], after: tuple[RuleSet, Overlay]) -> bool:
    """Whether nothing gets weaker from one profile and what lies over it to the others, switches included."""
    was, now = before[1], after[1]
    switches = now.privacy >= was.privacy and now.enabled <= was.enabled
    return switches and laxer(_bare(*before), _bare(*after)) is None


def switch(configured: RuleSet, target: RuleSet, *, may_relax: bool) -> None:
    """Raises Refused when changing from the configured profile to target would be a relaxation that is not allowed."""
    witness = None if may_relax else laxer(configured, target)
    if witness is not None:
        raise Refused(f"this profile is laxer than the configured one: {witness}")


def offered(profile: RuleSet) -> tuple[Action, ...]:
    """The methods that may be chosen without relaxing the profile."""
    return tuple(action for action in METHODS if action >= profile.default.action)


def effective(profile: RuleSet, overlay: Overlay) -> RuleSet:
    """The rules that hold. Raises InvalidFile when a text of the overlay does not fit the profile."""
    rules = profile
    for text in overlay.texts:
        rules = _laid(rules, text)
    if overlay.method is not None:
        rules = _with_method(rules, overlay.method, overlay.method < profile.default.action)
    if overlay.privacy:
        rules = replace(rules, rules=(), default=Treatment(action=Action.PRIVACY))
    return rules


def _bare(profile: RuleSet, overlay: Overlay) -> RuleSet:
    """Without privacy, which would hide laxer rules from a comparison until it is taken off."""
    return effective(profile, replace(overlay, privacy=False))


def fingerprint(rules: RuleSet) -> str:
    """SHA-256, in hexadecimal, of the rules' content."""
    content = [settings.plain(rules), {name: repr(calendar) for name, calendar in sorted(rules.calendars.items())}]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _laid(rules: RuleSet, text: str) -> RuleSet:
    """A whole set replaces rules; one rule takes the place of that of its name, or the first."""
    node = yamlfile.parse(text, "rules/set")
    if not _is_one_rule(node):
        return rulefile.from_node(node)
    rule = settings.build(Rule, node)
    names = [other.name for other in rules.rules]
    at = names.index(rule.name) if rule.name in names else 0
    rest = rules.rules[at + 1 :] if rule.name in names else rules.rules
    try:
        return replace(rules, rules=(*rules.rules[:at], rule, *rest))
    except* ValueError as group:
        problems = [yamlfile.Problem(_mark(node, error), str(error)) for error in group.exceptions]
    raise yamlfile.InvalidFile(problems)


def _mark(node: yamlfile.Node, error: BaseException) -> yamlfile.Mark:
    path = error.path[2:] if isinstance(error, settings.Wrong) and error.path[:1] == ("rules",) else ()
    for step in path:
        node = node.child(step) or node
    return node.mark


def _is_one_rule(node: yamlfile.Node) -> bool:
    return isinstance(node.value, dict) and "then" in node.value


def _with_method(rules: RuleSet, method: Action, weaker: bool) -> RuleSet:
    """Every covering by method: the stronger of the two, or, in a relaxation, method itself."""

    def by(then: Treatment) -> Treatment:
        if then.action is Action.KEEP:
            return then
        return replace(then, action=method if weaker else max(then.action, method))

    return replace(
        rules, default=by(rules.default), rules=tuple(replace(rule, then=by(rule.then)) for rule in rules.rules)
    )


def _text(payload: bytes) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("the message is not UTF-8 text") from None


def _switch(text: str, what: str) -> bool:
    known = {"ON": True, "OFF": False}
    if text.strip().upper() not in known:
        raise Refused(f"{what} is set by ON or OFF, not by {text[:20]!r}")
    return known[text.strip().upper()]


def _method(text: str) -> Action | None:
    word = text.strip().lower()
    if not word:
        return None
    if word not in map(str, METHODS):
        raise Refused(f"{word[:20]!r} is not a method.{settings.hint(word, map(str, METHODS))}")
    return Action[word.upper()]


def _texts(overlay: Overlay, text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    if not _is_one_rule(yamlfile.parse(text, "rules/set")):
        return (text,)
    if len(overlay.texts) >= MAX_TEXTS:
        raise Refused(f"{MAX_TEXTS} rules were sent one by one already; send them as a whole set")
    return (*overlay.texts, text)
