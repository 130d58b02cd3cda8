"""Measure extraction: PDFium against pypdf, a forked child against a started one, and peak memory.

`python -m bench.extraction [file.pdf …]`; without files it makes a PDF of 300 and one of 2,000 pages.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pypdf
import pypdfium2

from adapters.extraction.extractor import SubprocessExtractor, order_of
from adapters.extraction.nursery import Nursery
from adapters.extraction.order import READ
from domain.chunking import split
from domain.chunks import Page
from domain.documents import Format
from domain.ports import ExtractionJob
from tests.pdf_files import a_pdf

_ROUNDS = 5


def made(folder: Path, pages: int) -> Path:
    """Write a PDF of about 2,100 characters a page."""
    lines = "\n".join(f"Line {number} of a page that is about as full as most are." for number in range(38))
    path = folder / f"{pages}-pages.pdf"
    path.write_bytes(a_pdf([f"Page {number}\n{lines}" for number in range(pages)]))
    return path


def median(work: Callable[[], object]) -> float:
    """Give the median of several runs, in seconds."""
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def with_pdfium(path: Path) -> int:
    """Read all text with PDFium alone."""
    characters = 0
    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            layer = page.get_textpage()
            characters += len(layer.get_text_range())
            layer.close()
            page.close()
    return characters


def with_pypdf(path: Path) -> int:
    """Read all text with pypdf alone."""
    return sum(len(page.extract_text()) for page in pypdf.PdfReader(path).pages)


async def with_child(extractor: SubprocessExtractor, path: Path, target: Path) -> float:
    """Read with the extractor as the worker does."""
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        await extractor.extract(ExtractionJob(path, target, Format.PDF), lambda *_: None)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def spawned(path: Path) -> float:
    """Start Python, import the readers, read: what a process per document without a zygote costs."""
    script = (
        f"import adapters.extraction.child, pypdfium2; d = pypdfium2.PdfDocument({str(path)!r}); d[0].get_textpage()"
    )
    return median(lambda: subprocess.run([sys.executable, "-c", script], check=True))


async def peak(path: Path, target: Path) -> int:
    """Give the child's peak resident memory, in bytes."""
    nursery = Nursery()
    order = order_of(READ, ExtractionJob(path, target, Format.PDF), wall_seconds=600)
    outcome = await nursery.run(order, lambda *_: None)
    await nursery.aclose()
    return outcome.peak_bytes


async def main(names: list[str]) -> None:
    """Print one block a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = folder / "pages.jsonl"
        one = made(folder, 1)
        async with SubprocessExtractor() as extractor:
            await with_child(extractor, one, target)
            forked = await with_child(extractor, one, target)
            print(f"one page: forked {forked * 1e3:.1f} ms, started {spawned(one) * 1e3:.1f} ms")
            for path in [Path(name) for name in names] or [made(folder, 300), made(folder, 2000)]:
                child = await with_child(extractor, path, target)
                pages = [Page.from_line(line) for line in target.read_bytes().splitlines()]
                cut = median(lambda pages=pages: list(split(pages, format=Format.PDF)))  # type: ignore[misc]  # mypy does not infer a lambda that binds its loop variable
                print(
                    f"{path.name}: {len(pages)} pages, {sum(len(page.text) for page in pages)} characters; "
                    f"PDFium {median(lambda path=path: with_pdfium(path)):.3f} s, "  # type: ignore[misc]  # mypy does not infer a lambda that binds its loop variable
                    f"pypdf {median(lambda path=path: with_pypdf(path)):.3f} s, extractor {child:.3f} s, "  # type: ignore[misc]  # mypy does not infer a lambda that binds its loop variable
                    f"chunking {cut:.3f} s; child's peak {await peak(path, target) / 1e6:.0f} MB"
                )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
