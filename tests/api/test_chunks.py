"""A chunk over HTTP, with the text around it: what a citation points to."""

from uuid import uuid4

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import documents
from domain.ids import chunk_id
from tests.api.conftest import Caller
from tests.builders import a_bot, a_ready_document
from tests.fakes import WordEmbedder

TEXTS = ["Leave is taken in the year.", "Everyone has thirty days of leave.", "Ask in time."]


async def test_a_chunk_is_shown_with_the_text_before_and_after_it(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    document, ingestion = await a_ready_document(engine, owner.id, bot, TEXTS, WordEmbedder(), name="leave.pdf")
    url = f"/api/v1/chunks/{chunk_id(ingestion, 1)}"
    shown = (await owner.http.get(url)).json()
    assert (shown["content"], shown["document_id"], shown["document_name"]) == (TEXTS[1], str(document), "leave.pdf")
    assert (shown["before"], shown["after"]) == (TEXTS[0] + "\n ", "\n " + TEXTS[2])
    assert (shown["char_start"], shown["char_end"]) == (29, 63)
    little = (await owner.http.get(url, params={"context": 6})).json()
    assert (little["before"], little["after"]) == ("ear.\n ", "\n Ask ")
    assert (await owner.http.get(url, params={"context": 10_001})).status_code == 422


async def test_the_first_chunk_has_nothing_before_it(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    _, ingestion = await a_ready_document(engine, owner.id, bot, TEXTS[:1], WordEmbedder())
    shown = (await owner.http.get(f"/api/v1/chunks/{chunk_id(ingestion, 0)}")).json()
    assert (shown["before"], shown["after"]) == ("", "")


async def test_a_chunk_of_a_version_that_does_not_answer_is_not_there(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    document, ingestion = await a_ready_document(engine, owner.id, bot, TEXTS, WordEmbedder())
    url = f"/api/v1/chunks/{chunk_id(ingestion, 0)}"
    for values in ({"status": "deleting"}, {"status": "ready", "active_ingestion_id": uuid4()}):
        async with engine.begin() as connection:
            await connection.execute(update(documents).where(documents.c.id == document).values(values))
        gone = await owner.http.get(url)
        assert gone.status_code == 404
        assert "replaced or deleted" in gone.json()["error"]["message"]
