from __future__ import annotations

import dataclasses
import io
import typing
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pypdf import PdfReader

from anonymizer.export import document, package, page, particulars, statement
from anonymizer.export.contents import Contents, Redaction, Trail, Video
from anonymizer.export.statement import Facts, Table
from anonymizer.record import label
from anonymizer.record.chain import START as FIRST
from anonymizer.record.chain import Entry
from tests import videos
from tests.export import packages
from tests.export.packages import NOW, START, contents, files, signing
from tests.export.scene import CONTROLLER

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = """<script>alert(1)</script>'"><img src=http://evil.example/x onerror=alert(2)> & </td></style>{nb} ]]>"""
VOID = {"meta", "img", "br", "link", "input"}


class Parsed(HTMLParser):
    """Tags in their order, attributes, and the text; a tag that is not closed is an error."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(data.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def render(whole: Contents) -> Parsed:
    return Parsed(page.render(statement.sections(whole, NOW)))


def pdf_text(whole: Contents, fonts: Path | None = None) -> str:
    told = statement.sections(whole, NOW)
    data = document.render(told, NOW) if fonts is None else document.render(told, NOW, fonts)
    pages = PdfReader(io.BytesIO(data)).pages
    return " ".join(" ".join(one.extract_text().split()) for one in pages)


def poisoned(value: Any) -> Any:
    """The same data with a hostile text wherever a text may stand."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, Trail | Path):
        return value
    if isinstance(value, tuple):
        return tuple(map(poisoned, value))
    if isinstance(value, Mapping):
        return {f"{HOSTILE}{name}": poisoned(one) for name, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = typing.get_type_hints(type(value))
        free = [f.name for f in dataclasses.fields(value) if typing.get_origin(kinds[f.name]) is not typing.Literal]
        return replace(value, **{name: poisoned(getattr(value, name)) for name in free})
    return value


def test_everything_that_a_reader_must_know_is_said(tmp_path: Path) -> None:
    whole = contents(tmp_path)
    for text in (" ".join(render(whole).text.split()), pdf_text(whole)):
        for said in (
            label.NOTICE, packages.CASE, "Art. 15 GDPR", "ID seen, note 5", "B. Reeve", "To be answered by",
            "third person", "the whole picture was covered", "small and from the side", "C. Shaw", "camera lost",
            "+0.250 s", "Voices of others", "unsealed", "exported", "ef" * 32, "DPIA-4", "0.1 %", "Mill Lane Ltd",
            "Art. 16", "Art. 17", "Art. 18", "Art. 21", "Art. 77", "supervisory authority", "must be deleted by",
            "court", "anonymizer verify PACKAGE --trust KEY", whole.id,
        ):  # fmt: skip
            assert said.replace(" ", "") in text.replace(" ", ""), said


def test_what_is_not_there_is_said_too(tmp_path: Path) -> None:
    whole = contents(tmp_path)
    bare = replace(
        whole, videos=(), redactions=(), covered=(), doubts=(), signoff=None,
        identifiability=replace(whole.identifiability, figures=(), dpia=""),
        completeness=replace(whole.completeness, gaps=(), clocks=()),
        retention=replace(whole.retention, holds=(), deletions=()),
        request=replace(whole.request, verification=None, received=None, deadline=None),
    )  # fmt: skip
    text = render(bare).text
    for said in (
        "There are no videos", "No face was found", "no moment", "Nobody has reviewed", "Nothing of the time asked for",
        "No figures", "no reference was given", "no legal hold",
    ):  # fmt: skip
        assert said in text, said
    assert "Identity checked" not in text and "does not apply" not in text
    assert "Nobody has reviewed" in pdf_text(bare)


def test_what_the_controller_says_of_itself_stands_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "controller.yaml").write_text(f"{CONTROLLER}officer: dpo@mill.example\ntransfers: none to anywhere\n")
    own = particulars.read(tmp_path / "controller.yaml")
    text = render(contents(tmp_path, notice=own.notice, identifiability=own.identifiability)).text
    for said in (
        "Controller|Mill Lane Ltd, 1 Mill Lane", "Contact|privacy@mill.example",
        "Data protection officer|dpo@mill.example",
        "Purposes|safety of the yard", "Recipients|the person who asks", "Kept for|30 days",
        "Where the data comes from|cameras in the yard", "Transfers to other countries|none to anywhere",
        "Supervisory authority|the supervisory authority", "DPIA-4", "recognised again|0.4 %|three clips",
    ):  # fmt: skip
        assert said.replace("|", "") in text, said


def test_no_text_becomes_a_part_of_the_page(tmp_path: Path) -> None:
    whole = contents(tmp_path)
    entry = Entry.make(0, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, FIRST)
    hostile = replace(poisoned(whole), trail=Trail((entry.line(),), b""))
    plain, found = render(whole), render(hostile)
    assert set(found.tags) == set(plain.tags) and "script" not in found.tags and "img" not in found.tags
    assert {name for name, _ in found.attributes} == {name for name, _ in plain.attributes}
    assert found.text.count("<script>alert(1)</script>") > 40
    assert all(value is None or not value.startswith(("http:", "https:", "//")) for _, value in found.attributes)
    assert "<script>" in pdf_text(hostile)


def test_a_long_table_is_cut_and_says_so(tmp_path: Path) -> None:
    row = Redaction("gate.mp4", "t", START, START + 1, 25, "blur", "blur", "default", "third person")
    whole = replace(contents(tmp_path), redactions=(row,) * 500)
    assert render(whole).text.count("third person") == 200
    assert "300 more lines in redactions.json." in render(whole).text
    facts = next(
        b for s in statement.sections(whole, NOW) for b in s.blocks if isinstance(b, Facts) and len(b.rows) == 1
    )
    assert facts.rows == (("blurred", "500 times"),)


def test_an_unknown_method_is_named_as_it_is(tmp_path: Path) -> None:
    row = Redaction("gate.mp4", "t", START, START + 1, 25, "solid", "mosaic", "default", "x")
    tables = [b for s in statement.sections(replace(contents(tmp_path), redactions=(row,)), NOW) for b in s.blocks]
    assert any(isinstance(b, Table) and b.rows and b.rows[0][2:3] == ("mosaic",) for b in tables)


def test_times_of_one_day_name_it_once() -> None:
    assert statement.span(START, START + 10) == "2026-09-21 14:13:20 to 14:13:30 UTC"
    assert statement.span(START, START + 86400) == "2026-09-21 14:13:20 to 2026-09-22 14:13:20 UTC"


def test_lines_of_a_table_tell_tenths_of_a_second() -> None:
    assert statement.exact(START + 0.26, START + 1.96) == "2026-09-21 14:13:20.3 to 14:13:22.0"
    assert statement.exact(START, START + 86400.04) == "2026-09-21 14:13:20.0 to 2026-09-22 14:13:20.0"


def test_letters_of_every_european_script_stand_in_the_pdf(tmp_path: Path) -> None:
    if not (document.FONTS / "DejaVuSans.ttf").is_file():
        pytest.skip("needs DejaVu Sans (Debian package fonts-dejavu-core)")
    whole = contents(tmp_path, request=replace(packages.request(), recipient="Żółć Łódź Αθήνα Софія Søren"))
    assert "Żółć Łódź Αθήνα Софія Søren" in pdf_text(whole)


def test_without_fonts_other_letters_stand_as_their_code(tmp_path: Path) -> None:
    whole = contents(tmp_path, request=replace(packages.request(), recipient="Søren Łódź – “x”"))
    text = pdf_text(whole, tmp_path / "no fonts here")
    assert r"Søren \u0141ód\u017a \u2013 \u201cx\u201d" in text and packages.CASE in text


def test_a_text_longer_than_a_page_of_the_pdf_is_cut_there(tmp_path: Path) -> None:
    long = "word " * 2000 + "x" * 5000
    row = Redaction("gate.mp4", long, START, START + 1, 25, "blur", "blur", long, long)
    whole = contents(tmp_path, redactions=(row,), request=replace(packages.request(), reason=long))
    assert pdf_text(whole).count("(whole in index.html)") == 4
    assert pdf_text(whole, tmp_path).count("(whole in index.html)") == 4
    assert render(whole).text.count(long) == 4


def test_a_browser_shows_the_page_and_plays_the_video_and_loads_nothing_else(tmp_path: Path, page: Page) -> None:
    video = videos.write(tmp_path / "yard.mp4", count=50)
    whole = contents(tmp_path, videos=(Video("yard.mp4", video, HOSTILE, START, START + 2, 50, ()),))
    whole = replace(whole, request=replace(whole.request, reason=HOSTILE))
    package.write(tmp_path / "p.zip", whole, signing(tmp_path / "state"), NOW)
    unpacked = tmp_path / "unpacked"
    for name, data in files((tmp_path / "p.zip").read_bytes()).items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(data)
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((unpacked / "index.html").as_uri())
    played = page.evaluate(
        "async () => { const v = document.querySelector('video'); v.muted = true; await v.play();"
        " await new Promise(r => v.onended = r); return [v.videoWidth, v.duration] }"
    )
    assert played == [192, pytest.approx(2, abs=0.1)]
    assert not told
    assert set(asked) == {(unpacked / name).as_uri() for name in ("index.html", "videos/yard.mp4")}
    assert HOSTILE.split("{", maxsplit=1)[0] in page.inner_text("body")
    bold = page.evaluate("getComputedStyle(document.querySelector('.notice')).fontWeight")
    assert bold == "600", "the style is the one that the policy lets through"
