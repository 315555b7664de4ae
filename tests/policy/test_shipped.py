"""The rule files of the repository do what their comments say."""

from __future__ import annotations

import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from anonymizer.policy import Action, FaceFacts, Picture, Recognition, RuleSet, Scope, Verdict
from anonymizer.policy.decision import CameraRules
from anonymizer.policy.explain import remarks
from anonymizer.policy.files import read

BERLIN = ZoneInfo("Europe/Berlin")
ANNA = Recognition("anna", frozenset({"staff"}), 0.9, 0.0)
TUESDAY = "2026-11-24T"
BERLIN_NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=BERLIN).timestamp()


@pytest.fixture(scope="module")
def rules(shipped: list[Path]) -> dict[str, RuleSet]:
    return {path.stem: read(path) for path in shipped}


def decide(
    rules: RuleSet, camera: str, time: str | None, *faces: tuple[float, float, float], known: bool = False
) -> Verdict:
    """Faces as (x, y, size) in a picture of 1000×1000; time: local."""
    at = None if time is None else datetime.datetime.fromisoformat(time).replace(tzinfo=BERLIN).timestamp()
    facts = [
        FaceFacts(n, (x, y, s, s), time_in_view=5.0, known=ANNA if known else None) for n, (x, y, s) in enumerate(faces)
    ]
    return CameraRules(rules, camera).decide(facts, Picture(camera, at, 1000, 1000))


def action(rules: RuleSet, camera: str, time: str | None, face: tuple[float, float, float], known: bool = False) -> str:
    return str(decide(rules, camera, time, face, known=known).faces[0].action)


def test_all_are_there_without_remarks(rules: dict[str, RuleSet], shipped: list[Path]) -> None:
    assert set(rules) == {"gdpr-default", "retail", "workplace", "school", "dashcam-archive"}
    for name, rule_set in rules.items():
        assert remarks(rule_set) == [], name
    for path in shipped:
        assert path.read_text().startswith("# ") and "\t" not in path.read_text()


def test_the_default_replaces_everyone(rules: dict[str, RuleSet]) -> None:
    gdpr = rules["gdpr-default"]
    for camera, time, known in (("gate", None, False), ("hall", TUESDAY + "12:00", True)):
        decision = decide(gdpr, camera, time, (100, 100, 50), known=known).faces[0]
        assert (decision.action, decision.identity, decision.margin) == (Action.REPLACE, Scope.TRACK, 0.15)
    assert not gdpr.asks_groups


def test_the_commented_parts_of_the_default_are_valid(shipped: list[Path], tmp_path: Path) -> None:
    text = next(path for path in shipped if path.stem == "gdpr-default").read_text()
    head, _, masks = text.partition("#\n# masks:")
    path = tmp_path / "r.yaml"
    path.write_text(head + "\n" + "\n".join(line[2:] for line in ("# masks:" + masks).splitlines()))
    assert set(read(path).masks) == {"neighbour"}


def test_retail(rules: dict[str, RuleSet]) -> None:
    retail = rules["retail"]
    till, floor, noon = (200, 400, 80), (100, 400, 80), TUESDAY + "12:00"
    assert action(retail, "till", noon, till, known=True) == "keep"
    assert action(retail, "till", noon, till) == "replace"
    assert action(retail, "till", TUESDAY + "21:00", till, known=True) == "replace"
    assert action(retail, "till", "2026-12-25T12:00", till, known=True) == "replace"
    assert action(retail, "till", noon, (420, 400, 80), known=True) == "replace"
    member = decide(retail, "floor", noon, floor, known=True).faces[0]
    assert (member.identity, member.member) == (Scope.ENROLLED, "anna")
    assert decide(retail, "floor", noon, floor).faces[0].identity is Scope.TRACK
    assert action(retail, "floor", noon, (640, 400, 80), known=True) == "silhouette"
    member_and_customer = [FaceFacts(1, (*till[:2], 80, 80), known=ANNA), FaceFacts(2, (300, 400, 80, 80))]
    picture = Picture("till", BERLIN_NOON, 1000, 1000)
    leaning = CameraRules(retail, "till").decide(member_and_customer, picture)
    assert [str(d.action) for d in leaning.faces] == ["replace", "replace"]


def test_workplace(rules: dict[str, RuleSet]) -> None:
    work, face = rules["workplace"], (100, 100, 50)
    assert (
        decide(work, "break-room", TUESDAY + "12:00").whole and not decide(work, "break-room", TUESDAY + "21:00").whole
    )
    at_work = decide(work, "hall", TUESDAY + "12:00", face).faces[0]
    assert (at_work.action, at_work.identity, at_work.rotation) == (Action.REPLACE, Scope.CAMERA, 86400)
    assert decide(work, "hall", TUESDAY + "21:00", face).faces[0].identity is Scope.TRACK
    assert decide(work, "hall", "2026-12-25T12:00", face).faces[0].rule == "after hours"
    assert action(work, "hall", None, face) == "solid"


def test_school(rules: dict[str, RuleSet]) -> None:
    school, face = rules["school"], (600, 500, 50)
    assert action(school, "yard", TUESDAY + "10:00", face) == "silhouette"
    assert action(school, "yard", TUESDAY + "18:00", face) == "replace"
    assert action(school, "yard", "2026-12-23T10:00", face) == "replace"
    assert decide(school, "room-1", TUESDAY + "10:00").whole and not decide(school, "room-1", TUESDAY + "18:00").whole
    assert action(school, "gym", TUESDAY + "18:00", (310, 500, 50)) == "silhouette"
    assert action(school, "yard", None, face) == "silhouette"
    assert len(decide(school, "yard", None).masks) == 1 and not decide(school, "gym", None).masks


def test_dashcam(rules: dict[str, RuleSet]) -> None:
    dashcam = rules["dashcam-archive"]
    assert action(dashcam, "front", None, (100, 100, 20)) == "solid"
    assert action(dashcam, "front", None, (100, 100, 24)) == "replace"
    assert action(dashcam, "cabin", None, (100, 300, 60)) == "solid"
    assert len(decide(dashcam, "front", None).masks) == 1
    assert not dashcam.schedules
