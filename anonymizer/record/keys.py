"""Keys: the service's own in its state folder, officers' and the vault's as files that the service never gets."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from pyrage.x25519 import Identity, Recipient

from anonymizer.errors import ConfigError
from anonymizer.record import chain, shares
from anonymizer.statedir import StateDir

SIGNING, SIGNING_PUBLIC, _NEXT = "signing.key", "signing.pub", "signing.next"
BANK = "bank.key"


def signing(state: StateDir, newest: str = "") -> Ed25519PrivateKey:
    """The signing key; made where there is none. newest: the public key that the audit's last entry put in force:
    a rotation that a crash interrupted after it is finished here; so is the writing of the public half. ConfigError
    where the key cannot be read."""
    if newest and (following := read_signing(state.path / _NEXT)) and chain.public_text(following) == newest:
        finish_signing(state)
    key = read_signing(state.path / SIGNING)
    if key is None:
        return create_signing(state)
    _publish(state, key)
    return key


def create_signing(state: StateDir) -> Ed25519PrivateKey:
    """ConfigError where there is one already: only a rotation, which the audit tells of, may replace it."""
    if (state.path / SIGNING).exists():
        raise ConfigError(f"{state.path / SIGNING} is there already; `anonymizer keys rotate signing` replaces it")
    prepare_signing(state)
    finish_signing(state)
    key = read_signing(state.path / SIGNING)
    assert key is not None
    return key


def prepare_signing(state: StateDir) -> Ed25519PrivateKey:
    """Draw the next key and put it on disk, not yet in force."""
    key = Ed25519PrivateKey.generate()
    state.write_bytes(_NEXT, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def finish_signing(state: StateDir) -> None:
    """Put the next key in force."""
    key = read_signing(state.path / _NEXT)
    assert key is not None
    os.replace(state.path / _NEXT, state.path / SIGNING)
    _publish(state, key)


def _publish(state: StateDir, key: Ed25519PrivateKey) -> None:
    """The key's public half in its file."""
    text = chain.public_text(key).encode() + b"\n"
    path = state.path / SIGNING_PUBLIC
    if not path.exists() or path.read_bytes() != text:
        state.write_bytes(SIGNING_PUBLIC, text)


def read_signing(path: Path) -> Ed25519PrivateKey | None:
    """The private signing key in a PEM file; None where there is no file. ConfigError where it cannot be read."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no key that can be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key")
    return key


def create_bank(state: StateDir, *, replace: bool = False) -> Path:
    """The key that synthetic identities are drawn with, for ``identity.key: file:…``. What was drawn with a key that
    is replaced cannot be linked to what comes. ConfigError where one is there and may not be replaced."""
    path = state.path / BANK
    if path.exists() != replace:
        what = "is not there; `anonymizer keys create bank` makes it" if replace else "is there already; rotate it"
        raise ConfigError(f"{path} {what}")
    state.write_bytes(BANK, secrets.token_hex(32).encode() + b"\n")
    return path


def create_officer(path: Path, state: Path) -> str:
    """An officer's age identity in a new file, as age-keygen writes it; its public key. state: the service's folder.
    ConfigError where the file is there, or would lie with the service."""
    _out_of_reach(path, state)
    identity = Identity.generate()
    public = str(identity.to_public())
    _create(path, f"# created: {_now()}\n# public key: {public}\n{identity}\n".encode())
    return public


def create_relax(path: Path, state: Path) -> str:
    """The key that signs relaxations over MQTT, in a new PEM file; its public half. state, ConfigError: as above."""
    _out_of_reach(path, state)
    key = Ed25519PrivateKey.generate()
    _create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain.public_text(key)


def _out_of_reach(path: Path, state: Path) -> None:
    if path.resolve().is_relative_to(state.resolve()):
        raise ConfigError(f"{path} lies in the service's state folder; an officer's key must be out of its reach")


def create_vault(folder: Path, officers: Sequence[str], threshold: int) -> str:
    """A vault key whose private half exists only as shares, each sealed to one officer's public key; the public key.

    Writes share-1.age … into the folder, which is made; all of them or none. ConfigError for a recipient that is none,
    a threshold out of range, or a file that is there.
    """
    recipients = [recipient(text) for text in officers]
    if len(set(officers)) < len(officers):
        raise ConfigError("an officer is named twice: each share must go to another person")
    identity = Identity.generate()
    words = shares.split(identity, threshold, len(officers))
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        for number, (share, officer) in enumerate(zip(words, recipients, strict=True), 1):
            path = folder / f"share-{number}.age"
            _create(path, pyrage.encrypt(share.encode() + b"\n", [officer], armored=True))
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return str(identity.to_public())


def identity(path: Path) -> Identity:
    """The private key in an age identity file. ConfigError where there is none."""
    for line in _read(path).decode("ascii", "replace").splitlines():
        if line and not line.startswith("#"):
            try:
                return Identity.from_str(line.strip())
            except pyrage.IdentityError:
                break
    raise ConfigError(f"{path} holds no age identity (AGE-SECRET-KEY-1…)")


def share(path: Path, identities: Sequence[Identity]) -> str:
    """The words of a share: from a file sealed to one of the identities, or written down plainly."""
    data = _read(path)
    if data.startswith((b"age-encryption.org/", b"-----BEGIN AGE")):
        if not identities:
            raise ConfigError(f"{path} is sealed: name the officer's key with --identity")
        try:
            data = pyrage.decrypt(data, list(identities))
        except pyrage.DecryptError as error:
            raise ConfigError(f"{path} opens with none of the identities given") from error
    return data.decode("ascii", "replace").strip()


Opening = tuple[Identity, dict[str, Any]]


def opening(identities: Sequence[Path], share_files: Sequence[Path]) -> Opening:
    """The key that opens originals, one officer's or joined from shares, and what the audit is told of it. ConfigError
    where the files will not do."""
    known = [identity(path) for path in identities]
    if share_files:
        words = [share(path, known) for path in share_files]
        return shares.join(words), {"shares": shares.numbers(words)}
    if len(known) == 1:
        return known[0], {}
    raise ConfigError("name one officer's key with --identity, or enough shares with --share")


def recipient(text: str) -> Recipient:
    """ConfigError where the text is no age public key."""
    try:
        return Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ConfigError(f"{text!r} is no age public key (age1…)") from error


def backup(state: StateDir, path: Path, recipients: Sequence[str]) -> list[str]:
    """The state folder's keys as a tar file sealed to the recipients; the names in it. ``age -d FILE | tar x`` opens
    it. ConfigError where there is nothing to save, or the file is there."""
    targets = [recipient(text) for text in recipients]
    packed = io.BytesIO()
    names = [name for name in (SIGNING, SIGNING_PUBLIC, BANK) if (state.path / name).exists()]
    if not names:
        raise ConfigError(f"there are no keys in {state.path}")
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            data = _read(state.path / name)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    _create(path, pyrage.encrypt(packed.getvalue(), targets))
    return names


def _create(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read, whole or not at all."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already; nothing was written") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
