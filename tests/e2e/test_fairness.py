"""Two owners, 500 documents against one: the second one does not wait for the first one's line.

Counted, not timed: `bench/fairness.py` has the seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.engine import open_engine
from tests.person import Person
from tests.processes import Deployment, deployment

CAP = 4
MANY = 500
TRIES = 5

# Documents of others that became ready between this one's acceptance and its own.
_OVERTAKEN_BY = text(
    """
    SELECT count(*) FROM documents other JOIN documents mine ON mine.id = CAST(:document AS uuid)
    WHERE other.owner_id <> mine.owner_id AND other.ready_at BETWEEN mine.created_at AND mine.ready_at
    """
)
_RUNNING = text("SELECT count(*) FROM ingestions WHERE status = 'running'")
_READY = text("SELECT count(*) FROM documents WHERE status = 'ready'")


@pytest_asyncio.fixture
async def fair() -> AsyncIterator[Deployment]:
    async with deployment(OWNER_RUNNING_DOCUMENTS=str(CAP)) as deployed:
        deployed.double.canned = True
        yield deployed


@pytest_asyncio.fixture
async def rows(fair: Deployment) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(fair.database_url, pool_size=2)
    yield engine
    await engine.dispose()


async def test_five_hundred_documents_of_one_owner_hold_up_another_ones_by_a_few_only(
    fair: Deployment, rows: AsyncEngine
) -> None:
    api = await fair.an_api()
    async with AsyncExitStack() as stack:
        first, second = [await Person.arrives(await stack.enter_async_context(api.client())) for _ in range(2)]
        gate = asyncio.Semaphore(8)

        async def upload(number: int) -> None:
            async with gate:
                await first.upload(f"{number}.txt", a_note(f"many {number}"))

        await asyncio.gather(*(upload(number) for number in range(MANY)))
        overtaken_by = []
        for number in range(TRIES):
            document = await second.upload("one.txt", a_note(f"one {number}"))
            assert await number_of(rows, _RUNNING) <= CAP + 1
            await second.ready(document)
            overtaken_by.append(await number_of(rows, _OVERTAKEN_BY, document=document))
    assert await number_of(rows, _READY) < MANY, "the line was empty before the second owner's were through"
    # Those that were at work already, and as many again that began beside it; not the hundreds in line.
    assert max(overtaken_by) <= 4 * CAP


async def number_of(rows: AsyncEngine, query: TextClause, **values: str) -> int:
    async with rows.connect() as connection:
        return int((await connection.execute(query, values)).scalar_one())


def a_note(name: str) -> bytes:
    return f"Note {name}. The key hangs on hook 31 in room 7, and whoever takes it signs for it.".encode()
