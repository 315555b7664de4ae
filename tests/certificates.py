"""Certificates that the tests sign themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import need


def sign(folder: Path) -> tuple[str, str]:
    """Files in the folder with a new self-signed certificate and its key; the test is skipped without openssl."""
    need("openssl")
    files = str(folder / "cert.pem"), str(folder / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *curve, *subject, "-out", files[0], "-keyout", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    return files
