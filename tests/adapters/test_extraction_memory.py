"""What a document takes of the machine: not more for more pages, and never more than its limit."""

from pathlib import Path

from adapters.extraction.extractor import order_of
from adapters.extraction.nursery import Nursery, Outcome
from adapters.extraction.order import PDFIUM, READ
from domain.documents import Format
from domain.ports import ExtractionJob, ExtractionLimits
from tests.pdf_files import a_pdf

PARAGRAPH = "The lock of the drawer opens with the key that hangs on the hook. " * 20
ALLOWED = 24 << 20  # a page's text, fonts and buffers, whatever the number of pages


async def read(folder: Path, pages: int, *, memory: int = 1 << 30) -> Outcome:
    source = folder / f"{pages}.pdf"
    source.write_bytes(a_pdf([f"Page {number}. {PARAGRAPH}" for number in range(pages)]))
    limits = ExtractionLimits(memory_bytes=memory, cpu_seconds=60)
    job = ExtractionJob(source, folder / f"{pages}.jsonl", Format.PDF, limits)
    order = order_of(READ, job, wall_seconds=60.0)
    order["reader"] = PDFIUM
    nursery = Nursery()
    try:
        return await nursery.run(order, lambda *_: None)
    finally:
        await nursery.aclose()


async def test_memory_does_not_grow_with_pages(tmp_path: Path) -> None:
    few, many = await read(tmp_path, 20), await read(tmp_path, 2000)
    assert few.done is not None
    assert many.done is not None
    assert many.done[0] == 2000
    assert many.peak_bytes - few.peak_bytes < ALLOWED, (few.peak_bytes, many.peak_bytes)


async def test_a_document_that_wants_more_memory_than_it_may_have_ends_alone(tmp_path: Path) -> None:
    refused = await read(tmp_path, 2000, memory=1 << 20)
    assert refused.done is None
    assert refused.error is not None or refused.signal or refused.broke
    assert (await read(tmp_path, 20)).done is not None
