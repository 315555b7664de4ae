"""``anonymizer audit``, ``keys``, ``unseal``, ``retention`` and ``recordings``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from anonymizer import config
from anonymizer.errors import ConfigError
from anonymizer.record import audit, chain, holds, keys, label, retention, unseal
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import FILE as CATALOGUE
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir, default_path


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _register_audit(commands)
    _register_keys(commands)
    _register_unseal(commands)
    _register_retention(commands)
    recordings = commands.add_parser("recordings", help="what is recorded")
    verbs = recordings.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="segments, or sealed originals")
    listing.add_argument("--camera", default="", metavar="NAME")
    listing.add_argument("--from", dest="start", type=moment, default=0.0, metavar="TIME")
    listing.add_argument("--to", dest="stop", type=moment, default=4e9, metavar="TIME")
    listing.add_argument("--originals", action="store_true", help="the vault's sealed fragments")
    at_state(listing)
    listing.set_defaults(command=_list)


def _register_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = commands.add_parser("audit", help="who did what, and whether the record of it holds").add_subparsers(
        metavar="VERB", required=True
    )
    verify = verbs.add_parser("verify", help="find any change, cut or fork; exit code 1 where something does not hold")
    verify.add_argument("--trust", action="append", default=[], metavar="KEY", help="public signing key, or its file")
    verify.add_argument("--expect", type=_expected, metavar="N:HASH", help="as an earlier verify printed it")
    at_state(verify)
    verify.set_defaults(command=_verify)
    show = verbs.add_parser("show", help="the entries")
    show.add_argument("--kind", default="", help="only entries of this kind")
    show.add_argument("--json", action="store_true")
    at_state(show)
    show.set_defaults(command=_show)


def _register_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = commands.add_parser("keys", help="make, replace and save keys").add_subparsers(
        metavar="VERB", required=True
    )
    kinds = verbs.add_parser("create", help="make a key").add_subparsers(metavar="KIND", required=True)
    for kind, told in (("signing", "signs the audit and exports"), ("bank", "draws the synthetic identities")):
        one = kinds.add_parser(kind, help=told)
        at_state(one)
        one.set_defaults(command=_create, kind=kind)
    for kind, told in (
        ("officer", "opens what is sealed to its public key"),
        ("relax", "signs what `anonymizer rules sign` sends over MQTT"),
    ):
        one = kinds.add_parser(kind, help=f"on the officer's machine: {told}")
        one.add_argument("file", type=Path, metavar="FILE")
        at_state(one)
        one.set_defaults(command=_create_officer if kind == "officer" else _create_relax)
    vault = kinds.add_parser("vault", help="on an officer's machine: a key in shares, any K of which open originals")
    vault.add_argument("--threshold", type=int, required=True, metavar="K")
    vault.add_argument("--officer", action="append", required=True, metavar="AGE1…", help="public key; once for each")
    vault.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    vault.set_defaults(command=_create_vault)
    rotate = verbs.add_parser("rotate", help="put a new key in force; the old one is destroyed")
    rotate.add_argument("kind", choices=("signing", "bank"))
    at_state(rotate)
    rotate.set_defaults(command=_rotate)
    backup = verbs.add_parser("backup", help="the service's keys in one file, sealed to public keys")
    backup.add_argument("file", type=Path, metavar="FILE")
    backup.add_argument("--to", action="append", required=True, metavar="AGE1…")
    at_state(backup)
    backup.set_defaults(command=_backup)


def _register_unseal(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    opening = commands.add_parser("unseal", help="open a camera's originals; the audit is told first")
    opening.add_argument("camera", metavar="CAMERA")
    opening.add_argument("--from", dest="start", type=moment, required=True, metavar="TIME")
    opening.add_argument("--to", dest="stop", type=moment, required=True, metavar="TIME")
    opening.add_argument("--identity", action="append", type=Path, default=[], metavar="FILE", help="officer's key")
    opening.add_argument("--share", action="append", type=Path, default=[], metavar="FILE", help="of the vault's key")
    opening.add_argument("--reason", default="", help="asked for where it is left out")
    opening.add_argument("--case", default="", help="reference of the request")
    opening.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    at_state(opening)
    opening.set_defaults(command=_unseal)


def _register_retention(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = commands.add_parser("retention", help="delete what is too old; legal holds").add_subparsers(
        metavar="VERB", required=True
    )
    run = verbs.add_parser("run", help="delete now; the service does it every hour")
    run.add_argument("config", type=Path, metavar="CONFIG")
    run.set_defaults(command=_run_retention)
    hold = verbs.add_parser("hold", help="keep a time, however old it gets")
    hold.add_argument("--camera", default="", metavar="NAME", help="all where left out")
    hold.add_argument("--from", dest="start", type=moment, required=True, metavar="TIME")
    hold.add_argument("--to", dest="stop", type=moment, required=True, metavar="TIME")
    hold.add_argument("--reason", required=True)
    at_state(hold)
    hold.set_defaults(command=_hold)
    release = verbs.add_parser("release", help="end a hold")
    release.add_argument("hold", metavar="HOLD")
    release.add_argument("--reason", required=True)
    at_state(release)
    release.set_defaults(command=_release)
    listing = verbs.add_parser("holds", help="the legal holds in force")
    at_state(listing)
    listing.set_defaults(command=_holds)


def at_state(parser: argparse.ArgumentParser) -> None:
    """How a command finds the service's state."""
    parser.add_argument("--config", type=Path, metavar="CONFIG", help="the service's, which names its state folder")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="the state folder itself")


def _state(given: argparse.Namespace, *, made: bool = False) -> StateDir:
    if given.state is not None:
        return StateDir(given.state, made=made)
    named = config.load(given.config).state_dir if given.config is not None else ""
    return StateDir(Path(named) if named else default_path(), made=made)


def _read(given: argparse.Namespace) -> StateDir:
    """The state of a command that only reads; says which it is, beside what it prints."""
    state = _state(given)
    print(f"reading {state.path}", file=sys.stderr)
    return state


def moment(text: str) -> float:
    """UTC unless it says otherwise."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2026-11-24T10:00:00Z") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _expected(text: str) -> tuple[int, str]:
    count, _, digest = text.partition(":")
    if not count.isdigit() or len(digest) != 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no N:HASH as `audit verify` prints it")
    return int(count), digest


def _verify(given: argparse.Namespace) -> int:
    trust = [Path(key).read_text("ascii").strip() if Path(key).is_file() else key for key in given.trust]
    report = audit.verify(_read(given).path, trust, given.expect)
    for problem in report.problems:
        print(f"BAD: {problem}")
    for note in report.notes:
        print(f"note: {note}")
    if report.trusted is None:
        print("note: who signed is unproven, for no key was named with --trust")
    elif not report.trusted:
        print("UNPROVEN: signed by no key that you trust")
    print(f"{report.entries} entries, signed by {', '.join(report.signers) or 'nobody'}")
    print(f"newest: {report.entries}:{report.newest}")
    print("The audit holds." if report.good else "The audit does not hold.")
    return 0 if report.good else 1


def _show(given: argparse.Namespace) -> int:
    for entry in audit.entries(_read(given).path):
        if given.kind and entry.kind != given.kind:
            continue
        if given.json:
            print(entry.line().decode(), end="")
        else:
            print(f"{entry.number:>6} {entry.time} {entry.kind}: {json.dumps(entry.said, ensure_ascii=False)}")
    return 0


def _create(given: argparse.Namespace) -> int:
    state = _state(given, made=True)
    if given.kind == "signing":
        key = keys.create_signing(state)
        print(f"public signing key, for --trust: {chain.public_text(key)}")
    else:
        path = keys.create_bank(state)
        AuditFile(state).append((time.time(), "bank key created", {}))
        print(f"write into the configuration: identity: {{ key: 'file:{path}' }}")
    return 0


def _create_officer(given: argparse.Namespace) -> int:
    public = keys.create_officer(given.file, given.state or default_path())
    print(f"public key, for record.vault.recipients or a share: {public}")
    return 0


def _create_relax(given: argparse.Namespace) -> int:
    print(f"public key, for mqtt.relax_key: {keys.create_relax(given.file, given.state or default_path())}")
    return 0


def _create_vault(given: argparse.Namespace) -> int:
    public = keys.create_vault(given.out, given.officer, given.threshold)
    print(f"public key, for record.vault.recipients: {public}")
    print(f"{len(given.officer)} shares lie in {given.out}; any {given.threshold} open what is sealed. Hand them out.")
    return 0


def _rotate(given: argparse.Namespace) -> int:
    state = _state(given)
    if given.kind == "signing":
        print(f"public signing key, for --trust: {AuditFile(state).rotate()}")
    else:
        AuditFile(state).append((time.time(), "bank key rotated", {}))
        keys.create_bank(state, replace=True)
        print("Restart the service: until then it draws with the old key.")
    return 0


def _backup(given: argparse.Namespace) -> int:
    state = _state(given)
    log = AuditFile(state)
    names = keys.backup(state, given.file, given.to)
    log.append((time.time(), "keys saved", {"keys": names, "to": given.to}))
    print(f"{', '.join(names)} are in {given.file}; `age -d` with one of the keys and `tar x` open it")
    return 0


def _unseal(given: argparse.Namespace) -> int:
    identity, told = keys.opening(given.identity, given.share)
    said = {"case": given.case, "out": str(given.out), **told}
    reason = given.reason or input("Why are these originals opened? ")
    state, result = _state(given), unseal.Opened()
    with Catalogue(state.path) as catalogue:
        opened = unseal.fragments(
            AuditFile(state), catalogue, given.camera, given.start, given.stop, identity, reason, time.time(),
            result.damaged, **said,
        )  # fmt: skip
        unseal.save(opened, given.out, result)
    for path in result.files:
        print(path)
    for text in result.damaged:
        print(f"BAD: {text}")
    print(f"{result.fragments} fragments opened")
    return 3 if result.damaged else 0


def _run_retention(given: argparse.Namespace) -> int:
    loaded = config.load(given.config)
    state = StateDir(Path(loaded.state_dir) if loaded.state_dir else default_path(), made=False)
    count = retention.run(state, {name: camera.record for name, camera in loaded.cameras.items()}, time.time())
    print(f"{count} files deleted")
    return 0


def _hold(given: argparse.Namespace) -> int:
    if given.stop <= given.start:
        raise ConfigError("--to must be later than --from")
    state = _state(given)
    log = AuditFile(state)
    hold = holds.place(state, given.camera, given.start, given.stop, given.reason)
    said = {"hold": hold.id, "camera": hold.camera, "reason": hold.reason}
    times = {"from": label.utc(hold.start), "to": label.utc(hold.stop)}
    log.append((time.time(), "hold placed", {**said, **times}))
    print(f"hold {hold.id} is in force")
    return 0


def _release(given: argparse.Namespace) -> int:
    state = _state(given)
    if given.hold not in {hold.id for hold in holds.read(state)}:
        raise ConfigError(f"there is no hold {given.hold!r}; `anonymizer retention holds` lists them")
    AuditFile(state).append((time.time(), "hold released", {"hold": given.hold, "reason": given.reason}))
    holds.release(state, given.hold)
    print(f"hold {given.hold} is released")
    return 0


def _holds(given: argparse.Namespace) -> int:
    for hold in holds.read(_read(given)):
        where = hold.camera or "all cameras"
        print(f"{hold.id} {where} {label.utc(hold.start)} to {label.utc(hold.stop)}: {hold.reason}")
    return 0


def _list(given: argparse.Namespace) -> int:
    kind: Literal["segment", "fragment"] = "fragment" if given.originals else "segment"
    state = _read(given)
    if not (state.path / CATALOGUE).exists():
        print("nothing was ever recorded")
        return 0
    with Catalogue(state.path, reading=True) as catalogue:
        for file in catalogue.files(kind, given.camera, given.start, given.stop):
            healed = " healed" if file.healed else ""
            times = f"{label.utc(file.start)} to {label.utc(file.stop)} ({file.clock})"
            print(f"{file.camera} {times} {file.bytes} bytes {file.frames} pictures {file.sha256}{healed} {file.path}")
        if kind == "segment" and not given.camera:
            print(f"cameras: {', '.join(catalogue.cameras()) or 'none'}")
    return 0
