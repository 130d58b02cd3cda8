"""A stranger's token on every route. A route that names what this walk does not know fails the test."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx2 import AsyncClient, Response
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.ids import new_id
from adapters.postgres import files, vector_stores
from adapters.postgres.tables import api_keys, connections, crawls, deletions, imports
from domain.ids import BotId, DocumentId, FileBatchId, FileId, UserId, answer_id, chunk_id
from tests.activities.turn_steps import answered
from tests.api.conftest import Caller
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import WordEmbedder

PUBLIC = {
    "get /healthz",
    "get /readyz",
    "get /metrics",
    "post /api/v1/auth/register",
    "post /api/v1/auth/token",
    "post /api/v1/auth/refresh",
    "post /api/v1/auth/logout",
}
"""Operations that need no credential."""

OWN = {
    "get /api/v1/users/me",
    "patch /api/v1/users/me",
    "get /api/v1/api-keys",
    "post /api/v1/api-keys",
    "get /api/v1/bots",
    "post /api/v1/bots",
    "get /openai/v1/models",
    "get /openai/v1/files",
    "post /openai/v1/files",
    "get /openai/v1/vector_stores",
    "post /openai/v1/vector_stores",
    "post /openai/v1/embeddings",
    "get /api/v1/connections",
    "post /api/v1/connections",
}
"""Operations that name nothing: they show and make the caller's own."""

BODIES: dict[str, dict[str, Any]] = {
    "put /api/v1/bots/{bot_id}": {"json": {"name": "taken"}},
    "patch /api/v1/bots/{bot_id}": {"json": {"name": "taken"}},
    "post /api/v1/bots/{bot_id}/documents": {"files": {"file": ("a.txt", b"a text")}},
    "post /api/v1/bots/{bot_id}/imports": {"files": [("files", ("a.txt", b"a text")), ("files", ("b.txt", b"b"))]},
    "post /api/v1/bots/{bot_id}/documents/text": {"json": {"name": "a", "text": "a text"}},
    "post /api/v1/bots/{bot_id}/documents/url": {"json": {"url": "http://127.0.0.1:9/"}},
    "post /api/v1/bots/{bot_id}/crawls": {"json": {"url": "http://127.0.0.1:9/"}},
    "patch /api/v1/documents/{document_id}": {"json": {"metadata": {"taken": True}}},
    "put /api/v1/documents/{document_id}/file": {"files": {"file": ("a.txt", b"a text")}},
    "post /api/v1/bots/{bot_id}/conversations": {"json": {}},
    "patch /api/v1/conversations/{conversation_id}": {"json": {"title": "taken"}},
    "post /api/v1/conversations/{conversation_id}/messages": {"json": {"content": "Hello?"}},
    "post /api/v1/messages/{message_id}/regenerate": {"json": {"stream": False}},
    "put /api/v1/messages/{message_id}/feedback": {"json": {"rating": "up"}},
    "post /api/v1/turns/{turn_id}/approvals/{number}": {"json": {"approved": True}},
    "post /api/v1/bots/{bot_id}/search": {"json": {"query": "anything"}},
    "post /openai/v1/chat/completions": {
        "json": {"model": "{bot_id}", "messages": [{"role": "user", "content": "Hello?"}]}
    },
    "post /openai/v1/vector_stores/{vector_store_id}": {"json": {"name": "taken"}},
    "post /openai/v1/vector_stores/{vector_store_id}/files": {"json": {"file_id": "{file_id}"}},
    "post /openai/v1/vector_stores/{vector_store_id}/files/{file_id}": {"json": {"attributes": {"a": "b"}}},
    "post /openai/v1/vector_stores/{vector_store_id}/file_batches": {"json": {"files": [{"file_id": "{file_id}"}]}},
    "post /openai/v1/vector_stores/{vector_store_id}/search": {"json": {"query": "anything"}},
    "post /openai/v1/responses": {"json": {"model": "{bot_id}", "input": "Hello?"}},
}
"""Bodies that the owner could send, so that nothing but ownership stands in the way; they may name what paths name."""


@pytest_asyncio.fixture
async def belongings(owner: Caller, engine: AsyncEngine) -> dict[str, UUID]:
    """One of everything that a path can name, the owner's."""
    _, bot = await a_bot(engine, owner.id)
    document, ingestion = await a_ready_document(engine, owner.id, bot, ["A secret of the owner."], WordEmbedder())
    turn = await a_question(engine, owner.id, bot)
    rated = await a_question(engine, owner.id, bot)
    await answered(engine, rated, "The owner's secret.")
    key, deletion, crawl, imported, database = new_id(), new_id(), new_id(), new_id(), new_id()
    async with engine.begin() as connection:
        await connection.execute(
            insert(api_keys).values(
                id=key, user_id=owner.id, name="k", prefix="x", secret_hash=key.bytes, scopes=["read"]
            )
        )
        await connection.execute(insert(imports).values(id=imported, owner_id=owner.id, bot_id=bot, name="secret"))
        secret = {"name": "secret", "kind": "postgres", "sealed": b"secret"}
        await connection.execute(insert(connections).values(id=database, owner_id=owner.id, **secret))
        await connection.execute(insert(deletions).values(id=deletion, owner_id=owner.id, bot_id=bot))
        await connection.execute(
            insert(crawls).values(
                id=crawl, owner_id=owner.id, bot_id=bot, url="http://a.example/secret", max_pages=1, max_depth=0
            )
        )
    file, batch = await a_file_of(engine, owner.id, bot, document)
    return {
        "bot_id": bot,
        "model": bot,
        "response_id": turn.turn_id,
        "vector_store_id": bot,
        "file_id": file,
        "batch_id": batch,
        "document_id": document,
        "chunk_id": chunk_id(ingestion, 0),
        "conversation_id": turn.conversation_id,
        "turn_id": turn.turn_id,
        "message_id": answer_id(rated.turn_id),
        "api_key_id": key,
        "deletion_id": deletion,
        "crawl_id": crawl,
        "import_id": imported,
        "connection_id": database,
    }


async def a_file_of(engine: AsyncEngine, owner: UserId, bot: BotId, document: DocumentId) -> tuple[FileId, FileBatchId]:
    """A file of OpenAI's API that became a document, in a batch."""
    file, batch = FileId(new_id()), FileBatchId(new_id())
    row = {"name": "secret.txt", "purpose": "assistants", "format": "text", "content_type": "text/plain"}
    async with engine.begin() as connection:
        await files.add(connection, {"id": file, "owner_id": owner, "size_bytes": 1, "sha256": "aa", **row})
        await files.link(connection, file, bot, document)
        await vector_stores.add_batch(connection, owner, bot, batch, [document])
    return file, batch


def operations(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield f"{method} {path}", method, path


def fill(path: str, ids: dict[str, UUID]) -> str:
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", str(value))
    path = path.replace("{number}", "1")
    assert "{" not in path, f"{path} names something that this walk has none of: add it to `belongings`"
    return path


def fill_body(body: str, ids: dict[str, UUID]) -> str:
    for name, value in ids.items():
        body = body.replace(f'"{{{name}}}"', f'"{value}"')
    return body


async def call(http: AsyncClient, name: str, method: str, path: str, ids: dict[str, UUID]) -> Response:
    body = BODIES.get(name, {})
    if "json" in body:
        body = {"json": json.loads(fill_body(json.dumps(body["json"]), ids))}
    return await http.request(method.upper(), fill(path, ids), **body)


async def test_every_route_is_in_the_openapi_document(app: FastAPI) -> None:
    """The walks go by that document, so that a route left out of it would not be walked."""
    shown = {(method.upper(), path) for _, method, path in operations(app)}
    own_pages = {"/docs", "/docs/oauth2-redirect", "/openapi.json"}
    routes = list(iter_route_contexts(app.routes))
    paths = [(re.sub(r":\w+}", "}", str(route.path)), route.methods or ()) for route in routes]  # without converters
    served = {(method, path) for path, methods in paths if path not in own_pages for method in methods}
    assert served == shown


async def test_a_stranger_finds_nothing_anywhere(
    app: FastAPI, owner: Caller, stranger: Caller, belongings: dict[str, UUID]
) -> None:
    nowhere = {name: uuid4() for name in belongings}
    walked = 0
    for name, method, path in operations(app):
        if name in PUBLIC | OWN:
            assert "{" not in path
            continue
        theirs = await call(stranger.http, name, method, path, belongings)
        nobodys = await call(stranger.http, name, method, path, nowhere)
        assert (theirs.status_code, nobodys.status_code) == (404, 404), f"{name}: {theirs.text} {nobodys.text}"
        assert theirs.json()["error"]["message"] == nobodys.json()["error"]["message"], name
        assert "secret" not in theirs.text
        walked += 1
    assert walked >= 15
    for name in ("bot_id", "document_id", "deletion_id"):
        path = {"bot_id": "bots", "document_id": "documents", "deletion_id": "deletions"}[name]
        assert (await owner.http.get(f"/api/v1/{path}/{belongings[name]}")).status_code == 200


async def test_without_a_credential_every_route_is_401(
    app: FastAPI, client: AsyncClient, belongings: dict[str, UUID]
) -> None:
    for name, method, path in operations(app):
        if name in PUBLIC:
            continue
        response = await call(client, name, method, path, belongings)
        kind = "authentication_error" if path.startswith("/openai/") else "authentication"
        assert (response.status_code, response.json()["error"]["type"]) == (401, kind), name


async def test_what_names_nothing_shows_the_callers_own(stranger: Caller, belongings: dict[str, UUID]) -> None:
    for path in ("/api/v1/bots", "/api/v1/api-keys", "/api/v1/connections"):
        assert (await stranger.http.get(path)).json()["data"] == []
    usage = (await stranger.http.get("/api/v1/users/me")).json()["usage"]
    assert set(usage.values()) == {0}


async def test_a_key_that_may_only_read_changes_nothing(
    app: FastAPI, owner: Caller, client: AsyncClient, belongings: dict[str, UUID]
) -> None:
    made = await owner.http.post("/api/v1/api-keys", json={"name": "k", "scopes": ["read"]})
    client.headers["Authorization"] = f"Bearer {made.json()['key']}"
    for name, method, path in operations(app):
        if name in PUBLIC or method == "get" or path.endswith("/search"):
            continue
        response = await call(client, name, method, path, belongings)
        assert response.status_code == 403, f"{name}: {response.text}"
