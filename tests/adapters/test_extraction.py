"""Documents are read in children with limits; whatever a child does, the extractor goes on."""
# ruff: noqa: ASYNC110, ASYNC220, ASYNC221, ASYNC240  (/proc does not block, and has no events to await)

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adapters.extraction import nursery
from adapters.extraction.extractor import _READERS, SubprocessExtractor
from adapters.extraction.order import PDFIUM, PYPDF
from domain.documents import Format
from domain.errors import (
    CorruptFile,
    DomainError,
    ExtractionCrashed,
    ExtractionLimit,
    NoText,
    UnreadableText,
    UnsupportedFormat,
)
from domain.ports import ExtractedText, ExtractionJob, ExtractionLimits
from tests.pdf_files import a_pdf, to_unicode, write

SMALL = ExtractionLimits(memory_bytes=256 << 20, cpu_seconds=5, wall_seconds=20, pages=100, output_bytes=1 << 20)
_ROOT = Path(nursery.__file__).resolve().parents[2]


def ignore(_: int, __: int | None) -> None:
    """Take progress and do nothing."""


@pytest_asyncio.fixture
async def extractor() -> AsyncIterator[SubprocessExtractor]:
    async with SubprocessExtractor() as extractor:
        yield extractor


Read = Callable[..., Any]


@pytest.fixture
def read(extractor: SubprocessExtractor, tmp_path: Path) -> Read:
    """Extract bytes; gives the pages as (number, text)."""

    async def run(content: bytes, format: Format = Format.PDF, **limits: Any) -> list[tuple[int | None, str]]:  # noqa: A002  (the job's word)
        source, target = write(tmp_path / "source", content), tmp_path / "pages.jsonl"
        job = ExtractionJob(source, target, format, replace(SMALL, **limits))
        try:
            told = await extractor.extract(job, ignore)
        except DomainError:
            assert not target.exists(), "a failed extraction leaves no pages behind"
            raise
        lines = [json.loads(line) for line in target.read_bytes().splitlines()]
        assert (told.pages, told.characters) == (len(lines), sum(len(line["text"]) for line in lines))
        return [(line["page"], line["text"]) for line in lines]

    return run


async def test_pages_of_a_pdf_come_in_order_the_empty_one_too(read: Read) -> None:
    assert await read(a_pdf(["One", "", "Three\nlines"])) == [(1, "One"), (2, ""), (3, "Three\nlines")]


async def test_nul_and_lone_surrogates_are_removed_and_emoji_kept(read: Read) -> None:
    table = to_unicode({"X": "d83dde00", "Y": "0000", "Z": "d800"})
    [(_, text)] = await read(a_pdf(["aXb cYd eZf"], font="/ToUnicode 4 0 R", extra=[table]))
    assert "a😀b" in text
    assert text.encode()
    assert "\x00" not in text


async def test_lam_alef_of_one_glyph_is_put_right_and_an_article_left_alone(read: Read) -> None:
    letters = to_unicode({"N": "0646", "L": "06440625", "A": "0627", "l": "0644"})
    pages = await read(a_pdf(["NLA", "NlA"], font="/ToUnicode 4 0 R", extra=[letters]))
    assert pages == [(1, "الإن"), (2, "الن")]


async def test_ligatures_of_a_pdf_are_spelled_as_people_type_them(read: Read) -> None:
    letters = to_unicode({"f": "fb01", "x": "0078"})
    assert await read(a_pdf(["fx"], font="/ToUnicode 4 0 R", extra=[letters])) == [(1, "fix")]


async def test_a_pdf_without_text_says_that_it_looks_like_a_scan(read: Read) -> None:
    with pytest.raises(NoText, match=r"OCR"):
        await read(a_pdf(["", ""]))


async def test_a_text_layer_of_glyph_codes_is_not_taken_for_language(read: Read) -> None:
    codes = {chr(65 + number): f"{0xE000 + number:04x}" for number in range(26)}
    with pytest.raises(UnreadableText, match=r"OCR"):
        await read(a_pdf(["ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 3], font="/ToUnicode 4 0 R", extra=[to_unicode(codes)]))


async def test_what_is_not_a_pdf_is_a_corrupt_one(read: Read) -> None:
    with pytest.raises(CorruptFile, match="damaged"):
        await read(b"<html>not a PDF</html>")


async def test_more_pages_than_allowed_are_named(read: Read) -> None:
    with pytest.raises(ExtractionLimit, match=r"12 pages.*10 at most"):
        await read(a_pdf(["x"] * 12), pages=10)


async def test_more_text_than_allowed_is_refused(read: Read) -> None:
    with pytest.raises(ExtractionLimit, match="more text"):
        await read(b"word " * 5000, Format.TEXT, output_bytes=10_000)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"], ids=lambda encoding: f"in {encoding}"
)
async def test_text_is_read_in_its_encoding(read: Read, encoding: str) -> None:
    text = "Die Größe der Bäume überrascht: äußerst schöne Blüten, süße Früchte.\n" * 20
    pages = await read(text.encode(encoding), Format.TEXT)
    assert "".join(piece for _, piece in pages) == text
    assert {page for page, _ in pages} == {None}


async def test_pieces_of_a_large_text_make_up_the_text(read: Read) -> None:
    text = "".join(f"Line {number} has 中文, é and 😀.\n" for number in range(20_000))
    pages = await read(text.replace("\n", "\r\n").encode(), Format.MARKDOWN, output_bytes=2 << 20)
    assert len(pages) > 3
    assert "".join(piece for _, piece in pages) == text


async def test_a_nul_inside_a_text_is_removed(read: Read) -> None:
    [(_, text)] = await read(b"a" * 5000 + b"\x00b", Format.TEXT)
    assert text == "a" * 5000 + "b"


async def test_binary_called_text_is_refused(read: Read) -> None:
    with pytest.raises(UnsupportedFormat, match="binary"):
        await read(b"\x7fELF\x00\x00\x01", Format.TEXT)


async def test_white_space_alone_is_no_text(read: Read) -> None:
    with pytest.raises(NoText):
        await read(b" \n\t" * 100, Format.TEXT)


async def test_progress_ends_with_the_last_page(extractor: SubprocessExtractor, tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    job = ExtractionJob(write(tmp_path / "a", a_pdf(["x"] * 50)), tmp_path / "b", Format.PDF, SMALL)
    await extractor.extract(job, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (50, 50)
    assert heard == sorted(heard)


def a_slow_text(folder: Path) -> ExtractionJob:
    """A pipe that nobody writes to: its reader waits for ever."""
    os.mkfifo(folder / "pipe")
    return ExtractionJob(folder / "pipe", folder / "pages", Format.TEXT, replace(SMALL, wall_seconds=60))


async def children_of(pid: int) -> list[int]:
    while True:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if text.strip():
            return [int(child) for child in text.split()]
        await asyncio.sleep(0)


async def gone(pid: int) -> None:
    """Wait until a process is dead, a zombie included."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is reaped while it is looked at
        while Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX":
            await asyncio.sleep(0)


async def zygote_pid() -> int:
    """Find the zygote among this process's children."""
    while True:
        for child in await children_of(os.getpid()):
            if "adapters.extraction.zygote" in Path(f"/proc/{child}/cmdline").read_text():
                return child
        await asyncio.sleep(0)


async def test_a_document_that_takes_too_long_is_stopped(
    extractor: SubprocessExtractor, tmp_path: Path, read: Read
) -> None:
    job = a_slow_text(tmp_path)
    with pytest.raises(ExtractionLimit, match="longer"):
        await extractor.extract(replace(job, limits=replace(SMALL, wall_seconds=0.5)), ignore)
    assert await read(b"still alive", Format.TEXT) == [(None, "still alive")]


linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only: it finds child processes in /proc")


@linux
async def test_cancelling_kills_the_child_before_it_returns(extractor: SubprocessExtractor, tmp_path: Path) -> None:
    task = asyncio.create_task(extractor.extract(a_slow_text(tmp_path), ignore))
    [child] = await children_of(await zygote_pid())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{child}").exists()


@linux
async def test_a_child_has_no_network(extractor: SubprocessExtractor, tmp_path: Path) -> None:
    task = asyncio.create_task(extractor.extract(a_slow_text(tmp_path), ignore))
    [child] = await children_of(await zygote_pid())
    while "Seccomp:\t2" not in Path(f"/proc/{child}/status").read_text():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@linux
async def test_a_child_killed_from_outside_may_be_tried_again(extractor: SubprocessExtractor, tmp_path: Path) -> None:
    task = asyncio.create_task(extractor.extract(a_slow_text(tmp_path), ignore))
    [child] = await children_of(await zygote_pid())
    os.kill(child, signal.SIGKILL)
    with pytest.raises(ExtractionCrashed) as caught:
        await task
    assert caught.value.retryable


@linux
async def test_a_dead_zygote_fails_its_jobs_and_is_replaced(
    extractor: SubprocessExtractor, tmp_path: Path, read: Read
) -> None:
    task = asyncio.create_task(extractor.extract(a_slow_text(tmp_path), ignore))
    zygote = await zygote_pid()
    [child] = await children_of(zygote)
    os.kill(zygote, signal.SIGKILL)
    with pytest.raises(ExtractionCrashed):
        await task
    await gone(child)
    assert await read(b"again", Format.TEXT) == [(None, "again")]


@linux
async def test_a_parser_that_crashes_gives_way_to_the_second_reader(
    extractor: SubprocessExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pypdf goes first here: it waits at a pipe, which PDFium refuses to open.
    monkeypatch.setitem(_READERS, Format.PDF, (PYPDF, PDFIUM))
    source = tmp_path / "pipe"
    os.mkfifo(source)
    job = ExtractionJob(source, tmp_path / "pages", Format.PDF, SMALL)
    task = asyncio.create_task(extractor.extract(job, ignore))
    zygote = await zygote_pid()
    [first] = await children_of(zygote)
    # The first reader is stopped while the file takes the pipe's place, whole at once: neither finds anything else.
    os.kill(first, signal.SIGSTOP)
    whole = tmp_path / "whole"
    whole.write_bytes(a_pdf(["Read by the second"]))
    whole.replace(source)
    os.kill(first, signal.SIGSEGV)
    os.kill(first, signal.SIGCONT)
    await gone(first)
    assert await task == ExtractedText(1, len("Read by the second"))


@linux
async def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from adapters.extraction.extractor import SubprocessExtractor\n"
        "from domain.documents import Format\nfrom domain.ports import ExtractionJob\n"
        "job = ExtractionJob(Path(sys.argv[1]), Path(sys.argv[2]), Format.TEXT)\n"
        "asyncio.run(SubprocessExtractor().extract(job, lambda *_: None))\n"
    )
    os.mkfifo(tmp_path / "pipe")
    worker = subprocess.Popen([sys.executable, "-c", script, tmp_path / "pipe", tmp_path / "pages"], cwd=_ROOT)
    [zygote] = await children_of(worker.pid)
    [child] = await children_of(zygote)
    worker.kill()
    worker.wait()
    await gone(zygote)
    await gone(child)


@linux
async def test_the_readers_process_holds_no_heavy_module_and_no_secret(
    extractor: SubprocessExtractor, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATSPHERE_SECRET_KEY", "not-for-readers")
    await read(a_pdf(["x"]))
    zygote = await zygote_pid()
    assert "CHATSPHERE" not in Path(f"/proc/{zygote}/environ").read_text()
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, adapters.extraction.zygote; print(*sys.modules)"],
        cwd=_ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not {"temporalio", "sqlalchemy", "pydantic", "numpy", "asyncio", "pypdf"} & set(loaded)
