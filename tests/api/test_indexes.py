"""A bot's index over HTTP."""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.clock import now
from adapters.postgres.tables import bot_indexes
from tests.api.conftest import Caller
from tests.builders import a_bot, a_ready_document
from tests.fakes import WordEmbedder


async def test_a_small_bot_is_scanned(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    await a_ready_document(engine, owner.id, bot, ["One.", "Two."], WordEmbedder())
    assert (await owner.http.get(f"/api/v1/bots/{bot}/index")).json() == {
        "bot_id": str(bot),
        "state": "none",
        "used": False,
        "chunks": 2,
        "threshold": 5000,
        "valid_at": None,
        "error_code": None,
        "error_message": None,
    }


async def test_an_index_shows_how_far_it_is_and_why_not_farther(owner: Caller, engine: AsyncEngine) -> None:
    _, built = await a_bot(engine, owner.id)
    _, failed = await a_bot(engine, owner.id)
    mine = {"owner_id": owner.id, "chunks": 9000}
    async with engine.begin() as connection:
        await connection.execute(insert(bot_indexes).values(bot_id=built, state="valid", valid_at=now(), **mine))
        why = {"error_code": "internal", "error_message": "The disk is full."}
        await connection.execute(insert(bot_indexes).values(bot_id=failed, state="failed", **why, **mine))
    shown = (await owner.http.get(f"/api/v1/bots/{built}/index")).json()
    assert (shown["state"], shown["used"], shown["chunks"]) == ("valid", True, 0)
    assert shown["valid_at"] is not None
    shown = (await owner.http.get(f"/api/v1/bots/{failed}/index")).json()
    assert (shown["state"], shown["used"], shown["valid_at"]) == ("failed", False, None)
    assert (shown["error_code"], shown["error_message"]) == ("internal", "The disk is full.")
