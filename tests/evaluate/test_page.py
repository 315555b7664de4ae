"""The report: one page that needs nothing else, and the same figures as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

from anonymizer.errors import PublishError
from anonymizer.evaluate import page as report
from anonymizer.evaluate import plot
from anonymizer.evaluate.figure import Figure, Goal, Section
from anonymizer.evaluate.statistics import Rate, rate

if TYPE_CHECKING:
    from playwright.sync_api import Page


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
    html, data = report.write(tmp_path, "Title", [("clip", "a<b>.mp4")], [section()])
    text = html.read_text()
    assert "98.8 (90.0 to 100.0) %" in text and "Counted." in text
    assert "a&lt;b&gt;.mp4" in text and "Recall &lt;1&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "<script" not in text
    targets = set(re.findall(r'href="#([^"]+)"', text))
    assert targets == set(re.findall(r'id="([^"]+)"', text)) == {"recall-1", "conditions"}
    figures = json.loads(data.read_text())["sections"][0]["figures"]
    assert figures[0]["value"] == pytest.approx(98.76) and figures[0]["interval"] == pytest.approx([90, 100])
    assert figures[1]["value"] is None and "verdict" not in figures[1]
    assert all(figure["how"] and "count" in figure for figure in figures)


def test_goals_are_told_first_with_what_the_interval_leaves_open() -> None:
    made = section()
    made.share("covered", "faces", Rate(0.985, 50, 5, 0.97, 0.99), "Counted.", Goal(98, least=True))
    made.number("error", "faces", Rate(0.06, 50, 5, 0.055, 0.07), "Measured.", "%", 100, Goal(5))
    made.number("energy", "faces", Rate(1.1, 50, 5, 1.0, 1.15), "Measured.", goal=Goal(1.2))
    made.number("energy", "nothing", None, "Measured.", goal=Goal(1.2))
    verdicts = [figure.verdict() for _, figure in report.goals([made])]
    assert verdicts == ["met, not sure", "missed", "met", ""]
    text = report.html("t", [], [made])
    assert text.index("<h2>Goals</h2>") < text.index("Recall &lt;1&gt;</h2>")
    assert '<td class="missed">missed</td>' in text and "98.5 (97.0 to 99.0) %" in text
    assert "Goals" not in report.html("t", [], [section()]).split("</nav>")[1]


def test_the_page_in_a_browser(page: Page, tmp_path: Path) -> None:
    html, _ = report.write(tmp_path, "Title", [("clip", "a.mp4")], [section()])
    page.goto(html.as_uri())
    assert page.locator("svg").count() == 3
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400  # wide tables scroll by themselves
    page.get_by_role("link", name="Conditions").click()
    assert page.evaluate("location.hash") == "#conditions"


def test_plots_are_well_formed() -> None:
    for svg in section().plots:
        ElementTree.fromstring(svg)
    bars = ElementTree.fromstring(plot.bars("t", [("half", 50, 40, 60), ("full", 100, 90, 100)], 0, 100))
    widths = [float(rect.attrib["width"]) for rect in bars.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)


def test_values_in_words() -> None:
    assert Figure("a", "b", None, "%", 0, "").text() == "too little to say"
    assert Figure("a", "b", 3.0, "", 0, "").text() == "3"
    assert Figure("a", "b", 0.123456, "s", 0, "").text() == "0.123 s"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="evaluation"):
        report.write(tmp_path / "nowhere", "t", [], [])


def test_nothing_is_sure_without_an_interval_and_what_is_no_number_is_left_out() -> None:
    one = Section("a", "b")
    one.share("found", "x", rate(np.ones(3, bool), np.array(["a"] * 3)), "", Goal(98, least=True))
    assert one.figures[0].verdict() == "met, not sure"
    for value in (float("nan"), float("inf")):
        figure = Figure("n", "o", value, "", 1, "h", value, value, goal=Goal(5))
        assert figure.text() == "too little to say" and figure.verdict() == ""
        json.loads(json.dumps(figure.plain(), allow_nan=False))
