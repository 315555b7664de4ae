"""The report: one page that needs nothing else, and the same figures as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from anonymizer.errors import PublishError
from anonymizer.evaluate import page, plot
from anonymizer.evaluate.figure import Figure, Section
from anonymizer.evaluate.statistics import Rate


def section() -> Section:
    out = Section("Recall <1>", "About & so on")
    out.share("covered", "all", Rate(0.9876, 50, 5, 0.9, 1.0), "Counted.")
    out.share("covered", "none", None, "Counted.")
    out.figure("spill", "picture", 1.5, "%", 10, "Painted.")
    out.plots += [
        plot.bars("a < b", [("x & y", 50, 40, 60)], 0, 100),
        plot.histogram("h", [("one", np.array([0.1, 0.2, 2.0])), ("none", np.zeros(0))], 0, 1),
        plot.scatter("s", [(0.1, 0.2)], "across", "up", 1.0),
    ]
    out.sheets.append(("48 px", np.full((16, 16, 3), 128, np.uint8)))
    return out


def test_the_page_stands_alone_and_says_what_figures_say(tmp_path: Path) -> None:
    html, data = page.write(tmp_path, "Title", [("clip", "a<b>.mp4")], [section()])
    text = html.read_text()
    assert "98.8 (90.0 to 100.0) %" in text and "Counted." in text
    assert "a&lt;b&gt;.mp4" in text and "Recall &lt;1&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    figures = json.loads(data.read_text())["sections"][0]["figures"]
    assert figures[0]["value"] == pytest.approx(98.76) and figures[0]["interval"] == pytest.approx([90, 100])
    assert figures[1]["value"] is None and "too little" in figures[1]["how"]
    assert all(figure["how"] and "count" in figure for figure in figures)


def test_plots_are_well_formed() -> None:
    for svg in section().plots:
        ElementTree.fromstring(svg)
    bars = ElementTree.fromstring(plot.bars("t", [("half", 50, 40, 60), ("full", 100, 90, 100)], 0, 100))
    widths = [float(rect.attrib["width"]) for rect in bars.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)


def test_values_in_words() -> None:
    assert Figure("a", "b", None, "%", 0, "").text() == "–"
    assert Figure("a", "b", 3.0, "", 0, "").text() == "3"
    assert Figure("a", "b", 0.123456, "s", 0, "").text() == "0.123 s"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="evaluation"):
        page.write(tmp_path / "nowhere", "t", [], [])
