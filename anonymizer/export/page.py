"""The package's page for a lay reader: one HTML file that loads nothing but the package's videos."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from anonymizer.export.statement import Block, Facts, Player, Section, Table

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.notice { border: 2px solid; padding: .5rem 1rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; } .wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8886; }
td { overflow-wrap: anywhere; min-width: 5rem; } tbody th { font-weight: 600; width: 14rem; }
video { width: 100%; background: #000; } figure { margin: 1rem 0; }
"""
_POLICY = (
    "default-src 'none'; media-src 'self' file:; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)


def render(sections: Sequence[Section]) -> bytes:
    """The page. The first paragraph is the notice that must be seen."""
    title = "Video package"
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
    ]
    notice = sections[0].blocks[0]
    for section in sections:
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>")
        parts += [_block(block, ' class="notice"' if block is notice else "") for block in section.blocks]
        parts.append("</section>")
    parts.append("</body>\n</html>\n")
    return "\n".join(parts).encode()


def _block(block: Block, mark: str) -> str:
    match block:
        case str():
            return f"<p{mark}>{escape(block)}</p>"
        case Facts(rows):
            lines = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
            return "\n".join(["<table><tbody>", *lines, "</tbody></table>"])
        case Table(head, body):
            names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
            cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body)
            lines = (f"<tr>{row}</tr>" for row in cells)
            top = f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>'
            return "\n".join([top, *lines, "</tbody></table></div>"])
        case Player(path, title):
            said = f'<figcaption>{escape(title)} (<a href="{escape(path)}">{escape(path)}</a>)</figcaption>'
            return f'<figure>\n<video controls preload="metadata" src="{escape(path)}"></video>\n{said}\n</figure>'
