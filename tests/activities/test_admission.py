"""So many of an owner's documents are worked on at once; the others wait in the order in which they came."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.service import RPCError, RPCStatusCode

from activities.ingestion import Ingestion
from adapters.admission import Admission
from adapters.postgres import tables
from adapters.postgres.admission import Waiting
from domain.documents import IngestionRef
from domain.steps import Begun, CloseIngestion, ParkIngestion
from tests.activities.ingestion_steps import Bench
from tests.rows import Home, a_document, a_home, count, row_of

WAITS = Begun(admitted=False)


@pytest.fixture
async def home(engine: AsyncEngine) -> Home:
    return await a_home(engine)


@pytest.fixture
def capped(bench: Bench) -> Bench:
    bench.cap = 2
    return bench


async def uploads(engine: AsyncEngine, home: Home, number: int) -> list[IngestionRef]:
    """The first one came first."""
    ages = [timedelta(minutes=number - n) for n in range(number)]
    return [
        await a_document(engine, home, status="pending", ingestion="pending", stage="queued", age=age) for age in ages
    ]


async def begin(bench: Bench, ref: IngestionRef) -> Begun:
    begun: Begun = await bench.run(bench.ingestion.begin, ref)
    return begun


async def end(bench: Bench, ref: IngestionRef) -> None:
    failed = CloseIngestion(ref=ref, cancelled=False, code="no_text", message="There is no text.")
    await bench.run(bench.ingestion.close, failed)


async def status(engine: AsyncEngine, ref: IngestionRef) -> tuple[Any, ...]:
    row = await row_of(engine, tables.ingestions, ref.ingestion_id)
    document = await row_of(engine, tables.documents, ref.document_id)
    return row.status, row.run_id, document.status, document.stage


async def test_who_finds_no_room_waits_and_is_called_when_one_ends(
    capped: Bench, engine: AsyncEngine, home: Home
) -> None:
    first, second, third, fourth = await uploads(engine, home, 4)
    assert [await begin(capped, ref) for ref in (first, second, third)] == [Begun(), Begun(), WAITS]
    assert await status(engine, third) == ("pending", "run-1", "pending", "queued")
    await end(capped, first)
    assert capped.called == [Waiting(third, "run-1")]
    assert await begin(capped, fourth) == WAITS  # it came later
    assert await begin(capped, third) == Begun()
    assert await status(engine, third) == ("running", "run-1", "processing", "queued")


async def test_many_who_begin_at_once_share_the_room(capped: Bench, engine: AsyncEngine, home: Home) -> None:
    refs = await uploads(engine, home, 12)
    begun = await asyncio.gather(*(begin(capped, ref) for ref in refs))
    assert await count(engine, tables.ingestions, tables.ingestions.c.status == "running") == 2
    assert sum(each.admitted for each in begun) == 2


async def test_another_owner_is_not_counted(capped: Bench, engine: AsyncEngine, home: Home) -> None:
    other = await a_home(engine)
    for ref in (await uploads(engine, home, 3))[:2]:
        await begin(capped, ref)
    (ref,) = await uploads(engine, other, 1)
    assert await begin(capped, ref) == Begun()


async def test_documents_of_an_import_neither_count_nor_wait(capped: Bench, engine: AsyncEngine, home: Home) -> None:
    refs = await uploads(engine, home, 6)
    imported = [ref.ingestion_id for ref in refs[:4]]
    async with engine.begin() as connection:
        await connection.execute(
            update(tables.ingestions).where(tables.ingestions.c.id.in_(imported)).values(import_id=home.bot_id)
        )
    assert [await begin(capped, ref) for ref in refs] == [Begun()] * 6


async def test_beginning_again_needs_no_room(capped: Bench, engine: AsyncEngine, home: Home) -> None:
    refs = await uploads(engine, home, 3)
    for _ in range(2):
        assert [await begin(capped, ref) for ref in refs] == [Begun(), Begun(), WAITS]


async def test_a_parked_document_makes_room_and_its_retry_comes_first_in_line(
    capped: Bench, engine: AsyncEngine, home: Home
) -> None:
    first, second, third, fourth = await uploads(engine, home, 4)
    for ref in (first, second):
        await begin(capped, ref)
    await capped.run(capped.ingestion.park, ParkIngestion(ref=first, code="no_text", message="There is no text."))
    assert capped.called == [Waiting(third, None)]
    assert await begin(capped, third) == Begun()
    assert await begin(capped, first) == WAITS
    assert await status(engine, first) == ("pending", "run-1", "pending", "queued")
    capped.called.clear()
    await end(capped, second)
    assert capped.called == [Waiting(first, "run-1")]
    assert await begin(capped, fourth) == WAITS
    assert await begin(capped, first) == Begun()


async def test_who_was_called_and_is_on_its_way_is_not_called_again(
    capped: Bench, engine: AsyncEngine, home: Home
) -> None:
    refs = await uploads(engine, home, 5)
    steps = capped.ingestion
    for ref in refs[:2]:
        await begin(capped, ref)
    for ref in refs[:2]:
        failed = CloseIngestion(ref=ref, cancelled=False, code="no_text", message="There is no text.")
        await capped.run(steps.close, failed)
    assert [waiting.ref for waiting in capped.called] == refs[2:4]


async def test_who_comes_to_the_line_as_one_ends_is_not_left_there(
    capped: Bench, engine: AsyncEngine, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = await uploads(engine, home, 3)
    for ref in (first, second):
        await begin(capped, ref)
    steps, look = capped.ingestion, Admission.may_begin

    async def look_late(self: Admission, ref: IngestionRef) -> bool:
        """The other's end falls between the refusal and the second look, and saw nobody in line."""
        monkeypatch.setattr(Admission, "may_begin", look)
        async with engine.begin() as connection:
            mine = tables.ingestions.c.id == first.ingestion_id
            await connection.execute(update(tables.ingestions).where(mine).values(status="failed"))
        return await look(self, ref)

    monkeypatch.setattr(Admission, "may_begin", look_late)
    assert await capped.run(steps.begin, third) == Begun()


async def test_an_end_is_an_end_although_nobody_can_be_called(engine: AsyncEngine, bench: Bench, home: Home) -> None:
    async def away(_: Waiting) -> bool:
        raise RPCError("It is away.", RPCStatusCode.UNAVAILABLE, b"")

    bench.cap = 1
    first, _ = await uploads(engine, home, 2)
    await begin(bench, first)
    bench_admission = Admission(engine, away, cap=1)
    steps = Ingestion(engine, bench.blobs, bench_admission, bench.ingestion._now)
    await bench.run(steps.close, CloseIngestion(ref=first, cancelled=True, code="cancelled", message="Cancelled."))
    assert (await status(engine, first))[0] == "cancelled"
