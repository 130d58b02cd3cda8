"""Documents over HTTP: reading, listing, watching, putting right, deleting."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from asgi_lifespan import LifespanManager
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.clock import now
from adapters.postgres.documents import notify
from adapters.postgres.ingestions import close
from adapters.postgres.tables import document_contents, documents, ingestion_steps, ingestions
from adapters.temporal.client import data_converter
from adapters.wiring import Adapters
from api.main import create_app
from api.routes.ingestions import watch
from domain.documents import IngestionRef
from domain.ids import DocumentId
from domain.steps import CloseIngestion
from tests.api.conftest import Caller
from tests.api.test_bots import make_bot
from tests.api.test_uploads import publish, upload
from tests.builders import a_bot, a_ready_document
from tests.fakes import WordEmbedder
from tests.servers import free_port


async def a_document(owner: Caller, content: bytes = b"one", name: str = "a.txt") -> dict[str, Any]:
    bot = (await make_bot(owner))["id"]
    document: dict[str, Any] = (await upload(owner, bot, content, name)).json()
    return document


async def set_state(engine: AsyncEngine, document: str, status: str, ingestion: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            update(documents).where(documents.c.id == UUID(document)).values(status=status, **values)
        )
        await connection.execute(
            update(ingestions).where(ingestions.c.document_id == UUID(document)).values(status=ingestion)
        )
        await notify(connection, DocumentId(UUID(document)))


async def test_a_list_is_filtered_and_its_cursor_bound_to_the_filter(owner: Caller, engine: AsyncEngine) -> None:
    bot = (await make_bot(owner))["id"]
    for name in ("Leave 100%.txt", "Travel.txt", "leave_2.txt"):
        await upload(owner, bot, name.encode(), name)
    url = f"/api/v1/bots/{bot}/documents"

    async def names(**params: str) -> list[str]:
        return [each["name"] for each in (await owner.http.get(url, params=params)).json()["data"]]

    assert await names(name="LEAVE", order="asc") == ["Leave 100%.txt", "leave_2.txt"]
    assert await names(name="%") == ["Leave 100%.txt"]
    assert await names(name="_") == ["leave_2.txt"]
    assert await names(status="ready") == []
    assert len(await names(status="pending")) == 3
    after = (await owner.http.get(url, params={"limit": 1})).json()["next"]
    refused = await owner.http.get(url, params={"after": after, "status": "pending"})
    assert refused.json()["error"]["code"] == "invalid_cursor"
    for params in ({"status": "x"}, {"name": "\0"}):
        assert (await owner.http.get(url, params=params)).status_code == 422


async def test_the_bytes_come_back_as_an_attachment_that_no_browser_runs(owner: Caller) -> None:
    document = await a_document(owner, b"one", 'a"\r\nX: ü<script>.txt')

    response = await owner.http.get(f"/api/v1/documents/{document['id']}/content")

    assert response.content == b"one"
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["content-disposition"].startswith("attachment; filename*=UTF-8''a")
    assert "X: " not in response.headers["content-disposition"]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_chunks_are_listed_by_their_place(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    document, _ = await a_ready_document(engine, owner.id, bot, ["a", "b", "c"], WordEmbedder())
    url = f"/api/v1/documents/{document}/chunks"

    first = (await owner.http.get(url, params={"order": "asc", "limit": 2})).json()
    rest = (await owner.http.get(url, params={"order": "asc", "limit": 2, "after": first["next"]})).json()

    assert [(each["ordinal"], each["content"]) for each in first["data"] + rest["data"]] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]
    assert set(first["data"][0]) == {
        "id", "document_id", "ordinal", "content", "page_from", "page_to", "char_start", "char_end", "heading_path",
        "embedding_error",
    }  # fmt: skip
    pending = await a_document(owner)
    assert (await owner.http.get(f"/api/v1/documents/{pending['id']}/chunks")).json()["data"] == []


async def test_what_nobody_took_up_is_cancelled_at_once_and_retried(
    owner: Caller, engine: AsyncEngine, temporal: Client
) -> None:
    document = await a_document(owner)
    url = f"/api/v1/documents/{document['id']}"

    cancelled = await owner.http.post(f"{url}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert cancelled.json()["last_error"]["code"] == "cancelled"
    await temporal.get_workflow_handle(f"ingest/{document['id']}").terminate()

    retried = await owner.http.post(f"{url}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "pending")
    assert retried.json()["last_error"] is None
    async with engine.connect() as connection:
        ingestion = (await connection.execute(select(ingestions))).one()
    assert (ingestion.epoch, ingestion.status, ingestion.cancel_requested_at) == (2, "pending", None)
    run = await temporal.get_workflow_handle(f"ingest/{document['id']}").describe()
    assert run.status is not None
    assert run.status.name == "RUNNING"


async def test_a_running_ingestion_is_told_to_stop_and_the_wish_is_kept(
    owner: Caller, engine: AsyncEngine, temporal: Client
) -> None:
    document = await a_document(owner)
    handle = temporal.get_workflow_handle(f"ingest/{document['id']}")
    run_id = (await handle.describe()).run_id
    await set_state(engine, document["id"], "processing", "running")
    async with engine.begin() as connection:
        await connection.execute(update(ingestions).values(run_id=run_id))

    response = await owner.http.post(f"/api/v1/documents/{document['id']}/cancel")

    assert (response.status_code, response.json()["status"]) == (202, "processing")
    async with engine.connect() as connection:
        assert (await connection.execute(select(ingestions.c.cancel_requested_at))).scalar_one() is not None
    events = [event async for event in handle.fetch_history_events()]
    assert any(event.HasField("workflow_execution_cancel_requested_event_attributes") for event in events)


async def test_cancelling_a_new_version_shows_the_old_one_again(owner: Caller, engine: AsyncEngine) -> None:
    first = await a_document(owner)
    await publish(engine, first["id"])
    await owner.http.put(f"/api/v1/documents/{first['id']}/file", files={"file": ("b.txt", b"two")})

    shown = (await owner.http.post(f"/api/v1/documents/{first['id']}/cancel")).json()

    assert (shown["status"], shown["version"], shown["sha256"]) == ("ready", 1, first["sha256"])
    assert shown["last_error"]["code"] == "cancelled"
    content = await owner.http.get(f"/api/v1/documents/{first['id']}/content")
    assert content.content == b"one"
    flight = (await owner.http.get(f"/api/v1/documents/{first['id']}/ingestion")).json()
    assert (flight["version"], flight["status"], flight["stage"]) == (2, "cancelled", None)
    assert flight["last_error"] == shown["last_error"]
    assert (await upload(owner, first["bot_id"], b"two", "b.txt")).status_code == 202  # its bytes are free again
    third = await owner.http.put(f"/api/v1/documents/{first['id']}/file", files={"file": ("b.txt", b"three")})
    assert (third.status_code, third.json()["version"], third.json()["last_error"]) == (202, 3, None)


async def test_the_bytes_of_a_version_that_failed_are_free_while_the_old_one_answers(
    owner: Caller, engine: AsyncEngine
) -> None:
    first = await a_document(owner)
    await publish(engine, first["id"])
    await owner.http.put(f"/api/v1/documents/{first['id']}/file", files={"file": ("b.txt", b"two")})
    async with engine.begin() as connection:
        row = (await connection.execute(select(documents))).one()
        ref = IngestionRef(
            owner_id=row.owner_id, bot_id=row.bot_id, document_id=row.id, ingestion_id=row.current_ingestion_id
        )
        end = CloseIngestion(ref=ref, cancelled=False, code="no_text", message="None.")
        await close(connection, end, now=now())

    again = await upload(owner, first["bot_id"], b"one", "a.txt")
    fresh = await upload(owner, first["bot_id"], b"two", "b.txt")

    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert (fresh.status_code, fresh.json()["sha256"]) == (202, hashlib.sha256(b"two").hexdigest())


async def test_an_operation_that_the_state_does_not_allow_is_409(owner: Caller, engine: AsyncEngine) -> None:
    document = await a_document(owner)
    url = f"/api/v1/documents/{document['id']}"
    for operation in ("retry", "abandon"):
        response = await owner.http.post(f"{url}/{operation}")
        assert (response.status_code, response.json()["error"]["code"]) == (409, "invalid_state")
    await publish(engine, document["id"])
    for operation in ("retry", "abandon", "cancel"):
        assert (await owner.http.post(f"{url}/{operation}")).status_code == 409


async def test_a_parked_document_without_its_workflow_says_what_comes(
    owner: Caller, engine: AsyncEngine, temporal: Client
) -> None:
    document = await a_document(owner)
    await temporal.get_workflow_handle(f"ingest/{document['id']}").terminate()
    await set_state(engine, document["id"], "needs_attention", "parked")

    for operation in ("retry", "abandon"):
        response = await owner.http.post(f"/api/v1/documents/{document['id']}/{operation}")
        assert (response.status_code, response.json()["error"]["code"]) == (409, "invalid_state")


async def test_the_flight_record_tells_steps_and_where_to_look(
    owner: Caller, engine: AsyncEngine, temporal: Client
) -> None:
    document = await a_document(owner)
    run_id = (await temporal.get_workflow_handle(f"ingest/{document['id']}").describe()).run_id
    async with engine.begin() as connection:
        ingestion = (await connection.execute(select(ingestions.c.id))).scalar_one()
        await connection.execute(
            update(ingestions).values(run_id=run_id, model_calls=3, model_calls_needed=7, planned_chunks=200)
        )
        await connection.execute(
            insert(ingestion_steps).values(
                ingestion_id=ingestion, step="extract", attempts=2, state="completed", seconds=1.5,
                error_code="extraction_crashed", error_message="It crashed.", first_started_at=now(),
            )
        )  # fmt: skip

    record = (await owner.http.get(f"/api/v1/documents/{document['id']}/ingestion")).json()

    step = record["steps"][0]
    assert (step["step"], step["attempts"], step["seconds"], step["last_error"]["code"]) == (
        "extract", 2, 1.5, "extraction_crashed",
    )  # fmt: skip
    assert record["model_calls"] == {"made": 3, "needed": 7}
    assert record["workflow"]["reachable"] is True
    assert record["workflow"]["url"].endswith(f"/workflows/ingest%2F{document['id']}/{run_id}/history")


async def test_a_document_that_is_worked_on_tells_its_pace_and_what_is_left(owner: Caller, engine: AsyncEngine) -> None:
    document = await a_document(owner)
    url = f"/api/v1/documents/{document['id']}"
    assert document["progress"]["estimated_seconds_left"] is None
    begun = now()
    async with engine.begin() as connection:
        await connection.execute(
            update(documents).values(
                status="processing", stage="embedding", stage_started_at=begun, stage_done=300, chunks_done=600,
                chunks_total=1000, updated_at=begun + timedelta(seconds=10),
            )
        )  # fmt: skip
    progress = (await owner.http.get(url)).json()["progress"]
    assert (progress["per_second"], progress["estimated_seconds_left"]) == (30.0, 14)
    assert (await owner.http.get(f"{url}/ingestion")).json()["progress"] == progress


async def test_deleting_takes_it_from_search_at_once_and_frees_its_bytes(owner: Caller, engine: AsyncEngine) -> None:
    document = await a_document(owner)
    await publish(engine, document["id"])
    url = f"/api/v1/documents/{document['id']}"

    response = await owner.http.delete(url)

    assert response.status_code == 202
    assert (response.json()["id"], response.json()["kind"]) == (document["id"], "document")
    async with engine.connect() as connection:
        row = (await connection.execute(select(documents))).one()
        contents = (await connection.execute(select(document_contents))).all()
    assert (row.status, row.active_ingestion_id, contents) == ("deleting", None, [])
    assert (await owner.http.delete(url)).status_code == 202
    assert (await owner.http.get(f"/api/v1/deletions/{document['id']}")).json()["status"] == "pending"
    assert (await owner.http.get(f"{url}/content")).status_code == 404
    assert (await upload(owner, document["bot_id"], b"one", "a.txt")).status_code == 202


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_watcher_sees_the_state_each_change_and_the_end(
    owner: Caller, engine: AsyncEngine, adapters: Adapters
) -> None:
    document = await a_document(owner)
    events = watch(adapters, owner.id, DocumentId(UUID(document["id"])))

    async def following() -> tuple[str, dict[str, Any]]:
        event = await asyncio.wait_for(anext(events), 60)
        return str(event.event), json.loads(str(event.data))

    assert (await following())[0] == "document.progress"
    await set_state(engine, document["id"], "needs_attention", "parked", error_code="no_text", error_message="None.")
    name, shown = await following()
    assert (name, shown["last_error"]["code"]) == ("document.needs_attention", "no_text")
    await set_state(engine, document["id"], "processing", "running", stage="embedding", error_code=None)
    name, shown = await following()
    assert (name, shown["stage"]) == ("document.progress", "embedding")
    await set_state(engine, document["id"], "failed", "failed", stage=None)
    assert (await following())[0] == "document.failed"
    with pytest.raises(StopAsyncIteration):
        await following()


async def test_a_watcher_of_what_is_final_gets_it_and_the_end(owner: Caller, engine: AsyncEngine) -> None:
    document = await a_document(owner)
    await publish(engine, document["id"])

    response = await owner.http.get(f"/api/v1/documents/{document['id']}/events")

    assert [name for name, _ in events_of(response.text)] == ["document.ready"]
    assert (await owner.http.get(f"/api/v1/documents/{uuid4()}/events")).status_code == 404


@pytest_asyncio.fixture
async def alone(adapters: Adapters, owner: Caller) -> AsyncIterator[Caller]:
    """The owner, at an API whose Temporal server is away."""
    nowhere = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True, data_converter=data_converter())
    app = create_app(adapters=replace(adapters, temporal=nowhere))
    async with (
        LifespanManager(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test", headers=owner.http.headers) as http,
    ):
        yield Caller(owner.id, http)


async def test_while_temporal_is_away_documents_are_taken_and_left_to_the_sweeper(alone: Caller) -> None:
    document = await a_document(alone)

    assert document["status"] == "pending"
    record = (await alone.http.get(f"/api/v1/documents/{document['id']}/ingestion")).json()
    assert record["status"] == "pending"
    assert (await alone.http.post(f"/api/v1/documents/{document['id']}/cancel")).json()["status"] == "cancelled"
    assert (await alone.http.post(f"/api/v1/documents/{document['id']}/retry")).json()["status"] == "pending"
    assert (await alone.http.delete(f"/api/v1/documents/{document['id']}")).status_code == 202
    ready = await alone.http.get("/readyz")
    assert ready.json()["checks"] == {"database": "ok", "temporal": "failed", "migrations": "ok"}


async def test_while_temporal_is_away_a_parked_document_cannot_be_asked(alone: Caller, engine: AsyncEngine) -> None:
    document = await a_document(alone)
    await set_state(engine, document["id"], "needs_attention", "parked")

    response = await alone.http.post(f"/api/v1/documents/{document['id']}/retry")

    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert "Retry-After" in response.headers
