from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anonymizer.record import audit, chain, keys
from anonymizer.record.audit import FILE, HEAD, Audit, AuditError, AuditFile
from anonymizer.record.chain import Entry, Head
from anonymizer.statedir import StateDir


def written(folder: Path, count: int = 5) -> list[bytes]:
    log = AuditFile(StateDir(folder))
    log.append(*[(1000.0 + number, "rules changed", {"camera": "gate", "value": number}) for number in range(count)])
    return (folder / FILE).read_bytes().splitlines(keepends=True)


def problems(folder: Path) -> list[str]:
    return audit.verify(folder).problems


def test_what_is_written_holds(tmp_path: Path) -> None:
    lines = written(tmp_path, 250)
    public = (tmp_path / keys.SIGNING_PUBLIC).read_text().strip()
    report = audit.verify(tmp_path, [public])
    assert report.good and report.trusted and not report.unsigned
    assert report.checkpoints == 2 and report.entries == len(lines) == 253
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600 == (tmp_path / keys.SIGNING).stat().st_mode & 0o777
    assert [entry.said["value"] for entry in audit.entries(tmp_path) if entry.kind == "rules changed"] == list(
        range(250)
    )


def test_every_changed_byte_of_the_lines_is_found(tmp_path: Path) -> None:
    data = b"".join(written(tmp_path))
    head = (tmp_path / HEAD).read_bytes()
    for at in range(len(data)):
        for flip in (1, 0x20):
            changed = bytearray(data)
            changed[at] ^= flip
            assert not chain.verify(bytes(changed).splitlines(keepends=True), head).good, f"byte {at} ^ {flip}"


def test_every_changed_byte_of_the_head_is_found(tmp_path: Path) -> None:
    lines = written(tmp_path)
    head = (tmp_path / HEAD).read_bytes()
    signed = Head.parse(head)
    for at in range(len(head) - 1):
        changed = bytearray(head)
        changed[at] ^= 1
        report = chain.verify(lines, bytes(changed))
        try:
            same = Head.parse(bytes(changed)) == signed
        except chain.Broken:
            same = False
        assert not report.good or same, f"byte {at}"


@pytest.mark.parametrize("kept", range(6))
def test_a_cut_end_is_found(tmp_path: Path, kept: int) -> None:
    lines = written(tmp_path)
    (tmp_path / FILE).write_bytes(b"".join(lines[:kept]))
    assert problems(tmp_path)


@pytest.mark.parametrize("at", range(6))
def test_lines_cut_out_doubled_or_swapped_are_found(tmp_path: Path, at: int) -> None:
    lines = written(tmp_path)
    other = (at + 1) % 6
    swapped = list(lines)
    swapped[at], swapped[other] = lines[other], lines[at]
    for forged in (lines[:at] + lines[at + 1 :], [*lines[:at], lines[at], *lines[at:]], swapped):
        (tmp_path / FILE).write_bytes(b"".join(forged))
        assert problems(tmp_path)


def reforged(lines: list[bytes], start: int) -> list[bytes]:
    """Everything from a line on written anew by somebody without the key: the chain fits, the signatures cannot."""
    forged = lines[:start]
    before = Entry.parse(lines[start - 1]).hash
    for number in range(start, len(lines)):
        entry = Entry.parse(lines[number])
        said = {**entry.said, "value": -1} if entry.kind == "rules changed" else entry.said
        entry = Entry.make(number, entry.time, entry.kind, said, before)
        forged.append(entry.line())
        before = entry.hash
    return forged


@pytest.mark.parametrize("start", [1, 3, 90, 130, 151])
def test_a_fork_is_found(tmp_path: Path, start: int) -> None:
    lines = written(tmp_path, 150)
    (tmp_path / FILE).write_bytes(b"".join(reforged(lines, start)))
    assert problems(tmp_path)


def test_an_audit_of_another_key_is_unproven(tmp_path: Path) -> None:
    written(tmp_path / "real")
    written(tmp_path / "forged")
    real = (tmp_path / "real" / keys.SIGNING_PUBLIC).read_text().strip()
    report = audit.verify(tmp_path / "forged", [real])
    assert not report.problems and report.trusted is False and not report.good


def test_an_older_copy_is_found_by_what_was_kept_elsewhere(tmp_path: Path) -> None:
    written(tmp_path)
    old = (tmp_path / FILE).read_bytes(), (tmp_path / HEAD).read_bytes()
    log = AuditFile(StateDir(tmp_path))
    log.append((2000.0, "unsealed", {}))
    report = audit.verify(tmp_path)
    expected = report.entries, report.newest
    (tmp_path / FILE).write_bytes(old[0])
    (tmp_path / HEAD).write_bytes(old[1])
    assert audit.verify(tmp_path).good
    assert not audit.verify(tmp_path, expect=expected).good


def test_a_missing_head_is_told(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / HEAD).unlink()
    assert "head is missing" in problems(tmp_path)[0]


@pytest.mark.parametrize("torn", [1, 20, 100])
def test_a_torn_last_line_is_healed_and_told(tmp_path: Path, torn: int) -> None:
    lines = written(tmp_path)
    head = (tmp_path / HEAD).read_bytes()
    AuditFile(StateDir(tmp_path)).append((2000.0, "one more", {}))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(b"".join(lines)) + torn])  # a crash in the middle of the last line
    (tmp_path / HEAD).write_bytes(head)
    AuditFile(StateDir(tmp_path)).append((2001.0, "after the crash", {}))
    report = audit.verify(tmp_path)
    assert report.good and any("torn" in note for note in report.notes)
    healed = next(entry for entry in audit.entries(tmp_path) if entry.kind == chain.HEALED)
    assert healed.said["torn_bytes"] == torn


def test_entries_that_a_crash_left_unsigned_are_told(tmp_path: Path) -> None:
    written(tmp_path)
    head = (tmp_path / HEAD).read_bytes()
    AuditFile(StateDir(tmp_path)).append((2000.0, "one more", {}))
    (tmp_path / HEAD).write_bytes(head)
    assert audit.verify(tmp_path).unsigned == 1
    AuditFile(StateDir(tmp_path))
    assert [e.said["unsigned_entries"] for e in audit.entries(tmp_path) if e.kind == chain.HEALED] == [1]


def test_a_broken_audit_is_kept_and_the_new_one_says_so(tmp_path: Path) -> None:
    lines = written(tmp_path)
    (tmp_path / FILE).write_bytes(b"".join(lines[:3]))
    AuditFile(StateDir(tmp_path)).append((2000.0, "goes on", {}))
    assert "set aside" in problems(tmp_path)[0]
    (aside,) = tmp_path.glob("audit.*.broken.jsonl")
    assert aside.read_bytes() == b"".join(lines[:3])


def test_a_rotated_key_is_signed_by_the_old_one(tmp_path: Path) -> None:
    written(tmp_path)
    old = (tmp_path / keys.SIGNING_PUBLIC).read_text().strip()
    first, second = AuditFile(StateDir(tmp_path)), AuditFile(StateDir(tmp_path))
    new = first.rotate()
    second.append((2000.0, "written by a process that knew the old key", {}))
    for trusted in (old, new):
        report = audit.verify(tmp_path, [trusted])
        assert report.good and report.signers == [old, new]


def test_a_crash_in_a_rotation_loses_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)

    def crash(_: StateDir) -> None:
        raise KeyboardInterrupt

    log = AuditFile(StateDir(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(keys, "finish_signing", crash)
        with pytest.raises(KeyboardInterrupt):
            log.rotate()
    AuditFile(StateDir(tmp_path)).append((2000.0, "goes on", {}))
    assert audit.verify(tmp_path).good and not (tmp_path / keys._NEXT).exists()


@pytest.mark.parametrize("left", ["nothing", "an older key", "half a key"])
def test_a_public_key_that_a_crash_left_unwritten_is_written(tmp_path: Path, left: str) -> None:
    written(tmp_path)
    public = tmp_path / keys.SIGNING_PUBLIC
    whole = public.read_bytes()
    public.unlink()
    if left != "nothing":
        older = chain.public_text(Ed25519PrivateKey.generate()).encode()
        public.write_bytes(older + b"\n" if left == "an older key" else whole[:10])
    AuditFile(StateDir(tmp_path))
    assert public.read_bytes() == whole and audit.verify(tmp_path, [whole.decode().strip()]).trusted


def test_an_attackers_rotation_is_found(tmp_path: Path) -> None:
    lines = written(tmp_path)
    mine = Ed25519PrivateKey.generate()
    newest = Entry.parse(lines[-1])
    said = chain.rotated(mine, mine, newest.number + 1, newest.hash)
    entry = Entry.make(newest.number + 1, newest.time, chain.ROTATED, said, newest.hash)
    head = Head.sign(mine, entry.number + 1, entry.hash)
    assert not chain.verify([*lines, entry.line()], head.line()).good


def _write_many(folder: str, name: str) -> None:
    log = AuditFile(StateDir(Path(folder)))
    for number in range(20):
        log.append((float(number), name, {}))


def test_processes_share_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(tmp_path), name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    kinds = [entry.kind for entry in audit.entries(tmp_path)]
    assert audit.verify(tmp_path).good and kinds.count("a") == kinds.count("b") == 20


def test_notes_return_at_once_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Audit(StateDir(tmp_path))
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (time.sleep(0.5), sync(handle))[1])
    began = time.monotonic()
    for number in range(500):
        log.note("wrong password", number=number)
    assert time.monotonic() - began < 0.3
    log.close(10)
    assert audit.verify(tmp_path).good
    assert sum(entry.kind == "wrong password" for entry in audit.entries(tmp_path)) == 500


def test_equal_things_are_told_together(tmp_path: Path) -> None:
    log = Audit(StateDir(tmp_path))
    for _ in range(1000):
        log.often("degraded", camera="gate", reason="overload")
    log.often("degraded", camera="yard", reason="overload")
    log.close()
    told = [entry.said for entry in audit.entries(tmp_path) if entry.kind == "degraded"]
    assert [said.get("times") for said in told if said["camera"] == "gate"] == [None, 999]
    assert len(told) == 3


def test_a_full_disk_refuses_notes_and_writes_what_waited_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Audit(StateDir(tmp_path))
    monkeypatch.setattr(audit, "_RETRY", 0.05)
    before = (tmp_path / FILE).read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        log.note("rules changed", value=1)
        deadline = time.monotonic() + 5
        while not log.problem and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(AuditError, match="No space"):
            log.note("rules changed", value=2)
        with pytest.raises(AuditError):
            log.record("unsealed")
        assert (tmp_path / FILE).read_bytes() == before
    log.close(10)
    said = [entry.said for entry in audit.entries(tmp_path) if entry.kind == "rules changed"]
    assert said == [{"value": 1}] and audit.verify(tmp_path).good


def test_a_disk_that_is_full_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_RETRY", 0.05)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        log = Audit(StateDir(tmp_path))
        assert "No space" in log.problem
        log.often("service started")
        with pytest.raises(AuditError, match="No space"):
            log.note("rules changed")
    deadline = time.monotonic() + 5
    while log.problem and time.monotonic() < deadline:
        time.sleep(0.01)
    log.note("rules changed")
    log.close(10)
    assert [entry.kind for entry in audit.entries(tmp_path)][-2:] == ["service started", "rules changed"]
    assert audit.verify(tmp_path).good


def test_what_is_no_json_is_refused_at_once(tmp_path: Path) -> None:
    log = Audit(StateDir(tmp_path))
    with pytest.raises(TypeError):
        log.note("x", value=object())
    with pytest.raises(ValueError, match="longer"):
        log.note("x", value="y" * 70_000)
    log.close()
    assert json.loads((tmp_path / FILE).read_bytes().splitlines()[-1])["kind"] == chain.BEGUN
