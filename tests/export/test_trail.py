from __future__ import annotations

from pathlib import Path

import pytest

from anonymizer.errors import ConfigError
from anonymizer.export import trail
from anonymizer.record import audit, chain
from anonymizer.record.audit import FILE, AuditFile
from anonymizer.record.chain import Entry
from anonymizer.statedir import StateDir
from tests.export.packages import CASE, NOW, public, recorded, signing


def test_a_trail_holds_the_lines_of_its_case_and_can_be_proven(tmp_path: Path) -> None:
    made = recorded(tmp_path / "state", "p1")
    kinds = [Entry.parse(line).kind for line in made.lines]
    assert kinds == ["unsealed", "unsealed", trail.EXPORTED]
    assert b"2026/99" not in b"".join(made.lines)
    assert trail.verify(made.lines, made.head, "p1", public(tmp_path)) == []
    assert trail.verify(made.lines, made.head, "p2", public(tmp_path))


def test_a_later_trail_holds_the_export_before_it(tmp_path: Path) -> None:
    recorded(tmp_path / "state", "p1")
    made = recorded(tmp_path / "state", "p2")
    packages = [Entry.parse(line).said.get("package") for line in made.lines]
    assert packages.count("p1") == 1 and packages[-1] == "p2"
    assert trail.verify(made.lines, made.head, "p2", public(tmp_path)) == []


def test_who_has_the_whole_audit_finds_the_trail_in_it(tmp_path: Path) -> None:
    made = recorded(tmp_path / "state", "p1")
    head = chain.Head.parse(made.head)
    AuditFile(StateDir(tmp_path / "state")).append((NOW + 5, "deleted", {}))
    report = audit.verify(tmp_path / "state", [public(tmp_path)], (head.count, head.hash))
    assert report.good and report.trusted
    whole = (tmp_path / "state" / FILE).read_bytes()
    assert all(line in whole for line in made.lines)


def test_others_may_write_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process adds entries right after ours."""
    log = AuditFile(StateDir(tmp_path / "state"))
    append = AuditFile.append

    def meddling(self: AuditFile, *entries: audit.Said) -> None:
        append(self, *entries)
        append(self, (NOW, "rules changed", {}))

    monkeypatch.setattr(AuditFile, "append", meddling)
    made = trail.record(log, signing(tmp_path / "state"), "p1", NOW, {"case": CASE}, lambda entry: False)
    assert len(made.lines) == 1 and trail.verify(made.lines, made.head, "p1", public(tmp_path)) == []


def test_an_audit_that_does_not_hold_gives_no_trail(tmp_path: Path) -> None:
    recorded(tmp_path / "state", "p1")
    path = tmp_path / "state" / FILE
    log = AuditFile(StateDir(tmp_path / "state"))
    meddled = path.read_bytes().replace(b"2026/99", b"2026/98")
    path.write_bytes(meddled)
    with pytest.raises(ConfigError, match="audit verify"):
        trail.record(log, signing(tmp_path / "state"), "p2", NOW, {}, lambda entry: True)
    assert path.read_bytes() == meddled, "nothing was written"


def test_a_case_of_too_many_lines_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "_MOST", 1)
    log = AuditFile(StateDir(tmp_path / "state"))
    with pytest.raises(ConfigError, match="narrow the time"):
        recorded(tmp_path / "state", "p1")
    assert not any(entry.kind == trail.EXPORTED for entry in audit.entries(log.path.parent))
