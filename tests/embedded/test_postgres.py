"""The embedded Postgres' data folder after every kind of accident."""

import asyncio
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from adapters.embedded import postgres
from tests.servers import FAST, PostgresServer, free_port, scratch_folder


@pytest_asyncio.fixture
async def server() -> AsyncIterator[PostgresServer]:
    """Not started."""
    with scratch_folder("accident") as folder:
        made = PostgresServer(postgres.Cluster(folder / "data", free_port(), "secret", FAST))
        yield made
        await made.stop()


async def one(server: PostgresServer) -> int:
    connection = await asyncpg.connect(server.cluster.url("postgres", driver="postgresql"))
    try:
        return int(await connection.fetchval("SELECT 1"))
    finally:
        await connection.close()


async def test_a_set_up_that_was_interrupted_is_done_anew(server: PostgresServer) -> None:
    half = server.cluster.data.with_name("data.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    await server.start()
    assert await one(server) == 1
    assert not half.exists()


async def test_a_pid_file_whose_number_is_another_program_s_does_not_stop_the_start(server: PostgresServer) -> None:
    await server.start()
    await server.kill()
    pid_file = server.cluster.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines() if pid_file.exists() else ["", str(server.cluster.data)]
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    await server.start()
    assert await one(server) == 1


async def test_a_server_that_outlived_its_supervisor_is_stopped_first(server: PostgresServer) -> None:
    await server.start()
    again = PostgresServer(server.cluster)
    await again.start()
    assert await one(again) == 1
    await again.stop()


async def test_data_of_another_version_is_a_sentence_and_left_alone(server: PostgresServer) -> None:
    await asyncio.to_thread(server.cluster.prepare)
    version = server.cluster.data / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(postgres.PostgresFailed, match="was made by Postgres 16, this is 18"):
        server.cluster.prepare()
    assert version.read_text() == "16\n"


async def test_data_and_password_that_were_made_apart_are_a_sentence(server: PostgresServer) -> None:
    await server.start()
    other = postgres.Cluster(server.cluster.data, server.cluster.port, "another", FAST)
    with pytest.raises(postgres.PostgresFailed, match="does not open with the password"):
        await postgres.wait_until_ready(other)


async def test_no_password_is_on_a_command_line_and_no_file_with_it_stays(server: PostgresServer) -> None:
    await server.start()
    assert "secret" not in " ".join(server.cluster.command)
    files = await asyncio.to_thread(lambda: sorted(path.name for path in server.cluster.data.parent.iterdir()))
    assert files == ["data", "log"]
