"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent

# Machines are busy: a slow example is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

SHARED = Path(os.environ.get("ANONYMIZER_SHARED", ROOT.parent / "shared")).resolve()
if (SHARED / "models").is_dir():
    # As if yunet_n had been fetched: what the tests of the whole judge is the frame path. The own detector has its own.
    os.environ.setdefault("ANONYMIZER_MODELS", str(SHARED / "models"))
os.environ.setdefault("OMP_NUM_THREADS", "1")


def need(*programs: str) -> None:
    """Skip the test where a real peer is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}, which is not installed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared footage, labels and models; the test is skipped where it is absent, and fails in CI."""
    if not (SHARED / "labels").is_dir():
        reason = f"needs the shared footage, which is not at {SHARED}; set ANONYMIZER_SHARED"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Debian's Chromium; skipped where it is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium (Debian package chromium)")
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        # root, as in containers, gets no sandbox
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        yield browser.new_page()
