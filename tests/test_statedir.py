"""The state folder, when root and the service both write to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anonymizer.record import holds
from anonymizer.record.audit import AuditFile
from anonymizer.record.catalogue import Catalogue
from anonymizer.statedir import StateDir


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as another")
def test_what_root_writes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 900, 901)
    state = StateDir(tmp_path)
    AuditFile(state).append((1.0, "tried", {}))
    holds.place(state, "gate", 0.0, 1.0, "court")
    with Catalogue(tmp_path) as catalogue:
        catalogue.cameras()
        there = list(tmp_path.iterdir())
        assert len(there) >= 7
        for path in there:
            assert (path.stat().st_uid, path.stat().st_gid) == (900, 901), path
            assert path.stat().st_mode & 0o777 == 0o600
