"""Imports over HTTP: what is taken, what is refused, and what can be asked of one."""

import io
import zipfile
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.postgres import imports, tables
from adapters.postgres.engine import transaction
from adapters.settings import Settings
from adapters.temporal.runs import is_open
from adapters.wiring import Adapters
from domain import runs
from domain.ids import BotId, ImportId
from domain.steps import EndImport, ImportRef
from tests.api.conftest import UPLOAD_LIMIT, Caller
from tests.builders import a_bot
from tests.rows import count


@pytest.fixture
async def bot(owner: Caller, engine: AsyncEngine) -> BotId:
    return (await a_bot(engine, owner.id))[1]


def files(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (name, f"The text of {name}.".encode())) for name in names]


async def post(owner: Caller, bot: BotId, given: Any, **how: Any) -> Response:
    return await owner.http.post(f"/api/v1/bots/{bot}/imports", files=given, **how)


async def ended(engine: AsyncEngine, owner: Caller, bot: BotId, import_id: str) -> None:
    """As its run does where the provider refuses everything."""
    ref = ImportRef(owner_id=owner.id, bot_id=bot, import_id=ImportId(import_id))  # type: ignore[arg-type]  # pydantic reads it
    how = EndImport(ref=ref, cancelled=False, code="provider_auth", message="The key is refused.")
    async with transaction(engine) as connection:
        await imports.close_packed(connection, how, limit=100, now=now())
        assert await imports.end(connection, how, now=now())


async def test_files_are_accepted_together_and_their_run_is_started(
    owner: Caller, bot: BotId, adapters: Adapters
) -> None:
    response = await post(owner, bot, files("a.txt", "b.md"))
    body = response.json()
    assert (response.status_code, body["status"], body["name"]) == (202, "pending", "a.txt and 1 more")
    assert response.headers["location"] == f"/api/v1/imports/{body['id']}"
    assert (body["counts"]["files"], body["counts"]["pending"]) == (2, 2)
    assert await is_open(adapters.temporal, runs.import_run(ImportId(body["id"])))
    listed = (await owner.http.get(f"/api/v1/bots/{bot}/imports")).json()["data"]
    assert [each["id"] for each in listed] == [body["id"]]
    document = (await owner.http.get(f"/api/v1/bots/{bot}/documents", params={"name": "b.md"})).json()["data"][0]
    content = await owner.http.get(f"/api/v1/documents/{document['id']}/content")
    assert content.content == b"The text of b.md."


async def test_a_file_that_is_refused_fails_nothing_else(owner: Caller, bot: BotId) -> None:
    given = [
        *files("a.txt"),
        ("files", ("empty.txt", b"")),
        ("files", ("page.ps", b"%!PS-Adobe-3.0\n")),
        ("files", ("huge.txt", b"x" * (UPLOAD_LIMIT + 1))),
        *files("../../b.txt"),
    ]
    body = (await post(owner, bot, given)).json()
    items = (await owner.http.get(f"/api/v1/imports/{body['id']}/items", params={"order": "asc"})).json()["data"]
    assert [(item["name"], (item["last_error"] or {}).get("code")) for item in items] == [
        ("a.txt", None),
        ("empty.txt", "empty_file"),
        ("page.ps", "unsupported_format"),
        ("huge.txt", "payload_too_large"),
        ("b.txt", None),
    ]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ([("other", ("a.txt", b"a"))], 422),
        ([("archive", ("a.zip", b"no archive at all"))], 415),
        ([*files("a.txt"), ("archive", ("a.zip", b"PK\x05\x06" + b"\0" * 18))], 422),
    ],
)
async def test_a_form_that_is_no_import_is_refused_and_leaves_nothing(
    owner: Caller, bot: BotId, engine: AsyncEngine, settings: Settings, given: Any, status: int
) -> None:
    response = await post(owner, bot, given)
    assert response.status_code in (400, status), response.text
    assert await count(engine, tables.imports) == await count(engine, tables.documents) == 0
    store = FolderBlobStore(settings.blob_dir)
    assert (await store.delete_prefix("documents/")).blobs + (await store.delete_prefix("imports/")).blobs == 0


async def test_the_same_key_answers_the_first_import_and_stores_nothing_twice(
    owner: Caller, bot: BotId, engine: AsyncEngine
) -> None:
    key = {"Idempotency-Key": "import-1"}
    first = await post(owner, bot, files("a.txt", "b.txt"), headers=key)
    again = await post(owner, bot, files("a.txt", "b.txt"), headers=key)
    other = await post(owner, bot, files("c.txt"), headers=key)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert await count(engine, tables.imports) == 1


async def test_an_archive_is_taken_as_it_is_and_unpacked_by_its_run(
    owner: Caller, bot: BotId, engine: AsyncEngine
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.md", b"A note.")
    response = await post(owner, bot, {"archive": ("notes.zip", packed.getvalue())}, data={"name": "My notes"})
    assert (response.status_code, response.json()["name"], response.json()["counts"]["files"]) == (202, "My notes", 0)
    assert await count(engine, tables.documents) == 0


async def test_a_cancel_is_kept_and_a_second_one_is_as_good(owner: Caller, bot: BotId) -> None:
    started = (await post(owner, bot, files("a.txt"))).json()
    for _ in range(2):
        response = await owner.http.post(f"/api/v1/imports/{started['id']}/cancel")
        assert (response.status_code, response.json()["cancel_requested"]) == (202, True)


async def test_only_an_import_that_has_ended_is_retried(owner: Caller, bot: BotId, engine: AsyncEngine) -> None:
    started = (await post(owner, bot, files("a.txt", "b.txt"))).json()
    path = f"/api/v1/imports/{started['id']}"
    assert (await owner.http.post(f"{path}/retry-failed")).json()["error"]["code"] == "invalid_state"
    await ended(engine, owner, bot, started["id"])
    shown = (await owner.http.get(path)).json()
    assert (shown["status"], shown["last_error"]["code"], shown["counts"]["failed"]) == ("failed", "provider_auth", 2)
    assert (await owner.http.post(f"{path}/cancel")).status_code == 409
    again = (await owner.http.post(f"{path}/retry-failed")).json()
    assert (again["status"], again["last_error"], again["counts"]["pending"]) == ("pending", None, 2)


async def test_one_document_of_a_failed_import_is_retried_by_itself(
    owner: Caller, bot: BotId, engine: AsyncEngine, adapters: Adapters
) -> None:
    started = (await post(owner, bot, files("a.txt", "b.txt"))).json()
    await ended(engine, owner, bot, started["id"])
    listed = await owner.http.get(f"/api/v1/bots/{bot}/documents", params={"import_id": started["id"]})
    document = listed.json()["data"][0]["id"]
    assert (await owner.http.post(f"/api/v1/documents/{document}/retry")).status_code == 202
    assert await is_open(adapters.temporal, runs.ingestion_run(document))
    flight = (await owner.http.get(f"/api/v1/documents/{document}/ingestion")).json()
    assert (flight["workflow"]["id"], flight["runs"]) == (f"ingest/{document}", 2)
