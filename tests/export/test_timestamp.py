"""Against OpenSSL as the authority."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from anonymizer import cli
from anonymizer.errors import ConfigError, PublishError
from anonymizer.export import manifest, package, timestamp
from anonymizer.export.manifest import Untrue
from tests.export import packages
from tests.export.authority import Authority, serving
from tests.export.packages import NOW, checked, contents, files, packed, public, resigned, signing

pytest.importorskip("rfc3161_client", reason="needs the extra timestamp")
if shutil.which("openssl") is None:
    pytest.skip("needs openssl (Debian package openssl)", allow_module_level=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Authority, str]]:
    with serving(tmp_path_factory.mktemp("tsa") / "ca") as one:
        yield one


@pytest.fixture
def authority(served: tuple[Authority, str]) -> Iterator[tuple[Authority, str]]:
    yield served
    served[0].mend = lambda answer: answer


def roots(*authorities: Authority) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(one.root.read_bytes()) for one in authorities]


def stamped(folder: Path, url: str, now: float | None = None) -> bytes:
    """A package with a timestamp; now: what our clock says, the authority's where left out."""
    at = time.time() if now is None else now
    package.write(
        folder / "p.zip", contents(folder), signing(folder / "state"), at, stamp=partial(timestamp.ask, url)
    )  # fmt: skip
    return (folder / "p.zip").read_bytes()


def test_a_stamped_package_proves_its_time(
    tmp_path: Path, authority: tuple[Authority, str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = stamped(tmp_path, authority[1])
    content = files(data)
    assert len(content[manifest.TIMESTAMP]) > 100 and len(authority[0].asked[-1]) < 100, "only a hash is sent"
    given = ["verify", str(tmp_path / "p.zip"), "--trust", public(tmp_path)]
    assert cli.main([*given, "--timestamp-root", str(authority[0].root)]) == 0
    assert "OK: A timestamp authority vouches" in capsys.readouterr().out
    assert cli.main(given) == 0
    assert "note: There is a timestamp" in capsys.readouterr().out
    assert cli.main([*given, "--timestamp-root", str(tmp_path / "p.zip")]) == 2


def test_an_authority_that_is_not_the_one_named_is_found(
    tmp_path: Path, authority: tuple[Authority, str], capsys: pytest.CaptureFixture[str]
) -> None:
    stamped(tmp_path, authority[1])
    other = Authority(tmp_path / "other")
    given = ["verify", str(tmp_path / "p.zip"), "--trust", public(tmp_path), "--timestamp-root", str(other.root)]
    assert cli.main(given) == 1
    assert "not proven" in capsys.readouterr().out


def test_a_timestamp_that_is_taken_away_exchanged_or_changed_is_found(
    tmp_path: Path, authority: tuple[Authority, str]
) -> None:
    """Also by who names no authority: the signature covers it."""
    data, trusted = stamped(tmp_path, authority[1]), public(tmp_path)
    content, token = files(data), files(data)[manifest.TIMESTAMP]
    assert checked(data, trusted).outcome == "valid"
    for forged in (None, timestamp.ask(authority[1], content[manifest.FILE]), token[:-1] + bytes([token[-1] ^ 1]), b""):
        rest = {name: value for name, value in content.items() if name != manifest.TIMESTAMP}
        changed = rest if forged is None else {**rest, manifest.TIMESTAMP: forged}
        # Nothing and an empty file have one hash; the empty one is no timestamp, and is refused for that.
        assert checked(packed(changed), trusted).outcome == "broken"


def test_a_clock_that_says_something_else_than_the_authority_is_found(
    tmp_path: Path, authority: tuple[Authority, str], capsys: pytest.CaptureFixture[str]
) -> None:
    stamped(tmp_path, authority[1], now=NOW)
    given = ["verify", str(tmp_path / "p.zip"), "--trust", public(tmp_path)]
    assert cli.main([*given, "--timestamp-root", str(authority[0].root)]) == 1
    assert packages.START < NOW and "and its timestamp" in capsys.readouterr().out


def test_without_a_timestamp_that_is_said(tmp_path: Path) -> None:
    report = checked(packages.made(tmp_path), public(tmp_path))
    assert report.outcome == "valid" and "no timestamp" in report.notes[0]


def test_a_token_of_something_else_does_not_hold(authority: tuple[Authority, str]) -> None:
    token = timestamp.ask(authority[1], b"this")
    timestamp.check(token, b"this", roots(authority[0]))
    for wrong, message in ((token, b"that"), (token[:50], b"this"), (b"", b"this"), (json.dumps({}).encode(), b"this")):
        with pytest.raises(Untrue):
            timestamp.check(wrong, message, roots(authority[0]))


def test_every_changed_byte_of_what_a_token_signs_is_found(authority: tuple[Authority, str]) -> None:
    token = timestamp.ask(authority[1], b"this")
    start = token.index(b"\x06\x0b*\x86H\x86\xf7\r\x01\x09\x10\x01\x04")  # id-ct-TSTInfo
    for at in range(start, start + 120):
        changed = bytearray(token)
        changed[at] ^= 1
        with pytest.raises(Untrue):
            timestamp.check(bytes(changed), b"this", roots(authority[0]))


@pytest.mark.parametrize("answer", [b"", b"<html>", b"\x30\x80" * 3000, b"\0" * (timestamp.LARGEST + 1)])
def test_an_answer_that_is_none_makes_no_package(
    tmp_path: Path, authority: tuple[Authority, str], answer: bytes
) -> None:
    authority[0].mend = lambda _: answer
    with pytest.raises(PublishError, match="answers wrongly"):
        stamped(tmp_path, authority[1])
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


def test_an_answer_to_another_question_makes_no_package(tmp_path: Path, authority: tuple[Authority, str]) -> None:
    older = timestamp.ask(authority[1], b"something else")
    authority[0].mend = lambda _: older
    with pytest.raises(PublishError, match="something else"):
        stamped(tmp_path, authority[1])


def test_an_authority_that_is_not_there_makes_no_package(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no answer"):
        stamped(tmp_path, "http://127.0.0.1:9/")
    with pytest.raises(ConfigError, match="https://"):
        stamped(tmp_path, "file:///etc/passwd")


def test_a_signed_token_of_another_manifest_is_found(tmp_path: Path, authority: tuple[Authority, str]) -> None:
    """By the trusted key, even: only who names the authority can see it."""
    data, key = stamped(tmp_path, authority[1]), signing(tmp_path / "state")
    content = files(resigned(files(data), key, lambda said: said.update(software="another")))
    token = files(data)[manifest.TIMESTAMP]
    content[manifest.SIGNATURE] = manifest.sign(key, content[manifest.FILE], token)
    content[manifest.TIMESTAMP] = token
    forged = packed(content)
    assert checked(forged, public(tmp_path)).outcome == "valid"
    report = packages.checked(forged, public(tmp_path), roots=roots(authority[0]))
    assert report.outcome == "broken" and "something else" in report.problems[0]
