"""C2PA content credentials for a video: its label once more, in the form that other tools check (C2PA 2.2).

Needs the extra ``c2pa``. The package's own key signs, under a certificate that is made for the occasion: no authority
vouches for it, so tools name the signer as unknown, and whoever trusts the key can compare it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import anonymizer
from anonymizer.errors import PublishError
from anonymizer.export import extra, label_box
from anonymizer.export.contents import Video
from anonymizer.record import label

_LASTS = timedelta(days=3650)
_LONGEST = 64  # letters of a name in a certificate


def credited(
    videos: Sequence[Video], folder: Path, key: Ed25519PrivateKey, controller: str, now: float
) -> tuple[Video, ...]:
    """The same videos as copies in a folder, with their labels and credentials. now: UTC seconds.

    ConfigError where the extra is not installed; PublishError where a video cannot be read or written.
    """
    c2pa = library()
    chain = certificates(key, controller, now)
    copies = []
    with c2pa.Signer.from_callback(key.sign, c2pa.C2paSigningAlg.ED25519, chain) as signer:
        for video in videos:
            target = folder / video.name
            try:
                with _labelled(video, folder) as source:
                    target.unlink(missing_ok=True)
                    c2pa.Builder(_said(video)).sign_file(source, target, signer)
            except (OSError, label_box.NoVideo, c2pa.C2paError) as error:
                raise PublishError(f"{video.path}: no content credentials can be made: {error}") from error
            copies.append(replace(video, path=target))
    return tuple(copies)


def library() -> ModuleType:
    """The module c2pa. ConfigError where the extra is not installed."""
    return extra.module("c2pa", "c2pa", "content credentials")


@contextlib.contextmanager
def _labelled(video: Video, folder: Path) -> Iterator[Path]:
    """The video with its XMP label: the credentials cover all that comes before them."""
    tail = label_box.missing(video.path, video.camera, video.start)
    if not tail:
        yield video.path
        return
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".mp4") as file:
        with video.path.open("rb") as source:
            shutil.copyfileobj(source, file)
        file.write(tail)
        file.flush()
        yield Path(file.name)


def _said(video: Video) -> str:
    actions = [{"action": "c2pa.created", "digitalSourceType": label.SOURCE_TYPE}]
    return json.dumps(
        {
            "title": video.camera,
            "claim_generator_info": [{"name": "anonymizer", "version": anonymizer.__version__}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }
    )


def certificates(key: Ed25519PrivateKey, controller: str, now: float) -> str:
    """PEM: a certificate for the key (C2PA 2.2, 14.5), and that of its issuer, whose key is gone with this call."""
    root = Ed25519PrivateKey.generate()
    owner, issuer = _name(controller, "video export"), _name(controller, "video export, issuer")
    usage = dict.fromkeys(_USAGES, False)
    leaf = (
        _certificate(owner, issuer, key, now)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.KeyUsage(**usage | {"digital_signature": True}), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    )
    above = (
        _certificate(issuer, issuer, root, now)
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.KeyUsage(**usage | {"key_cert_sign": True}), True)
    )
    return "".join(one.sign(root, None).public_bytes(Encoding.PEM).decode("ascii") for one in (leaf, above))


_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _certificate(owner: x509.Name, issuer: x509.Name, key: Ed25519PrivateKey, now: float) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now, UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(owner)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LASTS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _name(controller: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, controller[:_LONGEST] or "controller"),
            x509.NameAttribute(NameOID.COMMON_NAME, role),
        ]
    )
