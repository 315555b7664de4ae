"""``anonymizer verify``: whether a package, or a certificate of erasure, is what its signer made."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cryptography import x509

from anonymizer.errors import ConfigError, SourceError
from anonymizer.export import verify
from anonymizer.export.archive import Malformed
from anonymizer.export.verify import Report
from anonymizer.record import chain, keys

EXIT = {"valid": 0, "broken": 1, "unproven": 7}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "verify",
        help="whether an exported package or a certificate of erasure is whole, and who made it",
        epilog="Exit codes: 0 valid, 1 broken, 7 unproven (whole, and signed by nobody whom you trust). Works offline.",
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="or a certificate, its .sig beside it")
    parser.add_argument("--trust", action="append", default=[], metavar="KEY", help="public signing key, or its file")
    parser.add_argument(
        "--identity", action="append", type=Path, default=[], metavar="FILE", help="age identity, for a sealed package"
    )
    parser.add_argument(
        "--timestamp-root", action="append", type=Path, default=[], metavar="FILE",
        help="certificate (PEM) of a timestamp authority",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(command=run)


def run(given: argparse.Namespace) -> int:
    trust = [_key(text) for text in given.trust]
    report = check(given.package, trust, given.identity, given.timestamp_root)
    print(json.dumps(asdict(report), indent=1) if given.json else text(report))
    return EXIT[report.outcome]


def check(path: Path, trust: Sequence[str], identities: Sequence[Path] = (), roots: Sequence[Path] = ()) -> Report:
    """Verify the package in a file, or the certificate of erasure whose signature lies beside it. roots: files with
    certificates of timestamp authorities.

    SourceError where it cannot be read; ConfigError where it is sealed and none of the identities opens it, or a file
    of identities or certificates holds none.
    """
    authorities = [certificate for root in roots for certificate in _certificates(root)]
    keyring = [keys.identity(identity) for identity in identities]
    try:
        with path.open("rb") as file:
            if file.read(1) == b"{":
                signature = path.with_name(f"{path.name}.sig")
                return verify.certificate(path.read_bytes(), signature.read_bytes(), trust)
            file.seek(0)
            if not verify.is_sealed(file):
                return verify.verify(file, trust, authorities)
            if not keyring:
                raise ConfigError(f"{path} is sealed: name the file of the recipient's age identity with --identity")
            try:
                with verify.opened(file, keyring) as plain:
                    report = verify.verify(plain, trust, authorities)
            except Malformed as error:
                return Report(problems=[f"The file is not as it was made: {error}."])
            return report
    except OSError as error:
        raise SourceError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def text(report: Report) -> str:
    """The report for people. What the package says of itself may hold anything, so nothing in it reaches the terminal
    but what can be printed."""
    lines = [f"OK: {line}" for line in report.holds]
    lines += [f"UNPROVEN: {line}" for line in report.unproven]
    lines += [f"note: {line}" for line in report.notes]
    lines += [f"BAD: {line}" for line in report.problems]
    if report.signer:
        by = f" by {report.software}" if report.software else ""
        lines.append(f"It says: case {report.case} ({report.kind}), made {report.created}{by}.")
        lines.append(f"Signed by {report.signer}")
    lines.append({
        "valid": "VALID: nothing was changed, and the signer is trusted.",
        "unproven": "UNPROVEN: nothing was changed since it was signed, and who signed it is not proven.",
        "broken": "BROKEN: do not rely on it.",
    }[report.outcome])  # fmt: skip
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _key(given: str) -> str:
    """A public key from the command line, or from the file that it names."""
    path = Path(given)
    try:
        said = path.read_text("ascii").strip() if path.is_file() else given
        return chain.public_text(chain.public_key(said))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--trust {given}: this is neither a public signing key nor a file with one") from error


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--timestamp-root {path}: this is no file of certificates (PEM)") from error
