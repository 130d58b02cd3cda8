"""Migrations: from empty to head, back one step and forth again, without drift, loudly."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.engine import make_url

from adapters.embedded import postgres
from adapters.postgres import keywords
from domain import terms
from tests.servers import ROOT, PostgresServer

A_DOCUMENT = """
    insert into users (id, email, password_hash) values (gen_random_uuid(), 'a@b.c', 'x');
    insert into bots (id, owner_id, name) select gen_random_uuid(), id, 'Bot' from users;
    insert into documents (id, owner_id, bot_id, name, source_type, content_type, size_bytes, sha256,
        current_ingestion_id) select gen_random_uuid(), owner_id, id, 'a.txt', 'file', 'text/plain', 1, 'aa',
        gen_random_uuid() from bots;
"""


def alembic(url: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", *arguments],
        cwd=ROOT, env={**os.environ, "CHATSPHERE_DATABASE_URL": url}, check=check, capture_output=True, text=True,
    )  # fmt: skip


def dsn(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest_asyncio.fixture
async def empty_database(postgres: PostgresServer) -> AsyncIterator[str]:
    name = "test_empty"
    await ensure_database(postgres, name)
    yield postgres.url(name)
    await postgres.drop(name)


async def ensure_database(server: PostgresServer, name: str) -> None:
    await postgres.ensure_database(server.cluster, name)


async def test_an_empty_database_goes_to_head_and_back_and_forth_without_drift(empty_database: str) -> None:
    for step in (
        ("upgrade", "head"),
        ("check",),
        ("downgrade", "-1"),
        ("upgrade", "head"),
        ("check",),
        ("downgrade", "base"),
        ("upgrade", "head"),
        ("check",),
    ):
        await asyncio.to_thread(alembic, empty_database, *step)


async def test_data_survives_a_second_upgrade(database_url: str) -> None:
    connection = await asyncpg.connect(dsn(database_url))
    try:
        await connection.execute(
            "insert into users (id, email, password_hash) values (gen_random_uuid(), 'a@b.c', 'x')"
        )
        await asyncio.to_thread(alembic, database_url, "upgrade", "head")
        assert await connection.fetchval("select count(*) from users") == 1
    finally:
        await connection.close()


async def test_documents_and_chunks_of_the_first_schema_survive_the_way_to_head(empty_database: str) -> None:
    await asyncio.to_thread(alembic, empty_database, "upgrade", "0001")
    connection = await asyncpg.connect(dsn(empty_database))
    try:
        await connection.execute(A_DOCUMENT)
        await connection.execute(
            "insert into chunks (ingestion_id, ordinal, id, owner_id, bot_id, document_id, content,"
            " page_starts, char_start, char_end, heading_path, embedding) select current_ingestion_id, 0, gen_random_uuid(),"
            " owner_id, bot_id, id, 'hello', '{}', 0, 5, '{}', array_fill(1, array[768])::vector::halfvec"
            " from documents"
        )
        await asyncio.to_thread(alembic, empty_database, "upgrade", "head")
        row = await connection.fetchrow(
            "select content, content_sha256, import_id, source_url, languages, -(keywords <#> $1::text::sparsevec) as words"
            " from chunks join chunk_keywords using (ingestion_id, ordinal)"
            " join documents on documents.id = document_id join bots on bots.id = chunks.bot_id",
            keywords.scores(dict.fromkeys(terms.of_question("hello", ()), 1.0)).to_text(),
        )
    finally:
        await connection.close()
    assert tuple(row)[:-1] == ("hello", None, None, None, ["english"])
    assert row["words"] > 0  # keyword search finds it


@pytest.mark.parametrize("word", ["bạ", "کتاب", "۱۴۰۲", "ngự"])
async def test_words_of_other_spellings_have_their_terms_on_the_way_to_head(empty_database: str, word: str) -> None:
    await asyncio.to_thread(alembic, empty_database, "upgrade", "0021")
    connection = await asyncpg.connect(dsn(empty_database))
    try:
        await connection.execute(A_DOCUMENT)
        await connection.execute(
            "insert into chunks (ingestion_id, ordinal, id, owner_id, bot_id, document_id, content,"
            " page_starts, char_start, char_end, heading_path) select current_ingestion_id, ordinal, gen_random_uuid(),"
            " owner_id, bot_id, id, 'hello', '{}', 0, 5, '{}' from documents, generate_series(0, 1) ordinal;"
            "insert into chunk_keywords select ingestion_id, ordinal, '{1:1}/536870912'::sparsevec from chunks"
        )
        await connection.execute("update chunks set content = $1 where ordinal = 0", f"hello {word}")
        await asyncio.to_thread(alembic, empty_database, "upgrade", "head")
        found = await connection.fetch(
            "select -(keywords <#> $1::text::sparsevec) as words, keywords::text from chunk_keywords order by ordinal",
            keywords.scores(dict.fromkeys(terms.of_question(word, ()), 1.0)).to_text(),
        )
    finally:
        await connection.close()
    assert found[0]["words"] > 0
    assert found[1]["keywords"] == "{1:1}/536870912", "what has none of them stays as it is"


async def test_messages_of_before_there_were_branches_follow_the_one_before(empty_database: str) -> None:
    await asyncio.to_thread(alembic, empty_database, "upgrade", "0005")
    connection = await asyncpg.connect(dsn(empty_database))
    try:
        await connection.execute(
            "insert into users (id, email, password_hash) values (gen_random_uuid(), 'a@b.c', 'x');"
            "insert into bots (id, owner_id, name) select gen_random_uuid(), id, 'Bot' from users;"
            "insert into conversations (id, owner_id, bot_id) select gen_random_uuid(), owner_id, id from bots,"
            " generate_series(1, 2);"
            "insert into messages (id, conversation_id, position, turn_id, role, content) select gen_random_uuid(), id,"
            " position, gen_random_uuid(), 'user', 'hello' from conversations, generate_series(1, 1500) position"
        )
        await asyncio.to_thread(alembic, empty_database, "upgrade", "head")
        wrong = await connection.fetchval(
            "select count(*) from (select parent_id, coalesce(lag(id) over (partition by conversation_id order by"
            " position), conversation_id) as former from messages) as rows where parent_id is distinct from former"
        )
        assert (await connection.fetchval("select count(*) from messages"), wrong) == (3000, 0)
    finally:
        await connection.close()


async def test_vectors_are_halves_of_the_set_width_stored_plain(database_url: str) -> None:
    connection = await asyncpg.connect(dsn(database_url))
    try:
        row = await connection.fetchrow(
            "select format_type(atttypid, atttypmod) as type, attstorage::text as storage from pg_attribute"
            " where attrelid = 'chunks'::regclass and attname = 'embedding'"
        )
    finally:
        await connection.close()
    assert (row["type"], row["storage"]) == ("halfvec(768)", "p")


async def test_a_lock_that_is_not_had_fails_the_migration_loudly(empty_database: str) -> None:
    await asyncio.to_thread(alembic, empty_database, "upgrade", "head")
    connection = await asyncpg.connect(dsn(empty_database))
    try:
        async with connection.transaction():
            await connection.execute("lock table documents in access share mode")
            done = await asyncio.to_thread(alembic, empty_database, "downgrade", "base", check=False)
            assert done.returncode != 0
            assert "LockNotAvailable" in done.stderr
            assert await connection.fetchval("select version_num from alembic_version") == "0019"
    finally:
        await connection.close()


async def test_two_processes_that_migrate_at_once_both_succeed(empty_database: str) -> None:
    done = await asyncio.gather(*(asyncio.to_thread(alembic, empty_database, "upgrade", "head") for _ in range(2)))
    assert [process.returncode for process in done] == [0, 0]


async def test_a_segment_that_is_being_written_does_not_outlive_its_format(empty_database: str) -> None:
    await asyncio.to_thread(alembic, empty_database, "upgrade", "0019")
    writing, watching = [await asyncpg.connect(dsn(empty_database)) for _ in range(2)]
    try:
        async with writing.transaction():
            await writing.execute("set local session_replication_role = replica")  # no bot is needed for it
            segment = uuid4()
            await writing.execute("insert into keyword_segments (id, bot_id, chunks) values ($1, $1, 1)", segment)
            await writing.execute("insert into keyword_postings values ($1, 0, 'as they were')", segment)
            upgrade = asyncio.create_task(asyncio.to_thread(alembic, empty_database, "upgrade", "head"))
            async with asyncio.timeout(60):
                waits = 0
                while not waits:
                    waits = await watching.fetchval("select count(*) from pg_locks where not granted")
        await upgrade
        for table in ("keyword_segments", "keyword_postings"):
            assert await watching.fetchval(f"select count(*) from {table}") == 0  # noqa: S608  (a name of ours)
    finally:
        await writing.close()
        await watching.close()
