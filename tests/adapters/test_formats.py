"""Each format comes out as Markdown that keeps headings, lists, tables, and slide and sheet numbers."""
# ruff: noqa: RUF001  (letters of other scripts look alike)

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.extraction.extractor import SubprocessExtractor
from domain.chunking import split
from domain.chunks import Page, PlannedChunk
from domain.documents import Format
from domain.errors import ArchiveTooLarge, CorruptFile, DomainError, EncryptedFile, ExtractionLimit, NoText
from domain.formats import HEAD_BYTES, TAIL_BYTES, detect
from domain.ports import ExtractionJob, ExtractionLimits
from tests.office_files import a_docx, a_pptx, a_zip, an_epub, an_ods, an_odt, an_xlsx, docx_paragraph, docx_table

LIMITS = ExtractionLimits(
    memory_bytes=512 << 20, cpu_seconds=20, wall_seconds=60, pages=50, output_bytes=4 << 20, archive_bytes=64 << 20
)

ROOT = Path(__file__).parents[2]
Read = Callable[..., Awaitable[list[Page]]]


@pytest_asyncio.fixture
async def extractor() -> AsyncIterator[SubprocessExtractor]:
    async with SubprocessExtractor() as extractor:
        yield extractor


@pytest.fixture
def read(extractor: SubprocessExtractor, tmp_path: Path) -> Read:
    """Detect as an upload does, then extract."""

    async def run(content: bytes, name: str, **more: Any) -> list[Page]:
        kind, _ = detect(content[:HEAD_BYTES], name, None, content[-TAIL_BYTES:])
        source, target = tmp_path / "source", tmp_path / "pages.jsonl"
        source.write_bytes(content)
        encoding = more.pop("encoding", None)
        job = ExtractionJob(source, target, kind, replace(LIMITS, **more), encoding)
        try:
            await extractor.extract(job, lambda *_: None)
        except DomainError:
            assert not target.exists(), "a failed extraction leaves no pages behind"
            raise
        return [Page.from_line(line) for line in target.read_bytes().splitlines()]

    return run


def text_of(pages: list[Page]) -> str:
    return "".join(page.text for page in pages)


def chunks_of(pages: list[Page], kind: Format, **sizes: int) -> list[PlannedChunk]:
    return list(split(pages, format=kind, **sizes))


async def test_a_word_document_keeps_headings_lists_and_tables(read: Read) -> None:
    body = (
        docx_paragraph("Leave", "Heading1")
        + docx_paragraph("Everyone has thirty days.")
        + docx_paragraph("Carry over", "Heading2")
        + docx_table([["Year", "Days"], ["2025", "5 | 6"]])
    )
    pages = await read(a_docx(body), "a.docx")
    assert text_of(pages) == (
        "# Leave\n\nEveryone has thirty days.\n\n## Carry over\n\n| Year | Days |\n| --- | --- |\n| 2025 | 5 \\| 6 |"
    )
    assert pages[0].number is None
    assert [chunk.heading_path for chunk in chunks_of(pages, Format.DOCX, size=60, overlap=0)][-1] == (
        "Leave",
        "Carry over",
    )


async def test_word_text_that_looks_like_a_heading_is_none(read: Read) -> None:
    pages = await read(a_docx(docx_paragraph("# not a heading")), "a.docx")
    assert chunks_of(pages, Format.DOCX)[0].heading_path == ()


async def test_slides_are_pages_with_titles_and_notes(read: Read) -> None:
    deck = a_pptx([("Plan", ["First", "Second"], "Say it slowly."), ("", ["Untitled words"], "")])
    pages = await read(deck, "a.pptx")
    assert [page.number for page in pages] == [1, 2]
    assert pages[0].text == "# Plan\n\nFirst\nSecond\n\nNotes:\n\nSay it slowly."
    assert pages[1].text == "# Slide 2\n\nUntitled words"
    chunks = chunks_of(pages, Format.PPTX, size=60, overlap=0)
    assert [(chunk.page_from, chunk.heading_path) for chunk in chunks] == [(1, ("Plan",)), (2, ("Slide 2",))]


async def test_sheets_are_pages_whose_tables_repeat_their_header(read: Read) -> None:
    rows: list[list[object]] = [["Region", "Sales", "Closed"]]
    rows += [[f"Region {number}", number * 1.5, date(2026, 1, 1)] for number in range(200)]
    book = an_xlsx({"Totals": [["Only a title"]], "Sales 2026": rows})
    pages = await read(book, "a.xlsx")
    assert [page.number for page in pages] == [1, 2]
    assert pages[0].text.strip() == "# Totals\n\nOnly a title"
    chunks = [chunk for chunk in chunks_of(pages, Format.XLSX) if chunk.page_from == 2]
    assert len(chunks) > 5
    for chunk in chunks:
        assert chunk.heading_path == ("Sales 2026",)
        assert "| Region | Sales | Closed |" in chunk.content
        assert all(line.startswith(("|", "#")) and line.endswith(("|", "2026")) for line in chunk.content.split("\n") if line)  # fmt: skip
    assert "| Region 199 | 298.5 | 2026-01-01 |" in chunks[-1].content


async def test_a_merged_cell_gives_its_text_once(read: Read) -> None:
    book = an_xlsx({"S": [["Quarter", None, "Sum"], ["Q1", "x", 2]]}, merged="A1:B1")
    assert "| Quarter |  | Sum |\n| --- | --- | --- |\n| Q1 | x | 2 |" in text_of(await read(book, "a.xlsx"))


async def test_an_opendocument_spreadsheet_is_read_sheet_by_sheet(read: Read) -> None:
    pages = await read(an_ods({"One": [["k", "v"], ["a", "b"]], "Two": [["x", "y"]]}), "a.ods")
    assert [(page.number, page.text.strip()) for page in pages] == [
        (1, "# One\n\n| k | v |\n| --- | --- |\n| a | b |"),
        (2, "# Two\n\n| x | y |\n| --- | --- |"),
    ]


async def test_a_blank_row_starts_a_table_of_its_own_header(read: Read) -> None:
    rows: list[list[object]] = [
        ["Report"],
        [],
        ["Month", "Sales"],
        ["Jan", 1],
        [],
        ["Feb", 2],
        [],
        ["City", "Staff"],
        ["Bonn", 3],
    ]
    text = text_of(await read(an_xlsx({"S": rows}), "a.xlsx"))
    assert text.strip() == (
        "# S\n\nReport\n\n| Month | Sales |\n| --- | --- |\n| Jan | 1 |\n\n| Month | Sales |\n| --- | --- |\n"
        "| Feb | 2 |\n\n| City | Staff |\n| --- | --- |\n| Bonn | 3 |"
    )


async def test_a_sheet_that_claims_a_million_rows_is_read_by_what_it_holds(read: Read) -> None:
    text = text_of(await read(an_xlsx({"S": [["first corner"]]}, corner="last corner"), "a.xlsx"))
    assert "first corner" in text
    assert "last corner" in text


async def test_an_opendocument_text_keeps_headings_lists_and_tables(read: Read) -> None:
    body = (
        '<text:h text:outline-level="1">Title</text:h><text:p>Words.</text:p>'
        "<text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>"
        '<text:h text:outline-level="2">Inner</text:h>'
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell>"
        "<text:p>b</text:p></table:table-cell></table:table-row></table:table>"
    )
    text = text_of(await read(an_odt(body), "a.odt"))
    assert text.startswith("# Title\n\nWords.")
    assert "-  one" in text
    assert "## Inner" in text
    assert "| a | b |" in text


async def test_an_ebook_is_read_in_the_order_of_its_spine(read: Read) -> None:
    pages = await read(an_epub(["<h1>One</h1><p>First.</p>", "<h1>Two</h1><p>Second.</p>"]), "a.epub")
    assert text_of(pages) == "# One\n\nFirst.\n\n# Two\n\nSecond.\n\n"
    assert {page.number for page in pages} == {None}


async def test_a_web_page_loses_what_stands_round_its_content(read: Read) -> None:
    page = (
        "<!DOCTYPE html><html><head><title>Leave &amp; more</title><style>x{}</style></head><body>"
        "<nav>Home | About</nav><main><h2>Days</h2><p>Thirty days.</p><ul><li>a</li></ul>"
        '<table><tr><th>k</th></tr><tr><td>v</td></tr></table><img src="data:image/png;base64,' + "A" * 100_000 + '">'
        "<script>var code = 1</script><!-- comment --></main><footer>Imprint</footer></body></html>"
    )
    text = text_of(await read(page.encode(), "a.bin"))
    assert text == "# Leave & more\n\n## Days\n\nThirty days.\n\n- a\n\n| k |\n| --- |\n| v |"


async def test_a_page_that_is_all_navigation_is_kept(read: Read) -> None:
    assert "Only links" in text_of(await read(b"<html><nav>Only links</nav></html>", "a.html"))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "koi8-r", "utf-16"])
async def test_a_web_page_is_read_in_its_encoding_whatever_it_declares(read: Read, encoding: str) -> None:
    words = "Съешь же ещё этих мягких булок" if encoding == "koi8-r" else "Größe der Bäume für die Städte"
    page = f'<html><meta charset="utf-8"><p>{words}</p></html>'
    assert words in text_of(await read(page.encode(encoding), "a.html"))


async def test_every_table_of_a_csv_names_its_columns(read: Read) -> None:
    rows = "".join(f'{number};Name {number};"a;b"\n' for number in range(500))
    pages = await read(("Id;Name;Note\n" + rows).encode(), "a.csv")
    chunks = chunks_of(pages, Format.CSV)
    assert len(chunks) > 10
    for chunk in chunks:
        assert chunk.content.startswith("| Id | Name | Note |\n| --- | --- | --- |\n")
        assert chunk.content.endswith("| a;b |")
    assert sum(chunk.content.count("| a;b |") for chunk in chunks) == 500


async def test_a_wide_csv_is_cut_into_bands_that_keep_the_row_s_name(read: Read) -> None:
    head = ",".join(f"column {number}" for number in range(200))
    pages = await read((head + "\n" + ",".join(["Berlin", *map(str, range(1, 200))]) + "\n").encode(), "a.csv")
    [band] = [chunk for chunk in chunks_of(pages, Format.CSV, overlap=0) if "| column 150 |" in chunk.content]
    assert "| column 0 |" in band.content
    assert "| Berlin |" in band.content
    assert "| 150 |" in band.content


async def test_an_email_keeps_who_when_and_what_and_names_its_attachments(read: Read) -> None:
    mail = (
        "From: Alice <a@example.com>\r\nTo: bob@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        "Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/html; charset=utf-8\r\n"
        "\r\n<p>Hello</p>\r\n--c--\r\n--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=t.csv"
        "\r\n\r\nk,v\r\n--b\r\nContent-Type: application/zip\r\nContent-Disposition: attachment; filename=z.zip\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nUEsDBA==\r\n--b--\r\n"
    )
    text = text_of(await read(mail.encode(), "upload"))
    assert text.startswith("# Grüße\n\nFrom: Alice <a@example.com>  \nTo: bob@example.com  \nDate: Mon, 02 Mar 2026")
    assert "\n\nHello\n\n## Attachment: t.csv\n\nk,v\n\n## Attachment: z.zip" in text


async def test_lines_under_words_in_a_mail_make_no_headings(read: Read) -> None:
    mail = b"From: a@b.c\nTo: b@c.d\nSubject: S\nMIME-Version: 1.0\n\nRegards\n-- \nAlice\n====\n# 1\n```\nend"
    pages = await read(mail, "a.eml")
    assert [chunk.heading_path for chunk in chunks_of(pages, Format.EML)] == [("S",)]


async def test_a_line_separator_in_a_cell_is_not_the_end_of_a_row(read: Read) -> None:
    text = text_of(await read("a,b\nx\u2028y,z\n".encode(), "a.csv"))
    assert text == "| a | b |\n| --- | --- |\n| x y | z |\n\n"


async def test_rich_text_gives_its_words_in_its_code_page(read: Read) -> None:
    rtf = rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0 Arial;}}\pard \'cf\'f0\'e8\'e2\'e5\'f2\par Line two\par}"
    assert text_of(await read(rtf, "a.doc")) == "Привет\n\nLine two"


async def test_json_keeps_its_keys(read: Read) -> None:
    text = text_of(
        await read('{"staff": [{"name": "Åsa"}, {"name": "Bo", "days": 30}], "ok": true}'.encode(), "a.json")
    )
    assert text == "staff[1].name: Åsa\nstaff[2].name: Bo\nstaff[2].days: 30\nok: true\n\n"


async def test_json_lines_are_records_apart(read: Read) -> None:
    assert text_of(await read(b'{"a": 1}\n{"a": 2}\n', "a.jsonl")) == "a: 1\n\na: 2\n\n"


async def test_broken_json_is_read_as_the_text_it_is(read: Read) -> None:
    assert text_of(await read(b'{"a": 1, oops', "a.json")) == '{"a": 1, oops'


TEXTS = {
    "cp866": "Я из лесу вышел; был сильный мороз. Гляжу, поднимается медленно в гору лошадка.",
    "cp1251": "Я из лесу вышел; был сильный мороз. Гляжу, поднимается медленно в гору лошадка.",
    "cp1252": "naïve café, 12 € only",
    "latin-1": "Se\xf1or, Gr\xf6\xdfe",
    "utf-16-le": "Größe without a mark",
    "utf-16-be": "Größe without a mark",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "euc_kr": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "cp1250": "Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi pod względem swej godności.",
    "cp1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
}  # fmt: skip


@pytest.mark.parametrize("encoding", TEXTS)
async def test_the_encoding_of_a_text_is_detected(read: Read, encoding: str) -> None:
    assert text_of(await read(TEXTS[encoding].encode(encoding), "a.txt")) == TEXTS[encoding]


async def test_an_encoding_that_is_asked_for_is_taken(read: Read) -> None:
    assert text_of(await read("Größe".encode("cp850"), "a.txt", encoding="cp850")) == "Größe"


async def test_bytes_that_fit_no_encoding_do_not_cost_the_rest(read: Read) -> None:
    damaged = "äöü ".encode() * 20 + b"\xff\xfe needle after bad bytes"
    text = text_of(await read(damaged, "a.txt"))
    assert "needle after bad bytes" in text
    assert text.startswith("äöü äöü")


ENTITY = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
NESTED = "<w:p>" * 100_000 + "</w:p>" * 100_000
BOMB = " " * (40 << 20)


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        pytest.param(a_docx(docx_paragraph("&b;"), prolog=ENTITY), "a.docx", CorruptFile, id="entities in a docx"),
        pytest.param(an_odt("<text:p>&b;</text:p>", prolog=ENTITY), "a.odt", CorruptFile, id="entities in an odt"),
        pytest.param(an_xlsx({"S": [["x"]]}, prolog=ENTITY), "a.xlsx", CorruptFile, id="entities in an xlsx"),
        pytest.param(a_docx(NESTED), "a.docx", CorruptFile, id="nesting in a docx"),
        pytest.param(a_docx(docx_paragraph(BOMB)), "a.docx", ArchiveTooLarge, id="docx bomb"),
        pytest.param(an_epub([BOMB]), "a.epub", ArchiveTooLarge, id="epub bomb"),
        pytest.param(an_odt(BOMB), "a.odt", ArchiveTooLarge, id="odt bomb"),
        pytest.param(a_docx("", more={f"word/{n}": "" for n in range(21_000)}), "a.docx", ArchiveTooLarge, id="parts"),
        pytest.param(a_docx("<w:p><w:r>"), "a.docx", CorruptFile, id="broken xml"),
        pytest.param(a_docx(""), "a.docx", NoText, id="a docx without text"),
        pytest.param(an_xlsx({"S": []}), "a.xlsx", NoText, id="an xlsx without cells"),
        pytest.param(a_zip({"word/other.xml": ""}), "a.docx", CorruptFile, id="a docx without document"),
        pytest.param(an_epub(["x"], encrypted="OEBPS/c 0.xhtml"), "a.epub", EncryptedFile, id="a locked book"),
        pytest.param(an_odt("x", encryption="<manifest:encryption-data/>"), "a.odt", EncryptedFile, id="a locked odt"),
        pytest.param(a_pptx([("t", [], "")] * 51), "a.pptx", ExtractionLimit, id="too many slides"),
        pytest.param(b"<html>" + b"<div>" * 300_000 + b"deep", "a.html", CorruptFile, id="nested html"),
        pytest.param(a_docx(docx_paragraph("x"))[:-40], "a.docx", CorruptFile, id="a docx cut off"),
    ],
)
async def test_what_would_harm_a_reader_ends_in_its_own_error(
    read: Read, content: bytes, name: str, error: type[DomainError]
) -> None:
    with pytest.raises(error):
        await read(content, name)
    assert text_of(await read(b"alive", "a.txt")) == "alive"


def files_under(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def test_names_that_escape_the_folder_write_nothing(read: Read, tmp_path: Path) -> None:
    content = a_docx(docx_paragraph("Harmless"), more={"../../escaped.txt": "x", "/tmp/escaped.txt": "x"})  # noqa: S108  (must not be made)
    assert text_of(await read(content, "a.docx")) == "Harmless"
    assert files_under(tmp_path) == {"source", "pages.jsonl"}
    assert "escaped.txt" not in files_under(tmp_path.parents[1])


async def test_ligatures_and_letters_in_the_shape_of_print_are_spelt_as_people_type_them(read: Read) -> None:
    assert text_of(await read("ﬁnal oﬀer, ﻣﺮﺣﺒﺎ".encode(), "a.txt")) == "final offer, مرحبا"
    assert text_of(await read(a_docx(docx_paragraph("ﬁnal")), "a.docx")) == "final"


@pytest.mark.parametrize("text", ["日本語の文章です。", "สวัสดีชาวโลก", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया"])
async def test_scripts_come_out_as_they_went_in(read: Read, text: str) -> None:
    for content, name in (
        (a_docx(docx_paragraph(text)), "a.docx"), (an_odt(f"<text:p>{text}</text:p>"), "a.odt"),
        (an_epub([f"<p>{text}</p>"]), "a.epub"), (a_pptx([("T", [text], "")]), "a.pptx"),
        (an_xlsx({"S": [[text, text]]}), "a.xlsx"), (f"<html><p>{text}".encode(), "a.html"), (text.encode(), "a.csv"),
    ):  # fmt: skip
        assert text in text_of(await read(content, name)), name


async def test_readers_fetch_nothing(read: Read) -> None:
    """A server counts who connects; every format has something that points to it."""
    asked: list[object] = []

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r9" '
        f'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image" Target="{url}/a.png" '
        'TargetMode="External"/></Relationships>'
    )
    picture = (
        '<w:p><w:r><w:drawing><a:blip xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r='
        '"http://schemas.openxmlformats.org/officeDocument/2006/relationships" r:link="r9"/></w:drawing></w:r></w:p>'
    )
    remote = (
        f'<!DOCTYPE html SYSTEM "{url}/x.dtd"><html><link href="{url}/x.css"><img src="{url}/x.png"><p>words</p></html>'
    )
    for content, name in (
        (a_docx(picture + docx_paragraph("words"), more={"word/_rels/document.xml.rels": relations}), "a.docx"),
        (a_docx(docx_paragraph("words"), prolog=f'<!DOCTYPE r SYSTEM "{url}/x.dtd">'), "b.docx"),
        (an_odt('<text:p>words</text:p><draw:image xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
                f'xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="{url}/x.png"/>'), "a.odt"),
        (remote.encode(), "a.html"), (an_epub([f'<img src="{url}/x.png"/><p>words</p>']), "a.epub"),
        (f"From: a@b.c\nMIME-Version: 1.0\nContent-Type: text/html\n\n{remote}".encode(), "a.eml"),
    ):  # fmt: skip
        with contextlib.suppress(CorruptFile):  # the one with a document type is refused
            assert "words" in text_of(await read(content, name)), name
    server.close()
    await server.wait_closed()
    assert asked == []


def test_a_process_that_left_the_network_gets_no_socket() -> None:
    script = (
        "import socket\nfrom adapters.extraction.seclusion import leave_network\nsocket.socket().close()\nleave_network()\n"
        "try:\n    socket.socket()\nexcept PermissionError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "refused\n"


async def test_json_nested_without_end_is_text_or_refused_but_ends(read: Read) -> None:
    assert text_of(await read(b"[" * 200_000, "a.json")).startswith("[[")
