"""The report of an evaluation: one HTML file that needs nothing else, and one JSON file with the same figures."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2

from anonymizer.errors import PublishError
from anonymizer.evaluate.figure import Figure, Section
from anonymizer.frame import U8

LIMITS = (
    "These figures speak of faces alone. Gait, build, clothes, hair, voice, companions, places and times remain, and "
    "can tell who somebody is. A recogniser that was not tried may do better than those that were. A figure holds for "
    "the footage it was measured on."
)
READING = (
    "Ranges in brackets are 95 % intervals, from resampling people or tracks and not single faces, which are not "
    "independent; where something never or always happened they are the exact bound. Counts say on how many faces, "
    "pairs or frames a figure rests. Goals are this project's own."
)

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 64em; padding: 0 1em; color: #222; background: #fff }
h1, h2 { font-weight: 600; line-height: 1.2 }
h2 { margin-top: 2.2em; border-bottom: 1px solid #bbb; padding-bottom: .2em }
a { color: #1f5fa8 } nav a { margin-right: 1.2em }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 13px; margin: 1em 0 }
th, td { text-align: left; padding: 2px 12px 2px 0; vertical-align: top; border-bottom: 1px solid #e8e8e8 }
.n { text-align: right; white-space: nowrap }
tr.group td { padding-top: .9em; border-bottom: 1px solid #bbb } .how { color: #555 }
.met { color: #2e6b22 } .missed { color: #a3301c }
.plots { display: flex; flex-wrap: wrap; gap: 1em } figure { margin: 1em 0 }
figcaption { font-size: 13px; color: #555 }
svg, img { max-width: 100%; height: auto }
@media print { body { margin: 0; max-width: none } tr { break-inside: avoid } figure { break-inside: avoid } }
"""


def html(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page. facts: what was run on what, for the head of it."""
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>", f"<h1>{escape(title)}</h1>",
        f"<p>{escape(LIMITS)}</p>", f"<p>{escape(READING)}</p>",
        "<nav>", *(f'<a href="#{_anchor(s)}">{escape(s.title)}</a>' for s in sections),
        '<a href="#conditions">Conditions</a></nav>', *_summary(sections),
    ]  # fmt: skip
    for section in sections:
        parts += [f'<h2 id="{_anchor(section)}">{escape(section.title)}</h2>', f"<p>{escape(section.about)}</p>"]
        parts += [*_figures(section), '<div class="plots">', *(f"<figure>{plot}</figure>" for plot in section.plots)]
        parts += ["</div>", *(_sheet(caption, picture) for caption, picture in section.sheets)]
    parts += ['<h2 id="conditions">Conditions</h2><div class="wide"><table>']
    parts += [f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts]
    return "\n".join([*parts, "</table></div></body></html>\n"])


def goals(sections: Sequence[Section]) -> list[tuple[Section, Figure]]:
    """The figures that have a goal."""
    return [(section, figure) for section in sections for figure in section.figures if figure.goal is not None]


def plain(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> dict[str, Any]:
    """The same figures for programs."""
    return {
        "title": title,
        "facts": dict(facts),
        "limits": LIMITS,
        "reading": READING,
        "sections": [
            {"title": s.title, "about": s.about, "figures": [figure.plain() for figure in s.figures]} for s in sections
        ],
    }


def write(folder: Path, title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> tuple[Path, Path]:
    """``evaluation.html`` and ``evaluation.json`` in the folder. PublishError where they cannot be written."""
    texts = (
        (folder / "evaluation.html", html(title, facts, sections)),
        (folder / "evaluation.json", json.dumps(plain(title, facts, sections), indent=1) + "\n"),
    )
    for path, text in texts:
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            raise PublishError(f"{path}: the report cannot be written ({error.strerror})") from error
    return texts[0][0], texts[1][0]


def _summary(sections: Sequence[Section]) -> Iterator[str]:
    chosen = goals(sections)
    if not chosen:
        return
    yield '<h2>Goals</h2><div class="wide"><table><tr><th>part</th><th>figure</th><th>of</th><th class="n">value</th>'
    yield '<th class="n">goal</th><th></th><th class="n">count</th></tr>'
    for section, one in chosen:
        verdict = one.verdict()
        yield f'<tr><td><a href="#{_anchor(section)}">{escape(section.title)}</a></td>'
        yield (
            f'<td>{escape(one.name)}</td><td>{escape(one.of)}</td><td class="n">{escape(one.text())}</td>'
            f'<td class="n">{escape(str(one.goal))}</td><td class="{verdict.split(",")[0]}">{escape(verdict)}</td>'
            f'<td class="n">{one.count}</td></tr>'
        )
    yield "</table></div>"


def _figures(section: Section) -> Iterator[str]:
    """Figures of one name and making stand together, under what they have in common."""
    together: dict[tuple[str, str], list[Figure]] = {}
    for figure in section.figures:
        together.setdefault((figure.name, figure.how), []).append(figure)
    yield '<div class="wide"><table>'
    for (name, how), figures in together.items():
        yield f'<tr class="group"><td colspan="4"><b>{escape(name)}</b>'
        yield f'<div class="how">{escape(how)}</div></td></tr>'
        for figure in figures:
            count = f"{figure.count}, {figure.over}" if figure.over else str(figure.count)
            yield f'<tr><td>{escape(figure.of)}</td><td class="n">{escape(figure.text())}</td>'
            goal, word = ("", "") if figure.goal is None else (f"{figure.goal}: {figure.verdict()}", figure.verdict())
            yield f'<td class="{word.split(",")[0]}">{escape(goal)}</td><td class="n">{escape(count)}</td></tr>'
    yield "</table></div>"


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")


def _sheet(caption: str, picture: U8) -> str:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    text = base64.b64encode(data.tobytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{text}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
