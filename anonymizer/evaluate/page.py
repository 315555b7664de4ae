"""The report of an evaluation: one HTML file that needs nothing else, and one JSON file with the same figures."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2

from anonymizer.errors import PublishError
from anonymizer.evaluate.figure import Section
from anonymizer.frame import U8

LIMITS = (
    "These figures speak of faces alone. Gait, build, clothes, hair, voice, companions, places and times remain, and "
    "can tell who somebody is. A recogniser that was not tried may do better than those that were. A figure holds for "
    "the footage it was measured on."
)

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; background: #fff }
h1, h2 { font-weight: 600 } h2 { margin-top: 2.2em; border-bottom: 1px solid #bbb }
table { border-collapse: collapse; width: 100%; font-size: 13px }
th, td { text-align: left; padding: 2px 8px 2px 0; vertical-align: top; border-bottom: 1px solid #e4e4e4 }
td.n { text-align: right; white-space: nowrap } td.how { color: #555 }
figure { margin: 1em 0 } figcaption { font-size: 13px; color: #555 }
svg, img { max-width: 100%; height: auto }
"""


def html(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page. facts: what was run on what, for the head of it."""
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>", f"<h1>{escape(title)}</h1>",
        "<table>", *(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts), "</table>",
        f"<p>{escape(LIMITS)}</p>",
    ]  # fmt: skip
    for section in sections:
        parts += [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.about)}</p>"]
        parts += ["<table><tr><th>figure</th><th>of</th><th>value</th><th>count</th><th>how it was made</th></tr>"]
        for figure in section.figures:
            parts.append(
                f"<tr><td>{escape(figure.name)}</td><td>{escape(figure.of)}</td>"
                f'<td class="n">{escape(figure.text())}</td><td class="n">{figure.count}</td>'
                f'<td class="how">{escape(figure.how)}</td></tr>'
            )
        parts.append("</table>")
        parts += [f"<figure>{plot}</figure>" for plot in section.plots]
        parts += [_sheet(caption, picture) for caption, picture in section.sheets]
    return "\n".join([*parts, "</body></html>\n"])


def plain(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> dict[str, Any]:
    """The same figures for programs."""
    return {
        "title": title,
        "facts": dict(facts),
        "limits": LIMITS,
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


def _sheet(caption: str, picture: U8) -> str:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    text = base64.b64encode(data.tobytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/jpeg;base64,{text}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
