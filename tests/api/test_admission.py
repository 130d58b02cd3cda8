"""An upload is accepted however long its owner's line is, and started where there is room."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.settings import Settings
from adapters.temporal.runs import is_open
from domain.ids import BotId, DocumentId
from domain.runs import ingestion_run
from tests.api.conftest import Caller
from tests.rows import Home, a_document


async def test_an_upload_beyond_the_room_waits_without_a_run_and_another_owners_does_not(
    owner: Caller, stranger: Caller, engine: AsyncEngine, settings: Settings, temporal: Client
) -> None:
    bots = {caller.id: await a_bot(caller) for caller in (owner, stranger)}
    for _ in range(settings.owner_running_documents or 0):
        await a_document(engine, Home(owner.id, bots[owner.id]), status="processing", ingestion="running")
    accepted = {caller.id: await upload(caller, bots[caller.id]) for caller in (owner, stranger)}
    assert not await is_open(temporal, ingestion_run(accepted[owner.id]))
    assert await is_open(temporal, ingestion_run(accepted[stranger.id]))


async def a_bot(caller: Caller) -> BotId:
    return BotId(UUID((await caller.http.post("/api/v1/bots", json={"name": "x"})).json()["id"]))


async def upload(caller: Caller, bot: BotId) -> DocumentId:
    files = {"file": ("note.txt", b"The key hangs on hook 31.", "text/plain")}
    answer = await caller.http.post(f"/api/v1/bots/{bot}/documents", files=files)
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    return DocumentId(UUID(answer.json()["id"]))
