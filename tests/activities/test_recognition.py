"""Recognition: page by page, each stored before the next is paid for, and a person's word to go on without."""

import asyncio
import json

import pytest
from sqlalchemy import update

from adapters.postgres import tables
from domain import blobs as names
from domain.errors import IngestionClosed, NoText, ProviderRateLimited, SafetyBlocked, UnreadablePage
from domain.steps import Extracted, Recognized, RecognizePages
from tests.activities.ingestion_steps import Bench, Crash, CrashAfter, PageRecognizer

SCANS = (2, 5, 7, 9)


@pytest.fixture
def scanned(bench: Bench) -> Bench:
    """A document of 12 pages, four of which are scans, and a provider that reads them one by one."""
    bench.extractor.without_text = SCANS
    bench.recognizer = PageRecognizer(pages_at_once=1)
    return bench


def reader(bench: Bench) -> PageRecognizer:
    assert bench.recognizer is not None
    return bench.recognizer


async def recognize(bench: Bench, part: int = 0, attempt: int = 1) -> Recognized:
    given = RecognizePages(ref=bench.ref, part=part)
    result: Recognized = await bench.run(bench.recognition.recognize, given, attempt=attempt)
    return result


async def texts(bench: Bench) -> list[str]:
    key = names.pages_key(bench.ref.document_id, bench.ref.ingestion_id)
    content = b"".join([piece async for piece in bench.blobs.get(key)])
    return [json.loads(line)["text"] for line in content.splitlines()]


async def test_extraction_tells_how_many_pages_are_left_and_where_they_are_read(scanned: Bench) -> None:
    await scanned.run(scanned.ingestion.begin, scanned.ref)
    extracted = await scanned.run(scanned.extraction.extract, scanned.ref)
    assert (extracted.pages, extracted.pages_to_recognize, extracted.by_provider) == (12, 4, True)
    document, row = await scanned.document(), await scanned.row()
    assert list(row.pages_without_text) == list(SCANS)
    assert (document.stage, document.pages_done, document.pages_total) == ("extracting", 8, 12)
    assert await scanned.run(scanned.extraction.extract, scanned.ref, attempt=2) == extracted


async def test_pages_are_read_some_a_step_and_become_part_of_the_text(scanned: Bench) -> None:
    await scanned.until_extracted()
    before = await texts(scanned)
    characters = (await scanned.row()).characters
    assert await recognize(scanned) == Recognized(pages_left=1, characters=characters + 3 * len("Read 2."))
    document = await scanned.document()
    assert (document.stage, document.pages_done) == ("extracting", 11)
    assert (await recognize(scanned, part=1)).pages_left == 0
    expected = [f"Read {n}." if n in SCANS else text for n, text in enumerate(before, start=1)]
    assert await texts(scanned) == expected
    document, row = await scanned.document(), await scanned.row()
    assert (document.stage, document.pages_done) == ("chunking", 12)
    assert (list(row.pages_without_text), row.pages_recognized) == ([], 4)
    assert row.characters == sum(map(len, expected))


async def test_calls_and_tokens_are_counted_in_the_row_and_in_the_flight_record(scanned: Bench) -> None:
    await scanned.until_extracted()
    await recognize(scanned)
    await recognize(scanned, part=1)
    row = await scanned.row()
    assert (row.model_calls, row.model_tokens) == (4, 40)
    recorded = [step for step in await scanned.steps() if step.step == "recognize"]
    assert [(step.part, step.state, step.attempts) for step in recorded] == [(0, "completed", 1), (1, "completed", 1)]
    assert [(step.model_calls, step.model_calls_needed, step.model_tokens) for step in recorded] == [
        (3, 3, 30),
        (1, 1, 10),
    ]


async def test_a_crash_between_two_pages_pays_for_none_of_them_twice(scanned: Bench) -> None:
    await scanned.until_extracted()
    reader(scanned).fail[7] = [Crash()]
    with pytest.raises(Crash):
        await recognize(scanned)
    assert (await recognize(scanned, attempt=2)).pages_left == 1
    assert reader(scanned).read == [2, 5, 7, 7]
    assert (await scanned.row()).model_calls == 3


@pytest.mark.parametrize("commits", [1, 2, 3, 4, 5])
async def test_a_crash_after_any_commit_counts_each_page_once(
    scanned: Bench, crash_after: CrashAfter, commits: int
) -> None:
    await scanned.until_extracted()
    given = RecognizePages(ref=scanned.ref, part=0)
    await crash_after(commits, scanned.recognition.recognize, given)
    while (await recognize(scanned, attempt=2)).pages_left:
        pass
    row = await scanned.row()
    assert sorted(reader(scanned).read) == sorted(SCANS)
    assert (row.model_calls, row.model_tokens, row.pages_recognized) == (4, 40, 4)
    assert row.characters == sum(map(len, await texts(scanned)))


async def test_a_provider_that_fails_keeps_what_was_read_beside_it(scanned: Bench) -> None:
    reader(scanned).pages_at_once = 2
    await scanned.until_extracted()
    reader(scanned).fail[2] = [ProviderRateLimited("Gemini asks for a pause.")]
    with pytest.raises(ProviderRateLimited):
        await recognize(scanned)
    await recognize(scanned, attempt=2)
    assert sorted(reader(scanned).read) == [2, 2, 5, 7]


@pytest.mark.parametrize(
    ("error", "code"), [(SafetyBlocked("No."), "safety_blocked"), (UnreadablePage("No end."), "unreadable_page")]
)
async def test_a_page_that_is_refused_is_named_and_left_empty(scanned: Bench, error: Exception, code: str) -> None:
    await scanned.until_extracted()
    reader(scanned).fail[5] = [error]
    await recognize(scanned)
    assert (await recognize(scanned, part=1)).pages_left == 0
    assert [text for n, text in enumerate(await texts(scanned), start=1) if n in SCANS] == [
        "Read 2.", "", "Read 7.", "Read 9.",
    ]  # fmt: skip
    [first] = [step for step in await scanned.steps() if (step.step, step.part) == ("recognize", 0)]
    assert (first.state, first.error_code) == ("completed", "pages_left_empty")
    assert first.error_message == f"Left empty: page 5 ({code}). The others were read."


async def test_a_page_that_cannot_be_drawn_costs_no_call(scanned: Bench) -> None:
    await scanned.until_extracted()
    scanned.extractor.undrawable = {5}
    await recognize(scanned)
    assert (await scanned.row()).model_calls == 2


async def test_without_a_recogniser_the_pages_are_named_and_what_to_do(scanned: Bench) -> None:
    scanned.recognizer = None
    await scanned.until_extracted()
    with pytest.raises(NoText, match=r"4 pages of 12 \(pages 2, 5, 7, 9\).*Tesseract.*keep_text_pages"):
        await recognize(scanned)


async def test_a_document_of_scans_alone_has_nothing_to_keep(scanned: Bench) -> None:
    scanned.recognizer = None
    scanned.extractor.without_text = tuple(range(1, 13))
    await scanned.until_extracted()
    await scanned.run(scanned.recognition.keep_text_pages, scanned.ref)
    with pytest.raises(NoText, match=r"12 pages of 12 \(pages 1, 2, 3, 4, 5 and 7 more\)") as caught:
        await recognize(scanned)
    assert "keep_text_pages" not in caught.value.message


async def test_pages_are_left_out_when_a_person_says_so(scanned: Bench) -> None:
    scanned.recognizer = None
    await scanned.until_extracted()
    await scanned.run(scanned.recognition.keep_text_pages, scanned.ref)
    again = await scanned.run(scanned.extraction.extract, scanned.ref, attempt=2)
    assert again.pages_to_recognize == 0
    await scanned.run(scanned.chunking.chunk, scanned.ref)
    assert list((await scanned.row()).pages_without_text) == list(SCANS)


async def test_a_document_that_came_with_the_wish_is_not_recognised(scanned: Bench) -> None:
    await scanned.set(keep_text_pages=True)
    await scanned.run(scanned.ingestion.begin, scanned.ref)
    extracted: Extracted = await scanned.run(scanned.extraction.extract, scanned.ref)
    assert extracted.pages_to_recognize == 0
    assert reader(scanned).read == []


async def test_recognition_that_outlives_its_ingestion_records_nothing(scanned: Bench) -> None:
    await scanned.until_extracted()
    release, reached = asyncio.Event(), asyncio.Event()
    original = scanned.extractor.render

    async def render(job: object) -> None:
        reached.set()
        await release.wait()
        await original(job)  # type: ignore[arg-type]  # the test only passes it on

    scanned.extractor.render = render  # type: ignore[method-assign]  # a stop before the first page
    running = asyncio.create_task(recognize(scanned))
    await reached.wait()
    await scanned.set(epoch=2)
    release.set()
    with pytest.raises(IngestionClosed):
        await running
    assert (await scanned.row()).pages_recognized == 0


async def test_what_was_recognised_goes_with_the_artifacts(scanned: Bench) -> None:
    await scanned.until_extracted()
    await recognize(scanned)
    assert any("/recognized/" in path for path in scanned.work())
    await scanned.set(status="cancelled")
    async with scanned.engine.begin() as connection:
        mine = tables.documents.c.id == scanned.ref.document_id
        await connection.execute(update(tables.documents).where(mine).values(status="cancelled"))
    await scanned.run(scanned.ingestion.discard_artifacts, scanned.ref)
    row = await scanned.row()
    assert (scanned.work(), row.pages, row.pages_without_text, row.pages_recognized) == ([], None, None, 0)


async def test_the_calls_that_were_needed_count_recognition_too(scanned: Bench) -> None:
    await scanned.until_extracted()
    while (await recognize(scanned)).pages_left:
        pass
    await scanned.run(scanned.chunking.chunk, scanned.ref)
    row = await scanned.row()
    assert row.model_calls_needed == 4 + -(-row.planned_chunks // row.batch_size)
