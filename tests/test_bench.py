"""What the benchmarks print."""

from __future__ import annotations

import pytest

from tests.bench import bars


def test_a_clip_that_could_not_be_scored_is_named_beside_the_pooled_figures(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"faces": 3, "cov": 100.0, "cov_bins": [100.0] * 4, "longest": 0, "spill": 0.0, "fp_per_frame": 0.0}
    scores = {"clips": {"street.json": row, "asl_no.json": row}, "total": row}
    known = {"y1": {"match": 1.0, "control": 0.5}}
    bars.show(scores, {"street": {"reid_faces": 10, "reid": known}, "asl_no": {"error": "no [video]"}}, [0, 0, 0, 0])
    lines = capsys.readouterr().out.splitlines()
    assert any("asl_no" in line and "leak.py failed" in line and "│" in line for line in lines)
    assert "asl_no: leak.py failed: no [video]" in lines
    assert "y1: still matching 1.00 % of 10 faces, control 0.50 %, without asl_no" in lines
