"""Exports run behind everything else on a machine; the tests after them need not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def priority() -> Iterator[None]:
    """The process is as nice after a test as before, where it may be (root may)."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    yield
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before)
