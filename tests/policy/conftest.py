from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shipped() -> list[Path]:
    """The rule files of the repository."""
    found = sorted((Path(__file__).resolve().parents[2] / "rules").glob("*.yaml"))
    assert len(found) >= 5
    return found
