"""Metadata over HTTP: given at upload, changed, and filtered by in lists, searches and messages."""

import io
import json
import zipfile
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres.tables import turns
from adapters.wiring import Adapters
from tests.api.conftest import Caller
from tests.api.test_bots import make_bot
from tests.builders import a_bot, a_conversation, a_ready_document
from tests.fakes import WordEmbedder

HR = {"department": "HR", "year": 2026, "tags": ["leave", "travel"], "draft": False, "pages": [3, 40]}


async def post(owner: Caller, bot: object, metadata: object = None, key: str | None = None) -> Response:
    data = {} if metadata is None else {"metadata": metadata if isinstance(metadata, str) else json.dumps(metadata)}
    files, headers = {"file": ("a.txt", b"one")}, {"Idempotency-Key": key} if key else {}
    return await owner.http.post(f"/api/v1/bots/{bot}/documents", files=files, data=data, headers=headers)


async def test_metadata_comes_with_a_file_a_text_and_a_new_version_and_is_changed_by_hand(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    document = (await post(owner, bot, HR)).json()
    assert document["metadata"] == HR
    url = f"/api/v1/documents/{document['id']}"
    kept = await owner.http.put(f"{url}/file", files={"file": ("a.txt", b"two")})
    assert kept.json()["metadata"] == HR
    replaced = await owner.http.put(f"{url}/file", files={"file": ("a.txt", b"three")}, data={"metadata": "{}"})
    assert replaced.json()["metadata"] == {}
    changed = await owner.http.patch(url, json={"metadata": {"year": 2027}})
    assert changed.json()["metadata"] == (await owner.http.get(url)).json()["metadata"] == {"year": 2027}
    text = {"name": "a", "text": "a text", "metadata": HR}
    assert (await owner.http.post(f"/api/v1/bots/{bot}/documents/text", json=text)).json()["metadata"] == HR


async def test_the_same_bytes_again_leave_the_metadata_as_it_is_and_show_it(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    await post(owner, bot, HR)
    again = await post(owner, bot, {"department": "IT"})
    assert (again.status_code, again.json()["metadata"]) == (200, HR)


async def test_a_key_is_bound_to_the_metadata_too(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    assert (await post(owner, bot, HR, key="k")).status_code == 202
    assert (await post(owner, bot, HR, key="k")).headers["Idempotent-Replayed"] == "true"
    assert (await post(owner, bot, {"year": 1}, key="k")).json()["error"]["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    "metadata", ["{", "[]", '{"a": null}', '{"a": "' + "x" * 70_000 + '"}', b"\xff".decode("latin-1") * 3]
)
async def test_bad_metadata_is_refused_and_nothing_of_the_file_is_kept(
    owner: Caller, adapters: Adapters, metadata: str
) -> None:
    bot = (await make_bot(owner))["id"]
    refused = await post(owner, bot, metadata)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "metadata")
    assert [each async for each in adapters.blobs.folders("documents")] == []
    body = {"name": "a", "text": "a text", "metadata": {"a": None}}
    in_json = await owner.http.post(f"/api/v1/bots/{bot}/documents/text", json=body)
    assert (in_json.status_code, in_json.json()["error"]["param"]) == (422, "metadata")


async def test_an_imports_metadata_is_that_of_each_of_its_documents(owner: Caller, engine: AsyncEngine) -> None:
    bot = (await make_bot(owner))["id"]
    files = [("files", ("a.txt", b"one")), ("files", ("b.txt", b"two"))]
    url = f"/api/v1/bots/{bot}/imports"
    assert (await owner.http.post(url, files=files, data={"metadata": json.dumps(HR)})).status_code == 202
    listed = (await owner.http.get(f"/api/v1/bots/{bot}/documents")).json()["data"]
    assert [each["metadata"] for each in listed] == [HR, HR]
    refused = await owner.http.post(url, files=files, data={"metadata": "[]"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "metadata")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"department": "HR"}, {"hr"}),
        ({"department": ["HR", "IT"]}, {"hr", "it"}),
        ({"tags": "travel"}, {"hr", "it"}),
        ({"tags": ["leave", "nothing"]}, {"hr"}),
        ({"year": {"gte": 2020, "lt": 2026}}, {"it"}),
        ({"pages": {"gt": 10, "lt": 20}}, {"it"}),
        ({"pages": {"gt": 2, "lt": 20}}, {"hr", "it"}),
        ({"department": "HR", "year": 2019}, set()),
        ({"draft": False}, {"hr"}),
        ({"day": {"gt": "2026-01-31"}}, {"it"}),
        ({"year": "2026"}, set()),
        ({'x" == 1 || "': 1}, set()),
    ],
)
async def test_metadata_chooses_what_a_list_and_a_search_find(
    owner: Caller, engine: AsyncEngine, condition: dict[str, Any], expected: set[str]
) -> None:
    _, bot = await a_bot(engine, owner.id)
    others = {
        "hr": HR,
        "it": {"department": "IT", "year": 2021, "tags": "travel", "day": "2026-02-01", "pages": 12},
        "none": {},
    }
    for name, metadata in others.items():
        await a_ready_document(
            engine, owner.id, bot, [f"The warranty of {name}."], WordEmbedder(), name=name, metadata=metadata
        )
    params = {"metadata": json.dumps(condition)}
    listed = (await owner.http.get(f"/api/v1/bots/{bot}/documents", params=params)).json()["data"]
    assert {each["name"] for each in listed} == expected
    for mode in ("hybrid", "vector", "keyword"):
        body = {"query": "warranty", "mode": mode, "filter": {"metadata": condition}}
        found = (await owner.http.post(f"/api/v1/bots/{bot}/search", json=body)).json()["data"]
        assert {each["document_name"] for each in found} == expected


async def test_ids_and_dates_choose_what_a_search_finds(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    first, _ = await a_ready_document(engine, owner.id, bot, ["A warranty."], WordEmbedder())
    second, _ = await a_ready_document(engine, owner.id, bot, ["The warranty."], WordEmbedder())
    born = (await owner.http.get(f"/api/v1/documents/{second}")).json()["created_at"]
    url = f"/api/v1/bots/{bot}/search"

    async def found(**filter_: Any) -> set[str]:
        hits = (await owner.http.post(url, json={"query": "warranty", "filter": filter_})).json()["data"]
        return {each["document_id"] for each in hits}

    assert await found() == {str(first), str(second)}
    assert await found(document_ids=[str(first)]) == {str(first)}
    assert await found(created_after=born) == {str(second)}
    assert await found(created_before=born) == {str(first)}
    _, other = await a_bot(engine)
    strangers, _ = await a_ready_document(engine, _, other, ["A warranty of another."], WordEmbedder())
    assert await found(document_ids=[str(strangers)]) == set()
    by_date = await owner.http.get(f"/api/v1/bots/{bot}/documents", params={"created_before": born})
    assert [each["id"] for each in by_date.json()["data"]] == [str(first)]


@pytest.mark.parametrize(
    ("filter_", "param"),
    [
        ({"metadata": {"a": {"eq": 1}}}, "filter.metadata.a"),
        ({"document_ids": []}, "filter.document_ids"),
        ({"year": 1}, "filter.year"),
    ],
)
async def test_a_bad_filter_is_refused_by_its_field(
    owner: Caller, engine: AsyncEngine, filter_: dict[str, Any], param: str
) -> None:
    _, bot = await a_bot(engine, owner.id)
    conversation = await a_conversation(engine, owner.id, bot)
    for url, body in (
        (f"/bots/{bot}/search", {"query": "a"}),
        (f"/conversations/{conversation}/messages", {"content": "a"}),
    ):
        refused = await owner.http.post(f"/api/v1{url}", json=body | {"filter": filter_})
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, param)
    listed = await owner.http.get(f"/api/v1/bots/{bot}/documents", params={"metadata": "{"})
    assert (listed.status_code, listed.json()["error"]["param"]) == (422, "metadata")


async def test_a_messages_filter_is_kept_with_its_turn(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    conversation = await a_conversation(engine, owner.id, bot)
    wanted = {"metadata": {"year": {"gte": 2020}}}
    sent = await owner.http.post(
        f"/api/v1/conversations/{conversation}/messages",
        json={"content": "a", "filter": wanted},
        headers={"Prefer": "respond-async"},
    )
    assert sent.json()["filter"]["metadata"]["year"]["gte"] == 2020
    async with engine.connect() as connection:
        stored = (
            await connection.execute(select(turns.c.filter).where(turns.c.id == UUID(sent.json()["id"])))
        ).scalar_one()
    assert stored == wanted
    await owner.http.post(f"/api/v1/turns/{sent.json()['id']}/cancel")
    again = await owner.http.post(
        f"/api/v1/messages/{sent.json()['question_id']}/regenerate", headers={"Prefer": "respond-async"}
    )
    assert again.json()["filter"] == sent.json()["filter"]


async def test_an_archives_files_get_the_imports_metadata(owner: Caller) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "one")
    bot = (await make_bot(owner))["id"]
    files = {"archive": ("a.zip", packed.getvalue())}
    sent = await owner.http.post(f"/api/v1/bots/{bot}/imports", files=files, data={"metadata": json.dumps(HR)})
    assert sent.status_code == 202
