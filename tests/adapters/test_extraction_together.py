"""Small documents read by one child: each has its own result, and one that kills the child takes nobody with it."""

from pathlib import Path

import pytest

from adapters.extraction.extractor import SubprocessExtractor
from domain.documents import Format
from domain.errors import DomainError
from domain.ports import ExtractedText, ExtractionJob, ExtractionLimits
from tests.page_images import a_scan, joined
from tests.pdf_files import a_pdf


def jobs(folder: Path, *contents: bytes, limits: ExtractionLimits | None = None) -> list[ExtractionJob]:
    made = []
    for number, content in enumerate(contents):
        source = folder / f"{number}.in"
        source.write_bytes(content)
        kind = Format.PDF if content.startswith(b"%PDF") else Format.TEXT
        made.append(ExtractionJob(source, folder / f"{number}.out", kind, limits or ExtractionLimits()))
    return made


def told(results: list[ExtractedText | DomainError | None]) -> list[str | int | None]:
    return [
        result.pages if isinstance(result, ExtractedText) else None if result is None else result.code
        for result in results
    ]


async def test_each_document_has_its_own_result(tmp_path: Path) -> None:
    given = jobs(tmp_path, a_pdf(["One.", "Two."]), b"%PDF-1.7\nbroken", "Grüße.".encode(), b" \n ", a_pdf(["Last."]))
    async with SubprocessExtractor() as extractor:
        results = await extractor.extract_together(given)
    assert told(results) == [2, "corrupt_file", 1, "no_text", 1]
    assert '"Two."' in given[0].target.read_text()
    assert '"Last."' in given[4].target.read_text()


async def test_a_document_that_kills_the_child_leaves_the_ones_before_it(tmp_path: Path) -> None:
    """More memory than is allowed, or more time: the others are for another child."""
    small = ExtractionLimits(output_bytes=2 << 20, cpu_seconds=1)
    endless = a_pdf(["A page. " * 400] * 3000)
    given = jobs(tmp_path, b"First.", endless, b"Third.", limits=small)
    async with SubprocessExtractor() as extractor:
        results = told(await extractor.extract_together(given))
        again = told(await extractor.extract_together(given[2:]))
    assert results[0] == 1
    assert results[1] in (None, "extraction_limit")
    assert again == [1]


@pytest.mark.parametrize("count", [1, 40])
async def test_any_number_is_read_in_order(tmp_path: Path, count: int) -> None:
    given = jobs(tmp_path, *(f"Text {number}.".encode() for number in range(count)))
    async with SubprocessExtractor() as extractor:
        results = await extractor.extract_together(given)
    assert told(results) == [1] * count
    assert [f"Text {number}." in job.target.read_text() for number, job in enumerate(given)] == [True] * count


async def test_a_document_of_which_a_page_has_no_text_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    """A run of its own has the page recognised, or asks; in a group it would be lost without a word."""
    given = jobs(tmp_path, joined(a_pdf(["One."]), a_scan(["Two."])), a_pdf(["A whole one."]))
    async with SubprocessExtractor() as extractor:
        results = await extractor.extract_together(given)
    assert told(results) == ["no_text", 1]
