"""The package's report as PDF: the same text as the page, for filing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF, XPos, YPos
from fpdf.fonts import FontFace

from anonymizer.export.statement import Block, Facts, Player, Section, Table

FONTS = Path("/usr/share/fonts/truetype/dejavu")
"""Where Debian has DejaVu Sans (package fonts-dejavu-core)."""
_PLAIN, _BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"
_SIZE, _SMALL = 10, 8  # points
_KEPT = 28.0  # millimetres that a heading keeps with what follows it
_CELL = 600  # characters; a row must fit on a page


def render(sections: Sequence[Section], now: float, fonts: Path = FONTS) -> bytes:
    """now: UTC seconds. fonts: a folder with DejaVu Sans.

    Without it the PDF's own fonts serve, which know Western European letters only: others appear as their code, such
    as ``\\u0142``, and never as another letter.
    """
    pdf = _Report(fonts)
    pdf.set_creation_date(datetime.fromtimestamp(now, UTC))
    pdf.set_title("Video package")
    pdf.set_lang("en")
    pdf.add_page()
    pdf.heading("Video package", 18)
    notice = sections[0].blocks[0]
    for section in sections:
        pdf.heading(section.title, 13)
        for block in section.blocks:
            pdf.block(block, bold=block is notice)
    return bytes(pdf.output())


class _Report(FPDF):
    def __init__(self, fonts: Path) -> None:
        super().__init__(format="A4")
        self._unicode = (fonts / _PLAIN).is_file() and (fonts / _BOLD).is_file()
        if self._unicode:
            self.add_font("text", "", fonts / _PLAIN)
            self.add_font("text", "B", fonts / _BOLD)
        self._family = "text" if self._unicode else "helvetica"
        self.set_auto_page_break(True, 18)
        self.alias_nb_pages()

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font(self._family, "", _SMALL)
        self.cell(0, 6, f"{self.page_no()} / {{nb}}", align="C")

    def heading(self, text: str, size: int) -> None:
        if self.will_page_break(_KEPT):
            self.add_page()
        self.ln(3)
        self.set_font(self._family, "B", size)
        self._lines(text, size * 0.5)
        self.ln(1)

    def block(self, block: Block, *, bold: bool) -> None:
        self.set_font(self._family, "B" if bold else "", _SIZE)
        match block:
            case str():
                self._lines(block, 5)
            case Player(path, title):
                self._lines(f"{title}: {path}", 5)
            case Facts(rows):
                self._table([], rows, (1, 3))
            case Table(head, rows) if rows:
                self._table(list(head), rows, [_weight(column) for column in zip(head, *rows, strict=True)])
            case _:
                self._lines("none", 5)
        self.ln(2)

    def _lines(self, text: str, height: float) -> None:
        self.multi_cell(0, height, self._known(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _table(self, head: list[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
        self.set_font(self._family, "", _SMALL)
        with self.table(
            col_widths=tuple(widths), text_align="LEFT", line_height=4, padding=0.6,
            headings_style=FontFace(emphasis="B"), first_row_as_headings=bool(head), borders_layout="HORIZONTAL_LINES",
        ) as table:  # fmt: skip
            for row in [head, *rows] if head else rows:
                line = table.row()
                for number, cell in enumerate(row):
                    text = cell if len(cell) <= _CELL else f"{cell[:_CELL]} … (whole in index.html)"
                    line.cell(self._known(text), style=None if head or number else FontFace(emphasis="B"))

    def _known(self, text: str) -> str:
        """Only what the font can show."""
        return text if self._unicode else text.encode("latin-1", "backslashreplace").decode("latin-1")


def _weight(column: Sequence[str]) -> int:
    """A column's share of the width: what its longest text needs, within bounds that leave room for the others."""
    return min(40, max(10, *map(len, column)))
