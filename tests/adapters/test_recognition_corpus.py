"""Real scans end in text where Tesseract is installed, real texts are not taken for scans, and no bomb harms anyone."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.extraction.extractor import SubprocessExtractor
from adapters.models.tesseract import TesseractRecognizer
from domain.documents import Format
from domain.errors import DomainError, InvalidInput, UnreadablePage
from domain.ports import ExtractedText, ExtractionJob, RenderJob
from tests.adapters.test_extraction_corpus import LIMITS, rows
from tests.corpus import CORPUS, needs_corpus
from tests.page_images import needs_tesseract

pytestmark = needs_corpus()

# What a person reads on the pages that have no usable text layer.
SEEN = {
    "OCRmyPDF__cardinal.pdf": ["LinnSequencer", "LinnSequencer", "LinnSequencer", "LinnSequencer"],
    "markitdown__MEDRPT-2024-PAT-3847_medical_report_scan.pdf": [
        "SEATTLE GENERAL HOSPITAL",
        "EXAMINATION",
        "TREATMENT",
    ],
    "PdfPig__GHOSTSCRIPT-697234-0.pdf": ["curiosity evolved into", "STORMCROWS", "look around town"],
}


async def left_to_recognition(kind: str, folder: Path) -> dict[str, ExtractedText | DomainError]:
    """Read every file of a kind where recognition is at hand, two at a time."""
    two = asyncio.Semaphore(2)
    async with SubprocessExtractor() as extractor:

        async def read(path: str) -> ExtractedText | DomainError:
            job = ExtractionJob(CORPUS / path, folder / Path(path).name, Format.PDF, LIMITS, recognizable=True)
            async with two:
                try:
                    return await extractor.extract(job, lambda *_: None)
                except DomainError as error:
                    return error

        paths = [row["path"] for row in rows(kind)]
        return dict(zip(paths, await asyncio.gather(*map(read, paths)), strict=True))


async def test_the_pages_that_need_recognition_are_those_of_the_scans_and_of_the_garbage(tmp_path: Path) -> None:
    found = await left_to_recognition("pdf_ok", tmp_path)
    left = {
        Path(path).name: told.without_text
        for path, told in found.items()
        if isinstance(told, ExtractedText) and told.without_text
    }
    assert left == {name: tuple(range(1, len(seen) + 1)) for name, seen in SEEN.items()}


@needs_tesseract
@pytest.mark.parametrize("name", sorted(SEEN))
async def test_every_page_of_a_scan_ends_in_text(name: str, tmp_path: Path) -> None:
    recognizer = TesseractRecognizer(["eng"], turns=True, processes=2, seconds=120)
    limits = replace(LIMITS, cpu_seconds=30, wall_seconds=60)
    async with SubprocessExtractor() as extractor:

        async def read(page: int) -> str:
            image = tmp_path / f"{page}.jpg"
            dots = recognizer.dots_per_inch
            await extractor.render(RenderJob(CORPUS / "pdf_ok" / name, image, Format.PDF, page, dots, limits))
            return (await recognizer.recognize(image)).text

        texts = await asyncio.gather(*(read(page) for page in range(1, len(SEEN[name]) + 1)))
    for text, words in zip(texts, SEEN[name], strict=True):
        assert words in " ".join(text.split())


async def test_a_hostile_file_is_left_to_recognition_or_refused_and_its_pages_are_drawn_or_not(tmp_path: Path) -> None:
    found = await left_to_recognition("pdf_bad", tmp_path)
    assert len(found) == 46
    drawn = []
    async with SubprocessExtractor() as extractor:
        for path, told in found.items():
            if isinstance(told, DomainError):
                assert isinstance(told, InvalidInput), (path, told)
                continue
            for page in told.without_text[:2]:
                job = RenderJob(CORPUS / path, tmp_path / "page.jpg", Format.PDF, page, 200, LIMITS)
                try:
                    await extractor.render(job)
                except UnreadablePage:
                    drawn.append((path, False))
                else:
                    drawn.append((path, True))
    assert drawn
