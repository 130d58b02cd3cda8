"""Vector stores by OpenAI's own client: bots that get files, ingested by real workflows, and are searched."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import openai
import pytest
from asgi_lifespan import LifespanManager
from openai import AsyncOpenAI
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.postgres import vector_stores
from adapters.postgres.tables import bots, documents, file_documents
from adapters.postgres.tables import files as files_table
from adapters.wiring import Adapters
from api.main import create_app
from domain.documents import DocumentStatus
from domain.ids import BotId, DocumentId, FileBatchId
from domain.ports import Vectors
from tests.api.conftest import Caller, logged_in
from tests.api.openai.conftest import ANSWER, QUESTION, WARRANTY
from tests.fakes import ScriptedGenerator, WordEmbedder

LEAVE = ("leave.txt", b"Everyone has thirty days of leave a year.")
TRAVEL = ("travel.txt", b"Trains are booked by the office in Berlin.")
EMPTY_PDF = ("broken.pdf", b"%PDF-1.7\nnothing more")


async def count(engine: AsyncEngine, table: Any) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_store_is_a_bot_and_a_bot_is_a_store(client_of_openai: AsyncOpenAI, owner: Caller, bot: BotId) -> None:
    made = await client_of_openai.vector_stores.create(name="Handbook", metadata={"team": "HR"})
    assert (made.object, made.name, made.status, made.file_counts.total) == ("vector_store", "Handbook", "completed", 0)
    assert made.metadata == {"team": "HR"}
    assert (await owner.http.get(f"/api/v1/bots/{made.id}")).json()["name"] == "Handbook"
    assert [each.id async for each in client_of_openai.vector_stores.list(limit=1)] == [made.id, str(bot)]
    assert [each.id async for each in client_of_openai.vector_stores.list(before=str(bot))] == [made.id]
    shown = await client_of_openai.vector_stores.retrieve(str(bot))
    assert (shown.file_counts.completed, shown.file_counts.total, shown.usage_bytes) == (1, 1, 1)
    changed = await client_of_openai.vector_stores.update(made.id, name="Handbook of 2026")
    assert (changed.name, changed.metadata) == ("Handbook of 2026", {"team": "HR"})
    assert (await client_of_openai.vector_stores.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.vector_stores.retrieve(made.id)


async def test_a_file_that_is_uploaded_and_polled_is_found_and_cited_by_its_id(
    client_of_openai: AsyncOpenAI, adapters: Adapters, working: None
) -> None:
    store = await client_of_openai.vector_stores.create()
    file = await client_of_openai.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("terms.txt", WARRANTY.encode()), poll_interval_ms=50
    )
    assert (file.status, file.last_error, file.vector_store_id) == ("completed", None, store.id)
    found: Any = [each async for each in client_of_openai.vector_stores.search(store.id, query="warranty years")]
    assert (found[0].file_id, found[0].filename, found[0].content[0].text) == (file.id, "terms.txt", WARRANTY)
    assert 0 < found[0].score <= 1
    assert isinstance(adapters.generator, ScriptedGenerator)
    adapters.generator.scripts = [[ANSWER]]
    response: Any = await client_of_openai.responses.create(model=store.id, input=QUESTION)
    assert response.output[0].content[0].annotations[0].file_id == file.id
    assert await client_of_openai.responses.retrieve(response.id) == response
    events: list[Any] = [each async for each in await client_of_openai.responses.retrieve(response.id, stream=True)]
    assert events[-1].response == response
    completion: Any = await client_of_openai.chat.completions.create(
        model=store.id, messages=[{"role": "user", "content": QUESTION}]
    )
    assert completion.choices[0].message.annotations[0].url_citation.file_id == file.id


async def test_a_file_is_one_document_of_each_store_however_often_it_is_given(
    client_of_openai: AsyncOpenAI, engine: AsyncEngine, bot: BotId
) -> None:
    file = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    same = await client_of_openai.files.create(file=LEAVE, purpose="user_data")
    second = await client_of_openai.vector_stores.create(name="Second", file_ids=[file.id])
    give = client_of_openai.vector_stores.files.create
    given = [await give(vector_store_id=str(bot), file_id=each.id) for each in (file, file, same)]
    assert [each.id for each in given] == [file.id, file.id, same.id]
    assert len({(each.model_extra or {})["document_id"] for each in given}) == 1
    assert second.file_counts.in_progress == 1
    assert (await count(engine, documents), await count(engine, file_documents)) == (3, 3)


async def test_a_store_comes_with_all_its_files_or_not_at_all(
    client_of_openai: AsyncOpenAI, adapters: Adapters, engine: AsyncEngine
) -> None:
    made = [await client_of_openai.files.create(file=each, purpose="assistants") for each in (LEAVE, TRAVEL)]
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.vector_stores.create(name="Half", file_ids=[made[0].id, str(uuid4())])
    assert (await count(engine, bots), await count(engine, documents)) == (0, 0)
    assert [path for path in (adapters.settings.blob_dir / "documents").rglob("*") if path.is_file()] == []
    ids = [each.id for each in made]
    create, headers = client_of_openai.vector_stores.create, {"Idempotency-Key": "one"}
    twins = await asyncio.gather(*(create(name="Whole", file_ids=ids, extra_headers=headers) for _ in range(3)))
    assert {each.id for each in twins} == {twins[0].id}
    assert twins[0].file_counts.in_progress == 2
    assert (await count(engine, bots), await count(engine, documents)) == (1, 2)
    assert len([path for path in (adapters.settings.blob_dir / "documents").rglob("*") if path.is_file()]) == 2


async def test_of_two_files_of_the_same_bytes_one_is_taken_out_and_the_other_stays(
    client_of_openai: AsyncOpenAI, engine: AsyncEngine, bot: BotId
) -> None:
    files = client_of_openai.vector_stores.files
    old = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    new = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    await files.create(vector_store_id=str(bot), file_id=old.id, attributes={"year": 2025})
    given = await files.create(vector_store_id=str(bot), file_id=new.id, attributes={"year": 2026})
    assert given.attributes == {"year": 2026}
    assert (await files.delete(old.id, vector_store_id=str(bot))).deleted
    with pytest.raises(openai.NotFoundError):
        await files.retrieve(old.id, vector_store_id=str(bot))
    assert (await files.retrieve(new.id, vector_store_id=str(bot))).status == "in_progress"
    assert new.id in [each.id async for each in files.list(str(bot))]
    assert (await files.delete(new.id, vector_store_id=str(bot))).deleted
    with pytest.raises(openai.NotFoundError):
        await files.retrieve(new.id, vector_store_id=str(bot))
    assert await count(engine, file_documents) == 0


@pytest.mark.parametrize("first", ["file", "upload"])
@pytest.mark.parametrize("deleted", ["the file", "the store's file"])
async def test_what_was_uploaded_by_the_other_door_as_well_stays_when_the_file_goes(
    client_of_openai: AsyncOpenAI, owner: Caller, bot: BotId, first: str, deleted: str
) -> None:
    files, store = client_of_openai.vector_stores.files, str(bot)
    path, parts = f"/api/v1/bots/{bot}/documents", {"file": LEAVE}
    file = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    if first == "upload":
        await owner.http.post(path, files=parts)
    await files.create(vector_store_id=store, file_id=file.id)
    document = (await owner.http.post(path, files=parts)).json()["id"]
    if deleted == "the file":
        await client_of_openai.files.delete(file.id)
    else:
        await files.delete(file.id, vector_store_id=store)
    assert (await owner.http.get(f"/api/v1/documents/{document}")).json()["status"] == "pending"
    assert document in [each.id async for each in files.list(store)]
    await files.delete(document, vector_store_id=store)
    assert (await owner.http.get(f"/api/v1/documents/{document}")).json()["status"] == "deleting"


async def test_files_of_a_store_are_listed_described_and_taken_out(
    client_of_openai: AsyncOpenAI, working: None, bot: BotId
) -> None:
    files = client_of_openai.vector_stores.files
    made = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    file = await files.create_and_poll(
        made.id, vector_store_id=str(bot), attributes={"year": 2026}, poll_interval_ms=50
    )
    assert (file.id, file.status, file.attributes) == (made.id, "completed", {"year": 2026})
    listed = [each.id async for each in files.list(str(bot), limit=1)]
    assert (listed[0], len(listed)) == (made.id, 2)
    assert [each.id async for each in files.list(str(bot), filter="in_progress")] == []
    changed = await files.update(made.id, vector_store_id=str(bot), attributes={"year": 2027})
    assert changed.attributes == {"year": 2027}
    assert (await files.delete(made.id, vector_store_id=str(bot))).deleted
    with pytest.raises(openai.NotFoundError):
        await files.retrieve(made.id, vector_store_id=str(bot))
    again = await files.create_and_poll(made.id, vector_store_id=str(bot), poll_interval_ms=50)
    assert (again.status, again.attributes) == ("completed", {})


async def test_a_file_that_cannot_be_read_fails_with_its_reason(
    client_of_openai: AsyncOpenAI, working: None, bot: BotId
) -> None:
    file = await client_of_openai.vector_stores.files.upload_and_poll(
        vector_store_id=str(bot), file=EMPTY_PDF, poll_interval_ms=50
    )
    assert file.status == "failed"
    assert file.last_error is not None
    assert (file.last_error.code, file.last_error.message.strip() != "") == ("invalid_file", True)
    store = await client_of_openai.vector_stores.retrieve(str(bot))
    assert (store.file_counts.failed, store.file_counts.completed) == (1, 1)


async def test_a_deleted_file_leaves_every_store(
    client_of_openai: AsyncOpenAI, engine: AsyncEngine, bot: BotId
) -> None:
    file = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    await client_of_openai.vector_stores.files.create(vector_store_id=str(bot), file_id=file.id)
    await client_of_openai.files.delete(file.id)
    assert [each.id async for each in client_of_openai.vector_stores.files.list(str(bot), filter="in_progress")] == []
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.vector_stores.files.create(vector_store_id=str(bot), file_id=file.id)


async def test_a_batch_is_uploaded_and_polled(client_of_openai: AsyncOpenAI, working: None, bot: BotId) -> None:
    batch = await client_of_openai.vector_stores.file_batches.upload_and_poll(
        str(bot), files=[LEAVE, TRAVEL], poll_interval_ms=50
    )
    assert (batch.status, batch.file_counts.completed, batch.file_counts.total) == ("completed", 2, 2)
    assert await client_of_openai.vector_stores.file_batches.retrieve(batch.id, vector_store_id=str(bot)) == batch
    listed = [
        each
        async for each in client_of_openai.vector_stores.file_batches.list_files(
            batch.id, vector_store_id=str(bot), limit=1
        )
    ]
    assert {(each.model_extra or {})["filename"] for each in listed} == {"leave.txt", "travel.txt"}


async def test_a_batch_that_nobody_works_on_is_cancelled(client_of_openai: AsyncOpenAI, bot: BotId) -> None:
    batches = client_of_openai.vector_stores.file_batches
    made = [await client_of_openai.files.create(file=each, purpose="assistants") for each in (LEAVE, TRAVEL)]
    described: Any = [{"file_id": each.id, "attributes": {"name": each.filename}} for each in made]
    batch = await batches.create(str(bot), files=described)
    assert (batch.status, batch.file_counts.in_progress) == ("in_progress", 2)
    cancelled = await batches.cancel(batch.id, vector_store_id=str(bot))
    assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 2)
    with pytest.raises(openai.NotFoundError):
        await batches.retrieve(str(uuid4()), vector_store_id=str(bot))
    with pytest.raises(openai.NotFoundError):
        await batches.create(str(bot), file_ids=[made[0].id, str(uuid4())])
    with pytest.raises(openai.BadRequestError):
        await batches.create(str(bot), file_ids=[])


async def test_a_document_that_is_gone_while_its_batch_is_cancelled_keeps_no_other(
    client_of_openai: AsyncOpenAI, engine: AsyncEngine, bot: BotId, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = client_of_openai.vector_stores.file_batches
    made = [await client_of_openai.files.create(file=each, purpose="assistants") for each in (LEAVE, TRAVEL)]
    batch = await batches.create(str(bot), file_ids=[each.id for each in made])
    batch_statuses = vector_stores.batch_statuses

    async def deleted_after(connection: AsyncConnection, batch: FileBatchId) -> dict[DocumentId, DocumentStatus]:
        statuses = await batch_statuses(connection, batch)
        async with engine.begin() as other:
            await other.execute(delete(documents).where(documents.c.id == next(iter(statuses))))
        return statuses

    monkeypatch.setattr(vector_stores, "batch_statuses", deleted_after)
    cancelled = await batches.cancel(batch.id, vector_store_id=str(bot))
    assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 1)


async def test_a_batch_that_is_ready_stays_so_when_it_is_cancelled(
    client_of_openai: AsyncOpenAI, bot: BotId, working: None
) -> None:
    file = await client_of_openai.files.create(file=LEAVE, purpose="assistants")
    batches = client_of_openai.vector_stores.file_batches
    batch = await batches.create_and_poll(str(bot), file_ids=[file.id], poll_interval_ms=100)
    assert await batches.cancel(batch.id, vector_store_id=str(bot)) == batch
    assert batch.status == "completed"


async def test_a_file_that_was_cancelled_is_read_when_it_is_given_again(
    client_of_openai: AsyncOpenAI, bot: BotId
) -> None:
    files = client_of_openai.vector_stores.files
    made = [await client_of_openai.files.create(file=(name, LEAVE[1]), purpose="assistants") for name in ("a", "b.txt")]
    batches = client_of_openai.vector_stores.file_batches
    batch = await batches.create(str(bot), file_ids=[made[0].id])
    await batches.cancel(batch.id, vector_store_id=str(bot))
    assert (await files.retrieve(made[0].id, vector_store_id=str(bot))).status == "cancelled"
    assert (await files.create(str(bot), file_id=made[0].id)).status == "in_progress"
    await batches.cancel(batch.id, vector_store_id=str(bot))
    same = await files.create(str(bot), file_id=made[1].id)
    assert same.status == "in_progress", "the same bytes under another file"


async def test_lists_are_walked_while_what_they_show_is_deleted(
    client_of_openai: AsyncOpenAI, bot: BotId, engine: AsyncEngine
) -> None:
    made = [
        await client_of_openai.files.create(file=(f"{n}.txt", f"Text {n}.".encode()), purpose="assistants")
        for n in range(5)
    ]
    await client_of_openai.vector_stores.file_batches.create(str(bot), file_ids=[each.id for each in reversed(made)])
    async for each in client_of_openai.vector_stores.files.list(str(bot), limit=2):
        await client_of_openai.vector_stores.files.delete(each.id, vector_store_id=str(bot))
        async with engine.begin() as connection:
            await connection.execute(delete(documents).where(documents.c.status == DocumentStatus.DELETING))
    assert await count(engine, documents) == 0
    async for file in client_of_openai.files.list(limit=2):
        await client_of_openai.files.delete(file.id)
    assert await count(engine, files_table) == 0
    for n in range(4):
        await client_of_openai.vector_stores.create(name=str(n))
    async for store in client_of_openai.vector_stores.list(limit=2, order="asc"):
        await client_of_openai.vector_stores.delete(store.id)
    assert (await client_of_openai.vector_stores.list()).data == []
    with pytest.raises(openai.BadRequestError) as never:
        await client_of_openai.files.list(after=str(uuid4()))
    assert never.value.param == "after"


async def test_files_come_ten_thousand_a_page(client_of_openai: AsyncOpenAI) -> None:
    assert (await client_of_openai.files.list(limit=10_000)).data == []
    with pytest.raises(openai.BadRequestError):
        await client_of_openai.files.list(limit=10_001)


async def test_a_search_is_filtered_by_attributes_and_by_score(client_of_openai: AsyncOpenAI, working: None) -> None:
    store = await client_of_openai.vector_stores.create()
    for file, year in ((LEAVE, 2025), (TRAVEL, 2026)):
        made = await client_of_openai.files.create(file=file, purpose="assistants")
        await client_of_openai.vector_stores.files.create_and_poll(
            made.id, vector_store_id=store.id, attributes={"year": year}, poll_interval_ms=50
        )
    search = client_of_openai.vector_stores.search
    query = ["days of leave", "trains in Berlin"]
    everything = [each async for each in search(store.id, query=query)]
    assert {each.filename for each in everything} == {"leave.txt", "travel.txt"}
    filters: Any = {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2026}]}
    filtered = [each async for each in search(store.id, query=query, filters=filters)]
    assert [(each.filename, each.attributes) for each in filtered] == [("travel.txt", {"year": 2026})]
    assert len([each async for each in search(store.id, query=query, max_num_results=1)]) == 1
    options: Any = {"score_threshold": 1.0}
    assert [each async for each in search(store.id, query="nothing of it", ranking_options=options)] == []
    other: Any = {"type": "ne", "key": "year", "value": 2026}
    with pytest.raises(openai.BadRequestError) as refused:
        await search(store.id, query=query, filters=other)
    assert refused.value.param == "filters"


class Meanwhile(WordEmbedder):
    """A model during whose second question a document goes."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__()
        self._engine = engine

    async def embed_query(self, text: str) -> Vectors:
        if text == "second":
            async with self._engine.begin() as connection:
                await connection.execute(delete(documents))
        return await super().embed_query(text)


async def test_a_document_that_goes_during_a_search_is_left_out(
    adapters: Adapters, owner: Caller, engine: AsyncEngine, bot: BotId
) -> None:
    app = create_app(adapters=replace(adapters, embedder=Meanwhile(engine)))
    async with LifespanManager(app), logged_in(app, adapters.settings, owner.id) as caller:
        path = f"/openai/v1/vector_stores/{bot}/search"
        there = await caller.http.post(path, json={"query": ["warranty", "first"]})
        gone = await caller.http.post(path, json={"query": ["warranty", "second"]})
    assert (there.status_code, len(there.json()["data"])) == (200, 1)
    assert (gone.status_code, gone.json()["data"]) == (200, [])


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"expires_after": {"anchor": "last_active_at", "days": 1}}, "expires_after"),
        ({"chunking_strategy": {"type": "static", "static": {}}}, "chunking_strategy"),
        ({"name": "x" * 101}, "name"),
        ({"file_ids": ["file-abc"]}, "file_ids.0"),
    ],
)
async def test_what_is_not_offered_is_a_clear_400(
    client_of_openai: AsyncOpenAI, extra: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of_openai.vector_stores.create(**extra)
    assert refused.value.param == param
