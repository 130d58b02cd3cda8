"""A PDF's bookmarks become the heading paths of its chunks."""

import io
import json
from pathlib import Path

from pypdf import PdfReader, PdfWriter

from adapters.extraction.extractor import SubprocessExtractor
from adapters.extraction.outline import place
from domain.chunking import split
from domain.chunks import Heading, Page, PlannedChunk
from domain.documents import Format
from domain.ports import ExtractionJob
from tests.pdf_files import a_pdf

SENTENCES = "\n".join("The lamp is lit at dusk, and the keeper writes it down." for _ in range(12))


def with_outline(pages: list[str]) -> bytes:
    """Two chapters, the second with a section in the middle of its page."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(a_pdf(pages))))
    writer.add_outline_item(title="The lighthouse", page_number=0)
    chapter = writer.add_outline_item(title="The harbour", page_number=1)
    writer.add_outline_item(title="  Opening \n hours ", page_number=1, parent=chapter)
    writer.add_outline_item(title="x" * 500, page_number=1)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


async def read(folder: Path, content: bytes) -> list[Page]:
    source, target = folder / "source.pdf", folder / "pages.jsonl"
    source.write_bytes(content)
    async with SubprocessExtractor() as extractor:
        await extractor.extract(ExtractionJob(source, target, Format.PDF), lambda *_: None)
    return [Page.from_line(line) for line in target.read_bytes().splitlines()]


async def chunks_of(folder: Path, content: bytes) -> list[PlannedChunk]:
    return list(split(await read(folder, content), format=Format.PDF, size=400, overlap=50))


async def test_a_chunk_of_a_pdf_lies_under_the_titles_of_its_outline(tmp_path: Path) -> None:
    pages = [f"The lighthouse\n{SENTENCES}", f"The harbour\n{SENTENCES}\n2.1 Opening hours\n{SENTENCES}"]
    chunks = await chunks_of(tmp_path, with_outline(pages))
    paths = list(dict.fromkeys(chunk.heading_path for chunk in chunks))
    assert paths == [("The lighthouse",), ("The harbour",), ("The harbour", "Opening hours")]
    (first,) = (chunk for chunk in chunks if chunk.content.startswith("2.1 Opening hours"))
    assert (first.page_from, first.heading_path) == (2, ("The harbour", "Opening hours"))


async def test_a_pdf_without_an_outline_has_no_paths(tmp_path: Path) -> None:
    assert {chunk.heading_path for chunk in await chunks_of(tmp_path, a_pdf([SENTENCES]))} == {()}


def test_an_entry_whose_title_is_not_on_its_page_begins_where_the_one_before_does() -> None:
    text = "Preface\nA word before.\n1 Knots\nA knot holds.\n"
    placed = place([(1, "Knots"), (2, "Not there (at all)"), (1, "Preface")], text)
    at = text.index("1 Knots")
    assert placed == (Heading(at, 1, "Knots"), Heading(at, 2, "Not there (at all)"), Heading(at, 1, "Preface"))


def test_headings_are_kept_in_a_stored_page_and_cost_nothing_where_there_are_none() -> None:
    page = Page(3, "Knots\nA knot holds.", (Heading(0, 1, "Knots"),))
    assert Page.from_line(page.to_line()) == page
    assert json.loads(Page(1, "a").to_line()) == {"page": 1, "text": "a"}
