from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pyrage.x25519 import Identity

from anonymizer import cli
from anonymizer.export import manifest, package
from anonymizer.record import chain
from tests.export import packages
from tests.export.packages import checked, files, made, packed, public, resigned

FILES = [
    "audit.head", "audit.jsonl", "completeness.json", "identifiability.json", "index.html", "manifest.json",
    "manifest.sig", "notice.json", "processing.json", "redactions.json", "report.pdf", "request.json", "retention.json",
    "videos/gate.mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def good(folder: Path) -> bytes:
    return made(folder)


@pytest.fixture(scope="module")
def trusted(folder: Path) -> str:
    return public(folder)


@pytest.fixture(scope="module")
def key(folder: Path) -> Ed25519PrivateKey:
    return packages.signing(folder / "state")


def test_what_was_written_is_valid_for_who_trusts_the_signer(good: bytes, trusted: str) -> None:
    report = checked(good, trusted)
    assert report.outcome == "valid" and not report.problems and not report.unproven
    assert (report.case, report.kind, report.signer) == (packages.CASE, "access", trusted)
    assert list(files(good)) == FILES and report.files == len(FILES) - 2


def test_without_a_trusted_key_it_is_unproven(good: bytes) -> None:
    stranger = chain.public_text(Ed25519PrivateKey.generate())
    for trust in ((), (stranger,)):
        report = checked(good, *trust)
        assert report.outcome == "unproven" and len(report.unproven) == 1 and not report.problems


# Changes of a file, with the framing around it put right


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flipped", "cut", "lengthened", "emptied", "removed", "renamed"])
def test_a_changed_file_is_found(good: bytes, trusted: str, name: str, how: str) -> None:
    content = files(good)
    data = content.pop(name)
    middle = len(data) // 2
    forged = {
        "flipped": {name: data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]},
        "cut": {name: data[:-1]},
        "lengthened": {name: data + b"\n"},
        "emptied": {name: b""},
        "removed": {},
        "renamed": {f"{name}.old": data},
    }[how]
    report = checked(packed({**content, **forged}), trusted)
    assert report.outcome == "broken" and report.problems
    assert not report.case, "nothing that a forger may have written is repeated"


def test_an_added_file_is_found(good: bytes, trusted: str) -> None:
    report = checked(packed({**files(good), "videos/zz.mp4": b"more"}), trusted)
    assert report.problems == ["videos/zz.mp4 was added: the manifest does not know it."]


def test_files_that_changed_places_are_found(good: bytes, trusted: str) -> None:
    content = files(good)
    swapped = {**content, "index.html": content["report.pdf"], "report.pdf": content["index.html"]}
    assert len(checked(packed(swapped), trusted).problems) == 2


# Changes of bytes


def test_every_changed_byte_is_found(good: bytes, trusted: str) -> None:
    """All of the framing and the signature, and of each content the first bytes: the rest is the next test's."""
    starts = [good.index(data) for data in files(good).values()]
    inside = set()
    for start, data in zip(starts, files(good).values(), strict=True):
        inside |= set(range(start + 40, start + len(data) - 40))
    for at in sorted(set(range(len(good))) - inside):
        changed = bytearray(good)
        changed[at] ^= 1 << (at % 8)
        assert checked(bytes(changed), trusted).outcome == "broken", f"byte {at}"


@given(st.data())
def test_no_change_anywhere_is_valid(good: bytes, trusted: str, data: st.DataObject) -> None:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(good) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
    if changed != good:
        assert checked(bytes(changed), trusted).outcome == "broken"


@given(st.data())
def test_no_part_that_is_cut_out_doubled_or_put_in_is_valid(good: bytes, trusted: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(good) - 1))
    stop = data.draw(st.integers(start + 1, len(good)))
    more = data.draw(st.binary(min_size=1, max_size=40))
    for forged in (good[:start] + good[stop:], good[:stop] + good[start:], good[:start] + more + good[start:]):
        if forged != good:
            assert checked(forged, trusted).outcome == "broken"


@given(st.binary(max_size=300))
def test_anything_else_is_broken(data: bytes) -> None:
    assert checked(data).outcome == "broken"
    assert checked(b"PK\3\4" + data).outcome == "broken"


# Forgers with a key


def test_a_package_signed_anew_by_a_stranger_is_never_valid(good: bytes, trusted: str) -> None:
    """The trail is still signed by the first signer: even in itself such a package does not hold."""
    report = checked(resigned(files(good), Ed25519PrivateKey.generate()), trusted)
    assert report.outcome == "broken"
    assert "another audit" in report.problems[0]


def test_a_package_made_by_a_stranger_is_unproven(tmp_path: Path, trusted: str) -> None:
    report = checked(made(tmp_path), trusted)
    assert report.outcome == "unproven" and "Anyone" in report.unproven[0]


def test_a_strangers_signature_under_the_signers_name_is_found(good: bytes, trusted: str) -> None:
    content = files(good)
    theirs = json.loads(manifest.sign(Ed25519PrivateKey.generate(), content["manifest.json"]))
    forged = manifest.pretty({**theirs, "key": trusted})
    assert checked(packed({**content, "manifest.sig": forged}), trusted).outcome == "broken"


def test_a_manifest_that_names_another_signer_is_found(good: bytes, trusted: str) -> None:
    other = Ed25519PrivateKey.generate()
    forged = resigned(files(good), other, lambda said: said.update(signer=trusted))
    assert "another signer" in checked(forged, trusted).problems[0]


def test_a_manifest_of_another_package_is_found(good: bytes, trusted: str, folder: Path) -> None:
    other = files(made(folder))
    content = files(good)
    replayed = {**content, **{name: other[name] for name in ("manifest.json", "manifest.sig")}}
    assert checked(packed(replayed), trusted).outcome == "broken"


def test_a_signature_of_something_else_by_the_same_key_is_found(
    good: bytes, trusted: str, key: Ed25519PrivateKey
) -> None:
    content = files(good)
    said = json.loads(content["manifest.sig"])
    said["signature"] = chain.sign(key, 5, "ab" * 32)
    assert checked(packed({**content, "manifest.sig": manifest.pretty(said)}), trusted).outcome == "broken"


# An audit that does not hold, though the manifest was signed over it by the trusted key


@pytest.mark.parametrize("case", ["cut", "cut start", "doubled", "reordered", "changed", "empty"])
def test_an_audit_trail_that_is_not_whole_is_found(
    good: bytes, trusted: str, key: Ed25519PrivateKey, case: str
) -> None:
    content = files(good)
    lines = content["audit.jsonl"].splitlines(keepends=True)
    assert len(lines) == 3
    forged = {
        "cut": lines[:-1],
        "cut start": lines[1:],
        "doubled": [lines[0], *lines],
        "reordered": [lines[1], lines[0], lines[2]],
        "changed": [lines[0].replace(b"request", b"retuest"), *lines[1:]],
        "empty": [],
    }[case]
    report = checked(resigned({**content, "audit.jsonl": b"".join(forged)}, key), trusted)
    assert report.outcome == "broken" and "audit trail" in report.problems[0]


def test_an_audit_of_another_package_is_found(good: bytes, trusted: str, key: Ed25519PrivateKey, folder: Path) -> None:
    other = files(made(folder))
    for names in (["audit.jsonl"], ["audit.head"], ["audit.jsonl", "audit.head"]):
        forged = resigned({**files(good), **{name: other[name] for name in names}}, key)
        assert "audit trail" in checked(forged, trusted).problems[0]


def test_a_forked_audit_is_found(good: bytes, trusted: str, key: Ed25519PrivateKey) -> None:
    """Entries made by somebody who knows the chain, from a fork: same numbers, same predecessor, another content."""
    content = files(good)
    first, second, last = (chain.Entry.parse(line) for line in content["audit.jsonl"].splitlines(keepends=True))
    forked = chain.Entry.make(second.number, second.time, second.kind, {"case": packages.CASE}, second.before)
    lines = [first.line(), forked.line(), last.line()]
    assert "another audit" in checked(resigned({**content, "audit.jsonl": b"".join(lines)}, key), trusted).problems[0]
    said = {**last.said, "trail": [[first.number, first.hash], [forked.number, forked.hash]]}
    end = chain.Entry.make(last.number, last.time, last.kind, said, last.before)
    lines[2] = end.line()
    assert "signed" in checked(resigned({**content, "audit.jsonl": b"".join(lines)}, key), trusted).problems[0]
    head = chain.Head.sign(Ed25519PrivateKey.generate(), end.number + 1, end.hash).line()
    forged = resigned({**content, "audit.jsonl": b"".join(lines), "audit.head": head}, key)
    assert "not signed by the package's signer" in checked(forged, trusted).problems[0]


# Manifests that are signed, and say what none says


@pytest.mark.parametrize(
    "change",
    [
        {"format": "anonymizer export 2"},
        {"case": 5},
        {"files": []},
        {"files": {"../evil": {"bytes": 1, "sha256": "ab" * 32}}},
        {"files": {"index.html": {"bytes": True, "sha256": "ab" * 32}}},
        {"files": {"index.html": {"bytes": 1, "sha256": "AB" * 32}}},
        {"files": {}},
        {"case": "2026/18"},
        {"kind": "police"},
        {"id": "00" * 16},
    ],
)
def test_a_signed_manifest_that_cannot_be_right_is_found(
    good: bytes, trusted: str, key: Ed25519PrivateKey, change: dict[str, object]
) -> None:
    report = checked(resigned(files(good), key, lambda said: said.update(change)), trusted)
    assert report.outcome == "broken"


def test_a_package_without_a_record_is_found(good: bytes, trusted: str, key: Ed25519PrivateKey) -> None:
    content = files(good)
    del content["redactions.json"]
    report = checked(resigned(content, key), trusted)
    assert report.problems == ["redactions.json belongs into every package, and is not in this one."]


def test_huge_and_deep_records_are_refused(good: bytes, trusted: str, key: Ed25519PrivateKey) -> None:
    content = files(good)
    for data in (b"[" * 100_000, b"1" * (2 << 20), b"\xff", b"[]"):
        assert checked(resigned({**content, "request.json": data}, key), trusted).outcome == "broken"


# Sealed packages


@pytest.fixture(scope="module")
def sealed(folder: Path) -> tuple[Path, Path]:
    """A package sealed to two recipients, and the identity file of one."""
    mine, other = Identity.generate(), Identity.generate()
    identity = folder / "identity.txt"
    identity.write_text(f"# a comment\n{mine}\n")
    path = folder / "sealed.zip.age"
    recipients = [str(other.to_public()), str(mine.to_public())]
    package.write(path, packages.contents(folder), packages.signing(folder / "state"), packages.NOW, recipients)
    return path, identity


def test_a_sealed_package_is_opened_with_an_identity(
    sealed: tuple[Path, Path], trusted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, identity = sealed
    assert cli.main(["verify", str(path), "--trust", trusted, "--identity", str(identity)]) == 0
    assert cli.main(["verify", str(path), "--trust", trusted]) == 2
    assert "--identity" in capsys.readouterr().err


def test_a_sealed_package_does_not_open_to_others(
    sealed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.txt").write_text(str(Identity.generate()))
    assert cli.main(["verify", str(sealed[0]), "--identity", str(tmp_path / "other.txt")]) == 2
    assert "sealed to others" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("age") is None, reason="needs age (Debian package age)")
def test_the_stock_age_tool_opens_it(sealed: tuple[Path, Path], trusted: str) -> None:
    command = ["age", "-d", "-i", str(sealed[1]), str(sealed[0])]
    plain = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert checked(plain, trusted).outcome == "valid"


def test_every_change_of_a_sealed_package_is_found(
    sealed: tuple[Path, Path], trusted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sealed[0].read_bytes()
    forged = tmp_path / "forged.age"
    places = {*range(0, 400, 7), *range(400, len(data), 997), len(data) - 1}
    for at in sorted(places):
        changed = bytearray(data)
        changed[at] ^= 1
        forged.write_bytes(changed)
        assert cli.main(["verify", str(forged), "--trust", trusted, "--identity", str(sealed[1])]) in (1, 2), at
    for kept in (data[:-1], data[:-16], data[: len(data) // 2], data + b"\0", data + data):
        forged.write_bytes(kept)
        assert cli.main(["verify", str(forged), "--trust", trusted, "--identity", str(sealed[1])]) == 1
    assert "VALID:" not in capsys.readouterr().out


def test_a_prefix_that_ends_with_a_chunk_is_found(
    folder: Path, trusted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """age seals 64 KiB at a time: what is cut there still opens up to the cut."""
    mine = Identity.generate()
    (tmp_path / "identity").write_text(str(mine))
    plain = made(folder, videos=(packages.large(folder, 200_000),))
    whole = pyrage.encrypt(plain, [mine.to_public()])
    header = len(whole) - (len(plain) + 16 * (len(plain) // 65536 + 1))
    for chunks in (1, 2, 3):
        (tmp_path / "cut.age").write_bytes(whole[: header + chunks * (65536 + 16)])
        given = ["verify", str(tmp_path / "cut.age"), "--trust", trusted, "--identity", str(tmp_path / "identity")]
        assert cli.main(given) == 1
    assert "cut off" in capsys.readouterr().out


# The command


def test_the_command_says_what_holds(
    folder: Path, good: bytes, trusted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(good)
    keyfile = tmp_path / "signing.pub"
    keyfile.write_text(trusted + "\n")
    assert cli.main(["verify", str(path), "--trust", str(keyfile)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("VALID:") and packages.CASE in said
    assert cli.main(["verify", str(path)]) == 7
    assert "--trust" in capsys.readouterr().out
    assert cli.main(["verify", str(path), "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["outcome"] == "unproven"
    path.write_bytes(good + b"\0")
    assert cli.main(["verify", str(path), "--trust", trusted]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("BROKEN:")


def test_the_command_refuses_what_it_cannot_use(
    good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.zip"
    assert cli.main(["verify", str(path)]) == 4
    path.write_bytes(good)
    assert cli.main(["verify", str(path), "--trust", "no key"]) == 2
    path.write_bytes(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert cli.main(["verify", str(path)]) == 2
    assert "age -d" in capsys.readouterr().err


def test_what_a_stranger_wrote_does_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = "1\x1b[2J\x1b[1;1HVALID: nothing was changed, and the signer is trusted.\nx"
    request = packages.request(case)
    made(tmp_path, request=request)
    assert cli.main(["verify", str(tmp_path / "package.zip")]) == 7
    said = capsys.readouterr().out
    assert "\x1b" not in said and not any(line.startswith("VALID") for line in said.splitlines())
