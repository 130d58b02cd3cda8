"""Extraction: the pages are stored once, whatever dies in between."""

import asyncio

import pytest
from sqlalchemy import update
from temporalio.testing import ActivityEnvironment

from adapters.postgres.engine import transaction
from adapters.postgres.tables import ingestions
from domain.errors import IngestionClosed, NoText
from domain.steps import Extracted
from tests.activities.ingestion_steps import Bench, CrashAfter, this_info


async def test_pages_and_progress_are_stored(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    result = await bench.run(bench.extraction.extract, bench.ref)
    document, row = await bench.document(), await bench.row()
    assert result == Extracted(pages=12, characters=sum(map(len, bench.extractor.pages)))
    assert (row.pages, row.characters) == (result.pages, result.characters)
    assert (document.pages_done, document.pages_total, document.stage) == (12, 12, "chunking")
    assert [path.rsplit("/", 1)[1] for path in bench.work()] == ["pages.jsonl"]


async def test_the_encoding_that_a_text_was_read_in_is_stored_and_shown(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    bench.extractor.encoding = "koi8-r"
    await bench.run(bench.extraction.extract, bench.ref)
    document, row = await bench.document(), await bench.row()
    assert (row.encoding, row.detected_encoding, document.encoding) == (None, "koi8-r", "koi8-r")
    assert [job.encoding for job in bench.extractor.jobs] == [None]


async def test_an_encoding_that_was_asked_for_reaches_the_reader(bench: Bench) -> None:
    async with transaction(bench.engine) as connection:
        await connection.execute(update(ingestions).values(encoding="cp850"))
    await bench.run(bench.ingestion.begin, bench.ref)
    bench.extractor.encoding = "cp850"
    await bench.run(bench.extraction.extract, bench.ref)
    document, row = await bench.document(), await bench.row()
    assert [job.encoding for job in bench.extractor.jobs] == ["cp850"]
    assert (row.encoding, row.detected_encoding, document.encoding) == ("cp850", None, "cp850")


async def test_a_second_attempt_answers_the_first_ones_result(bench: Bench, crash_after: CrashAfter) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    await crash_after(2, bench.extraction.extract, bench.ref)
    assert (await bench.run(bench.extraction.extract, bench.ref, attempt=2)).pages == 12
    assert bench.extractor.runs == 1
    assert [(step.step, step.attempts) for step in await bench.steps()] == [("extract", 1)]


async def test_a_crash_before_the_pages_are_recorded_reads_them_again(bench: Bench, crash_after: CrashAfter) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    await crash_after(1, bench.extraction.extract, bench.ref)
    await bench.run(bench.extraction.extract, bench.ref, attempt=2)
    assert [(step.step, step.attempts, step.state) for step in await bench.steps()] == [("extract", 2, "completed")]


async def test_pages_show_while_they_come(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    bench.extractor.pause = asyncio.Event()
    running = asyncio.create_task(bench.run(bench.extraction.extract, bench.ref))
    document = await bench.watch(lambda document: document.pages_done > 0)
    assert (document.stage, document.pages_done, document.pages_total) == ("extracting", 12, 12)
    bench.extractor.pause.set()
    await running


async def test_a_cancelled_extraction_stops_its_child_and_stores_nothing(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    bench.extractor.pause = asyncio.Event()
    environment = ActivityEnvironment()
    environment.info = this_info(bench.extraction.extract)
    running = asyncio.create_task(environment.run(bench.extraction.extract, bench.ref))
    await bench.extractor.reached.wait()
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await bench.row()).pages is None
    assert bench.work() == []


async def test_an_extraction_that_outlives_its_ingestion_records_nothing(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    bench.extractor.pause = asyncio.Event()
    running = asyncio.create_task(bench.run(bench.extraction.extract, bench.ref))
    await bench.extractor.reached.wait()
    await bench.set(epoch=2)
    bench.extractor.pause.set()
    with pytest.raises(IngestionClosed):
        await running
    assert (await bench.row()).pages is None


async def test_the_extractors_error_passes(bench: Bench) -> None:
    await bench.run(bench.ingestion.begin, bench.ref)
    bench.extractor.fail = [NoText("There is no text.")]
    with pytest.raises(NoText):
        await bench.run(bench.extraction.extract, bench.ref)
