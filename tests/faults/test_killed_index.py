"""A worker, then Postgres, dies while an index is built. Searches answer all along, and the index is built anew."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest_asyncio
from sqlalchemy.engine import make_url

from adapters.postgres.vector_indexes import name_of
from adapters.temporal.runs import start_indexing
from domain import policy
from domain.ids import BotId, UserId
from domain.runs import index_run
from domain.steps import BUILD_VECTOR_INDEX, IndexRef
from tests.person import Person
from tests.processes import Deployment, deployment

TEXT = "\n\n".join(f"Rule {number}. The key of room {number} lies under mat {number * 7}." for number in range(120))


@pytest_asyncio.fixture(scope="module")
async def small_threshold() -> AsyncIterator[Deployment]:
    async with deployment(CHUNK_CHARACTERS="200", CHUNK_OVERLAP="20", INDEX_CHUNKS="10") as deployed:
        yield deployed


@asynccontextmanager
async def a_writer_that_lasts(deployed: Deployment) -> AsyncIterator[asyncpg.Connection]:
    """A build waits for whoever wrote before it began: it stands still until this one is done."""
    dsn = make_url(deployed.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("begin; lock table chunks in row exclusive mode")
        yield connection
    finally:
        connection.terminate()


async def the_build_stands(connection: asyncpg.Connection) -> None:
    waiting = "select count(*) from pg_stat_activity where application_name = 'indexes' and wait_event_type = 'Lock'"
    async with asyncio.timeout(120):
        while not await connection.fetchval(waiting):
            await asyncio.sleep(0.05)
            await connection.execute("select pg_stat_clear_snapshot()")


async def used(person: Person, *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not (await person.get(f"/bots/{person.bot}/index"))["used"]:  # noqa: ASYNC110  (as a person asks)
            await asyncio.sleep(0.2)


async def found(person: Person) -> str:
    hits = await person.post(f"/bots/{person.bot}/search", json={"query": "Where is the key of room 42?", "limit": 3})
    return str(hits["data"][0]["content"])


async def test_an_index_whose_builder_dies_is_built_anew_and_searches_answer_meanwhile(
    small_threshold: Deployment,
) -> None:
    deployed = small_threshold
    api, worker = await deployed.an_api(), await deployed.a_worker()
    async with api.client() as http:
        person = await Person.arrives(http)
        document = await person.post(f"/bots/{person.bot}/documents/text", json={"name": "rules.txt", "text": TEXT})
        await person.ready(document["id"])
        owner = UserId(UUID((await person.get("/users/me"))["id"]))
        ref = IndexRef(owner_id=owner, bot_id=BotId(UUID(person.bot)))
        client = await deployed.client()
        run = client.get_workflow_handle(index_run(ref.bot_id))

        async with a_writer_that_lasts(deployed) as writer:
            await start_indexing(client, ref)  # or housekeeping did
            await the_build_stands(writer)
            await worker.kill()
            assert "room 42" in await found(person)
            await deployed.worker()
            await writer.execute("rollback")
        assert policy.INDEX.heartbeat is not None
        await used(person, seconds=policy.INDEX.heartbeat.total_seconds() + 120)
        await run.result()
        attempts = [
            event.activity_task_started_event_attributes.attempt
            async for event in run.fetch_history_events()
            if event.HasField("activity_task_started_event_attributes")
        ]
        assert max(attempts) > 1, f"{BUILD_VECTOR_INDEX.name} was taken over"
        assert "room 42" in await found(person)


async def test_an_index_whose_database_dies_is_built_anew(small_threshold: Deployment) -> None:
    deployed = small_threshold
    api = await deployed.an_api()
    await deployed.a_worker()
    async with api.client() as http:
        person = await Person.arrives(http)
        document = await person.post(f"/bots/{person.bot}/documents/text", json={"name": "rules.txt", "text": TEXT})
        await person.ready(document["id"])
        owner = UserId(UUID((await person.get("/users/me"))["id"]))
        ref = IndexRef(owner_id=owner, bot_id=BotId(UUID(person.bot)))
        async with a_writer_that_lasts(deployed) as writer:
            await start_indexing(await deployed.client(), ref)
            await the_build_stands(writer)
            await deployed.postgres.kill()
        await deployed.postgres.start()
        await used(person, seconds=180)
        assert "room 42" in await found(person)
        async with a_writer_that_lasts(deployed) as reader:
            valid = "select indisvalid from pg_index where indexrelid = to_regclass($1)"
            assert await reader.fetchval(valid, name_of(ref.bot_id))
