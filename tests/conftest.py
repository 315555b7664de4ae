"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared footage, labels and models; the test is skipped where it is absent, and fails in CI."""
    folder = Path(os.environ.get("ANONYMIZER_SHARED", ROOT.parent / "shared"))
    if not (folder / "labels").is_dir():
        reason = f"needs the shared footage, which is not at {folder}; set ANONYMIZER_SHARED"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
