"""Whether one rule set is laxer than another, with a witness.

For each camera, every pair of a rule that may decide in the old set and one that may in the new, and whose treatments
compare the wrong way, is asked: can one face at one time meet both? Ranges, schedules and groups are cut into cells in
which no condition changes, and a small search looks for a consistent choice of cells: both rules hold and all rules
before them do not. Where geometry makes that uncertain, the answer is yes: never the other way round.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from anonymizer.policy import geometry
from anonymizer.policy.actions import Action, Cover, Scope, Treatment, measure
from anonymizer.policy.cells import Cells, Clause, Intricate, Literal, moments
from anonymizer.policy.decision import CameraRules
from anonymizer.policy.rules import RuleSet
from anonymizer.policy.witness import Witness, find

TRIES = 12
"""Ways of meeting a pair of rules for which an example is looked for."""
FIND_STEPS = 500
"""What looking for an example costs, in steps of the search."""
BUDGET = 200_000
"""Steps of the search for one comparison; beyond them a pair counts as possible."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way for a rule set to decide: the clauses that must hold, and what happens then."""

    rule: str
    clauses: tuple[Clause, ...]
    cover: Cover


def laxer(old: RuleSet, new: RuleSet) -> Witness | None:
    """Why new is laxer than old, or None.

    Laxer: some face at some time on some camera, or an area masked on one, could get a weaker action, a smaller margin,
    or an identity that lives longer. Surely told when it is so; where the search cannot exclude it (zones that overlap
    in intricate ways), told as a possibility: ``Witness.sure`` is False.
    """
    found: Witness | None = None
    for witness in _witnesses(old, new):
        if witness.sure:
            return witness
        found = found or witness
    return found


def _witnesses(old: RuleSet, new: RuleSet) -> Iterator[Witness]:
    was, now = (measure(_unrecognised(rules.default), rules.rotation_hours) for rules in (old, new))
    if why := now.weakness(was):
        yield Witness(why, "default", "default", "any", None, note="a face that cannot be judged")
    try:
        times = moments(old, new)
    except Intricate as why:
        yield Witness("something weaker", "any", "any", "any", None, note=f"a face ({why})", sure=False)
        return
    budget = [BUDGET]
    for camera in _cameras(old, new):
        a, b = CameraRules(old, camera), CameraRules(new, camera)
        yield from _masks(a, b)
        yield from _empty(a, b, [moment.time for moment in times])
        for old_blind, new_blind in ((False, False), (True, False), (False, True)):
            cells = Cells(a, b, [m for m in times if (m.old is None, m.new is None) == (old_blind, new_blind)])
            if cells.times:
                olds = _outcomes(a, cells, 0, old_blind)
                news = _outcomes(b, cells, 1, new_blind)
                yield from _pairs(a, b, olds, news, cells, budget)


def _pairs(
    a: CameraRules, b: CameraRules, olds: Sequence[Outcome], news: Sequence[Outcome], cells: Cells, budget: list[int]
) -> Iterator[Witness]:
    for i, was in enumerate(olds):
        for j, now in enumerate(news):
            why = now.cover.weakness(was.cover)
            budget[0] -= 1
            if not why:
                continue
            holding = (*was.clauses, *now.clauses)
            failing = [o.clauses for o in (*olds[:i], *news[:j])]
            if any(not clauses for clauses in failing):
                continue  # a rule without conditions stands before
            possible: list[int] | None = None
            solutions = _solutions(cells.full, holding, failing, cells, budget)
            for possible in itertools.islice(solutions, TRIES):
                budget[0] -= FIND_STEPS
                witness = find(a, b, cells, possible)
                if witness is not None:
                    yield witness
                    break
            else:
                if possible is not None or budget[0] <= 0:
                    note = (
                        "a face placed just so between the zones" if possible else "a face (the search was cut short)"
                    )
                    time = cells.time(possible)
                    yield Witness(why, was.rule, now.rule, a.camera, time, note=note, sure=False)


def _solutions(
    state: list[int], holding: Sequence[Clause], failing: Sequence[Sequence[Clause]], cells: Cells, budget: list[int]
) -> Iterator[list[int]]:
    """Assignments in which every clause of holding holds, and of each entry of failing at least one does not.

    The entry with the fewest clauses that can still fail is taken first, so that contradictions show at once.
    """
    budget[0] -= 1
    if budget[0] <= 0:
        return
    if holding:
        for literal in holding[0]:
            after = cells.narrow(state, (literal,))
            if after is not None:
                yield from _solutions(after, holding[1:], failing, cells, budget)
        return
    undecided: list[Sequence[Clause]] = []
    fewest: list[Clause] | None = None
    chosen: Sequence[Clause] = ()
    for clauses in failing:
        if any(all(not state[dim] & mask for dim, mask in clause) for clause in clauses):
            continue
        choices = [clause for clause in clauses if all(state[dim] & ~mask for dim, mask in clause)]
        undecided.append(clauses)
        if fewest is None or len(choices) < len(fewest):
            fewest, chosen = choices, clauses
    if fewest is None:
        yield state
        return
    rest = [clauses for clauses in undecided if clauses is not chosen]
    for clause in fewest:
        after = cells.narrow(state, [(dim, cells.full[dim] & ~mask) for dim, mask in clause])
        if after is not None:
            yield from _solutions(after, (), rest, cells, budget)


def _outcomes(rules: CameraRules, cells: Cells, side: int, blind: bool) -> list[Outcome]:
    """The ways to decide in their order. blind: the time cannot be judged, so that the default decides."""
    hours = rules.rules.rotation_hours
    outcomes: list[Outcome] = []
    if blind:
        return [Outcome("default", (), measure(_unrecognised(rules.rules.default), hours))]
    named = [(r.name, cells.clauses(r, rules, side), r.then) for r in rules.here]
    for name, clauses, then in [*named, ("default", (), rules.rules.default)]:
        if clauses is None:
            continue  # a zone that is not on this camera
        if then.identity is Scope.ENROLLED and then.action is Action.REPLACE:
            known: Literal = (cells.known, cells.known_mask(side))
            outcomes.append(Outcome(name, (*clauses, (known,)), measure(then, hours)))
        outcomes.append(Outcome(name, clauses, measure(_unrecognised(then), hours)))
    return outcomes


def _unrecognised(then: Treatment) -> Treatment:
    return replace(then, identity=Scope.TRACK) if then.identity is Scope.ENROLLED else then


def _cameras(old: RuleSet, new: RuleSet) -> list[str]:
    """Every camera that is named somewhere, and one that is not."""
    names: set[str] = set()
    for rules in (old, new):
        for rule in rules.rules:
            names.update(rule.when.camera)
        for area in (*rules.zones.values(), *rules.masks.values()):
            names.update(area.camera)
    other = "any other camera"
    while other in names:
        other += "'"
    return [*sorted(names), other]


def _masks(a: CameraRules, b: CameraRules) -> Iterator[Witness]:
    for polygon in a.masks:
        if not any(geometry.within(polygon, larger) for larger in b.masks):
            name = next(n for n, area in a.rules.masks.items() if area.polygon == polygon and area.on(a.camera))
            why = f"mask {name!r} is gone or no longer covers the same area"
            yield Witness(why, f"mask {name}", "no mask", a.camera, None, note="the masked area")


def _empty(a: CameraRules, b: CameraRules, times: Sequence[float | None]) -> Iterator[Witness]:
    """A picture that is covered whole whether or not a face was found must stay so."""
    for time in times:
        if a.empty(time).action is Action.PRIVACY and b.empty(time).action is not Action.PRIVACY:
            why = "the picture is no longer covered whole"
            yield Witness(why, "privacy", str(b.empty(time).action), a.camera, time, note="a picture without a face")
            return
