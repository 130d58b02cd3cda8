"""The servers that all other tests stand on."""

import itertools
import socket

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import WorkflowEnvironment

from adapters.embedded.ports import is_taken
from adapters.temporal.client import OWNER_ID
from tests import servers
from tests.servers import PostgresServer, TemporalServer, free_port, postgres_server


def ports_of(monkeypatch: pytest.MonkeyPatch, worker: str) -> set[int]:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    return set(itertools.islice(servers._own_ports(), 5_000))


def test_no_two_processes_of_a_suite_give_the_same_port_nor_the_kernel_one_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = ports_of(monkeypatch, "gw0"), ports_of(monkeypatch, "gw1")
    assert not first & second
    with socket.create_server(("127.0.0.1", 0)) as picked:
        assert picked.getsockname()[1] > max(first | second)


def test_a_port_is_free_and_is_given_once() -> None:
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == len(given)
    with socket.create_server(("127.0.0.1", given[-1])):
        assert is_taken(given[-1])


async def test_a_fresh_database_has_the_schema_and_the_vector_extension(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM documents")) == 0
        assert await connection.scalar(text("SELECT '[1,2]'::halfvec <=> '[1,2]'::halfvec")) == 0


async def test_a_database_is_not_shared_with_another_test(engine: AsyncEngine, database_url: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE seen ()"))
    assert database_url.rsplit("/", 1)[1].startswith("test_")


async def test_postgres_wants_the_password(postgres: PostgresServer) -> None:
    address = f"postgresql://postgres:wrong@127.0.0.1:{postgres.cluster.port}/postgres"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(address)


async def test_a_killed_postgres_starts_again_with_what_was_committed() -> None:
    async with postgres_server(fsync="on", synchronous_commit="on") as server:
        address = server.cluster.url("postgres", driver="postgresql")
        connection = await asyncpg.connect(address)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        await server.kill()
        await connection.close()
        await server.start()
        connection = await asyncpg.connect(address)
        assert await connection.fetchval("SELECT one FROM kept") == 1
        await connection.close()


async def test_the_time_skipping_server_knows_the_search_attributes(temporal_env: WorkflowEnvironment) -> None:
    client = temporal_env.client
    owner = TypedSearchAttributes([SearchAttributePair(OWNER_ID, "somebody")])
    handle = await client.start_workflow("Any", id="any", task_queue="nobody", search_attributes=owner)
    assert (await handle.describe()).typed_search_attributes.get(OWNER_ID) == "somebody"
    await handle.terminate()


async def test_a_restarted_temporal_server_answers_on_the_same_port(dev_server: TemporalServer) -> None:
    await dev_server.stop()
    await dev_server.start()
    client = await dev_server.client()
    assert [run async for run in client.list_workflows("Stage = 'nobody'")] == []
