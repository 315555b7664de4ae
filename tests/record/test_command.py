from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import pytest
from pyrage.x25519 import Identity

from anonymizer.errors import ConfigError
from anonymizer.record import audit, command
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir
from tests.record.test_vault import frames, sealed


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers(required=True))
    given = parser.parse_args([str(word) for word in words])
    result = given.command(given)
    assert isinstance(result, int)
    return result


def test_two_officers_open_originals_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    publics = []
    for number in range(3):
        assert call("keys", "create", "officer", tmp_path / f"o{number}", "--state", state) == 0
        publics.append(capsys.readouterr().out.split()[-1])
    named = [word for public in publics for word in ("--officer", public)]
    assert call("keys", "create", "vault", "--threshold", 2, "--out", tmp_path / "shares", *named) == 0
    assert (tmp_path / "shares").stat().st_mode & 0o777 == 0o700
    public = next(word for word in capsys.readouterr().out.split() if word.startswith("age1"))
    with Catalogue(StateDir(state).path) as catalogue:
        for file in sealed(tmp_path / "vault", [public], 60):
            catalogue.add(file)
    times = ["--from", "2026-09-21T14:13:00Z", "--to", "2026-09-21T14:14:00"]
    opening = ["unseal", "gate", *times, "--out", tmp_path / "out", "--state", state, "--reason", "a theft"]
    one = ["--identity", tmp_path / "o0", "--share", tmp_path / "shares" / "share-1.age"]
    two = ["--identity", tmp_path / "o2", "--share", tmp_path / "shares" / "share-3.age"]
    with pytest.raises(ConfigError, match="2 different shares"):
        call(*opening, *one)
    assert not (tmp_path / "out").exists()
    assert call(*opening, *one, *two) == 0
    (path,) = (tmp_path / "out").iterdir()
    assert frames(path) == 60
    (entry,) = [entry for entry in audit.entries(state) if entry.kind == "unsealed"]
    assert entry.said["shares"] == [1, 3] and entry.said["reason"] == "a theft"
    secrets = [line for n in range(3) for line in (tmp_path / f"o{n}").read_text().splitlines() if "SECRET" in line]
    text = (state / audit.FILE).read_text() + capsys.readouterr().out
    assert not any(secret in text for secret in secrets)


def test_keys_audit_and_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--state", tmp_path / "state"]
    assert call("keys", "create", "signing", *at) == 0
    public = capsys.readouterr().out.split()[-1]
    assert call("keys", "create", "bank", *at) == 0
    bank = (tmp_path / "state" / "bank.key").read_text()
    with pytest.raises(ConfigError, match="already"):
        call("keys", "create", "signing", *at)
    with pytest.raises(ConfigError, match="already"):
        call("keys", "create", "bank", *at)
    assert call("keys", "rotate", "bank", *at) == 0 == call("keys", "rotate", "signing", *at)
    assert (tmp_path / "state" / "bank.key").read_text() != bank
    identity = Identity.generate()
    assert call("keys", "backup", tmp_path / "b.age", "--to", identity.to_public(), *at) == 0
    assert (tmp_path / "b.age").stat().st_mode & 0o777 == 0o600
    times = ["--from", "2026-01-01", "--to", "2026-01-02"]
    assert call("retention", "hold", *times, "--reason", "case 9", *at) == 0
    hold = capsys.readouterr().out.split()[-4]
    assert call("retention", "holds", *at) == 0
    assert hold in capsys.readouterr().out
    assert call("retention", "release", hold, "--reason", "closed", *at) == 0
    capsys.readouterr()
    assert call("audit", "verify", "--trust", public, *at) == 0
    newest = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("newest")).split()[-1]
    assert call("audit", "verify", "--expect", newest, *at) == 0
    assert call("audit", "show", "--kind", "hold placed", *at) == 0
    assert "case 9" in capsys.readouterr().out
    (tmp_path / "state" / audit.FILE).write_bytes((tmp_path / "state" / audit.FILE).read_bytes()[:-1] + b" ")
    assert call("audit", "verify", *at) == 1


def test_an_officers_key_may_not_lie_with_the_service(tmp_path: Path) -> None:
    for kind in ("officer", "relax"):
        with pytest.raises(ConfigError, match="out of its reach"):
            call("keys", "create", kind, tmp_path / "officer.key", "--state", tmp_path)
        assert call("keys", "create", kind, tmp_path / kind, "--state", tmp_path / "state") == 0


def test_recordings_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Catalogue(tmp_path) as catalogue:
        for file in sealed(tmp_path / "vault", [str(Identity.generate().to_public())], 60):
            catalogue.add(file)
    assert call("recordings", "list", "--originals", "--state", tmp_path) == 0
    assert capsys.readouterr().out.count("gate 2026-09-21T14:13:2") == 2


def test_a_key_that_a_full_disk_cuts_off_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    two = [word for _ in range(2) for word in ("--officer", str(Identity.generate().to_public()))]
    for words in (["officer", tmp_path / "o"], ["vault", "--threshold", 2, *two, "--out", tmp_path]):
        with pytest.raises(ConfigError, match="No space left"):
            call("keys", "create", *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "verify"), ("audit", "show"), ("recordings", "list"), ("retention", "holds"),
        ("retention", "hold", "--from", "2026-01-01", "--to", "2026-01-02", "--reason", "case 9"),
        ("keys", "rotate", "signing"),
    ],
)  # fmt: skip
def test_a_folder_without_state_is_refused_and_left_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    other, absent = tmp_path / "other", tmp_path / "mistyped"
    other.mkdir(mode=0o755)
    (other / "theirs").write_text("not ours")
    for folder in (other, absent):
        with pytest.raises(ConfigError, match="no state") as caught:
            call(*words, "--state", folder)
        assert caught.value.exit_code == 2
    assert not absent.exists()
    assert other.stat().st_mode & 0o777 == 0o755 and [path.name for path in other.iterdir()] == ["theirs"]


def test_what_reads_changes_nothing_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    call("keys", "create", "bank", "--state", state)
    state.chmod(0o750)
    before = sorted(path.name for path in state.iterdir())
    for words in (("audit", "verify"), ("audit", "show"), ("recordings", "list"), ("retention", "holds")):
        assert call(*words, "--state", state) == 0
        assert capsys.readouterr().err == f"reading {state}\n"
    assert state.stat().st_mode & 0o777 == 0o750
    assert sorted(path.name for path in state.iterdir()) == before
    with Catalogue(state) as catalogue:
        for file in sealed(tmp_path / "vault", [str(Identity.generate().to_public())], 60):
            catalogue.add(file)
    assert call("recordings", "list", "--originals", "--state", state) == 0
    assert capsys.readouterr().out.startswith("gate ")


def test_a_new_state_does_not_lock_a_folder_that_others_use(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("not ours")
    tmp_path.chmod(0o755)
    StateDir(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
