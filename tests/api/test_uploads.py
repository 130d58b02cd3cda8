"""Bytes come in: streamed, counted, looked at, one document for the same bytes."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.postgres.tables import documents, idempotency_keys, ingestions
from adapters.settings import Settings
from tests.api.conftest import UPLOAD_LIMIT, Caller
from tests.api.test_bots import make_bot
from tests.office_files import a_zip
from tests.pdf_files import a_pdf

PDF = a_pdf(["A page of text."])


async def upload(owner: Caller, bot: str, content: bytes = PDF, name: str = "a.pdf", **fields: Any) -> Response:
    headers = fields.pop("headers", {})
    return await owner.http.post(
        f"/api/v1/bots/{bot}/documents", files={"file": (name, content)}, data=fields, headers=headers
    )


@pytest.fixture
def blobs(settings: Settings) -> Path:
    return settings.blob_dir


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


async def count(engine: AsyncEngine, table: Any = documents) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_an_upload_is_accepted_stored_and_started(owner: Caller, blobs: Path, temporal: Client) -> None:
    bot = (await make_bot(owner))["id"]

    response = await upload(owner, bot, name="C:\\dir\\hand book.pdf")

    assert response.status_code == 202, response.text
    document = response.json()
    assert response.headers["Location"] == f"/api/v1/documents/{document['id']}"
    assert document["name"] == "hand book.pdf"
    assert (document["status"], document["stage"], document["version"]) == ("pending", "queued", 1)
    assert (document["content_type"], document["size_bytes"]) == ("application/pdf", len(PDF))
    assert document["sha256"] == hashlib.sha256(PDF).hexdigest()
    assert document["progress"] == {
        "pages_done": 0, "pages_total": None, "chunks_done": 0, "chunks_total": None,
        "per_second": None, "estimated_seconds_left": None,
    }  # fmt: skip
    assert [path.read_bytes() for path in stored(blobs)] == [PDF]
    run = await temporal.get_workflow_handle(f"ingest/{document['id']}").describe()
    assert run.workflow_type == "IngestDocument"
    listed = (await owner.http.get(f"/api/v1/bots/{bot}/documents")).json()["data"]
    assert listed == [document]


async def test_a_text_is_accepted(owner: Caller, blobs: Path) -> None:
    bot = (await make_bot(owner))["id"]

    response = await owner.http.post(
        f"/api/v1/bots/{bot}/documents/text", json={"name": " leave.md ", "text": "# Leave\n\n30 days ☀"}
    )

    document = response.json()
    assert response.status_code == 202
    assert (document["name"], document["source_type"], document["content_type"]) == (
        "leave.md",
        "text",
        "text/markdown",
    )
    assert [path.read_text() for path in stored(blobs)] == ["# Leave\n\n30 days ☀"]


async def test_the_same_bytes_are_the_document_that_is_there(owner: Caller, blobs: Path, engine: AsyncEngine) -> None:
    bot, other = (await make_bot(owner))["id"], (await make_bot(owner))["id"]
    first = await upload(owner, bot)

    again = await upload(owner, bot, name="another name.pdf")
    elsewhere = await upload(owner, other)

    assert (again.status_code, again.json()) == (200, first.json())
    assert elsewhere.status_code == 202
    assert await count(engine) == 2
    assert len(stored(blobs)) == 2


async def test_twenty_uploads_of_the_same_bytes_at_a_time_make_one(
    owner: Caller, blobs: Path, engine: AsyncEngine
) -> None:
    bot = (await make_bot(owner))["id"]

    answers = await asyncio.gather(*(upload(owner, bot) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await count(engine), await count(engine, ingestions)) == (1, 1)
    assert len(stored(blobs)) == 1


async def test_an_upload_is_replayed_by_name_and_bytes(owner: Caller, blobs: Path, engine: AsyncEngine) -> None:
    bot = (await make_bot(owner))["id"]
    key = {"Idempotency-Key": "k"}
    first = await upload(owner, bot, headers=key)

    again = await upload(owner, bot, headers=key)
    other = await upload(owner, bot, content=PDF + b"\n", headers=key)

    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert (await count(engine), len(stored(blobs)), await count(engine, idempotency_keys)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("content", "name", "status", "code"),
    [
        (b"", "a.pdf", 422, "empty_file"),
        (b"no pdf", "a.pdf", 415, "unsupported_format"),
        (b"PK\x03\x04" + b"x" * 100, "a.docx", 415, "unsupported_format"),
        (b"\x00\x01\x02" * 3000, "a.txt", 415, "unsupported_format"),
        (b"x" * (UPLOAD_LIMIT + 1), "a.txt", 413, "payload_too_large"),
        (b"x" * (UPLOAD_LIMIT * 3), "a.txt", 413, "payload_too_large"),
        (b"text", "x" * 10_000, 422, "invalid_request"),
    ],
)
async def test_what_is_not_taken_leaves_nothing(
    owner: Caller, blobs: Path, engine: AsyncEngine, content: bytes, name: str, status: int, code: str
) -> None:
    bot = (await make_bot(owner))["id"]

    response = await upload(owner, bot, content, name)

    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert (await count(engine), stored(blobs)) == (0, [])


async def test_exactly_the_limit_is_taken(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]

    assert (await upload(owner, bot, b"x" * UPLOAD_LIMIT, "a.txt")).status_code == 202


async def test_over_the_limit_the_rest_is_not_read(owner: Caller, blobs: Path) -> None:
    bot = (await make_bot(owner))["id"]
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        while True:
            sent += 10_000
            yield b"x" * 10_000

    response = await owner.http.post(
        f"/api/v1/bots/{bot}/documents",
        content=endless(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    assert response.status_code == 413
    assert sent <= UPLOAD_LIMIT + 100_000
    assert stored(blobs) == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"x", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ncut of', "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a\x00.txt"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b"),
    ],
)  # fmt: skip
async def test_a_form_that_is_broken_gets_a_clear_error(
    owner: Caller, blobs: Path, body: bytes, content_type: str
) -> None:
    bot = (await make_bot(owner))["id"]

    response = await owner.http.post(
        f"/api/v1/bots/{bot}/documents", content=body, headers={"Content-Type": content_type}
    )

    assert (response.status_code, response.json()["error"]["type"]) == (422, "invalid_request"), response.text
    assert stored(blobs) == []


@pytest.mark.parametrize("body", [{"name": "a", "text": " \n"}, {"name": "a", "text": "a\0b"}, {"name": "", "text": "a"},
                                  {"name": "x" * 10_000, "text": "a"}, {"name": "a", "text": ""}])  # fmt: skip
async def test_a_bad_text_is_422(owner: Caller, blobs: Path, body: dict[str, str]) -> None:
    bot = (await make_bot(owner))["id"]

    response = await owner.http.post(f"/api/v1/bots/{bot}/documents/text", json=body)

    assert response.status_code == 422
    assert stored(blobs) == []


async def test_a_text_over_the_limit_is_413(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]

    for length in (UPLOAD_LIMIT + 1, 6 * UPLOAD_LIMIT + (2 << 20)):
        body = {"name": "a", "text": "x" * length}
        response = await owner.http.post(f"/api/v1/bots/{bot}/documents/text", json=body)
        assert response.status_code == 413


async def replace(owner: Caller, document: str, content: bytes, name: str = "b.txt") -> Response:
    return await owner.http.put(f"/api/v1/documents/{document}/file", files={"file": (name, content)})


async def publish(engine: AsyncEngine, document: str) -> None:
    """What a finished ingestion leaves."""
    async with engine.begin() as connection:
        current = select(documents.c.current_ingestion_id).where(documents.c.id == UUID(document))
        await connection.execute(
            update(ingestions).where(ingestions.c.id == current.scalar_subquery()).values(status="published")
        )
        await connection.execute(
            update(documents)
            .where(documents.c.id == UUID(document))
            .values(status="ready", stage=None, active_ingestion_id=documents.c.current_ingestion_id)
        )


async def test_a_new_version_is_queued_while_the_old_one_answers(owner: Caller, engine: AsyncEngine) -> None:
    bot = (await make_bot(owner))["id"]
    first = (await upload(owner, bot, b"one", "a.txt")).json()
    await publish(engine, first["id"])

    response = await replace(owner, first["id"], b"two")

    assert response.status_code == 202
    second = response.json()
    assert (second["id"], second["version"], second["status"]) == (first["id"], 2, "pending")
    assert second["sha256"] == hashlib.sha256(b"two").hexdigest()
    async with engine.connect() as connection:
        row = (await connection.execute(select(documents))).one()
    assert row.active_ingestion_id not in (None, row.current_ingestion_id)
    for content in (b"one", b"two"):  # both are this document's bytes
        again = await upload(owner, bot, content, "a.txt")
        assert (again.status_code, again.json()["id"]) == (200, first["id"])


async def test_the_newest_versions_bytes_again_change_nothing(owner: Caller, blobs: Path) -> None:
    bot = (await make_bot(owner))["id"]
    first = (await upload(owner, bot, b"one", "a.txt")).json()

    response = await replace(owner, first["id"], b"one")

    assert (response.status_code, response.json()) == (200, first)
    assert len(stored(blobs)) == 1


async def test_a_version_that_nobody_took_up_is_superseded(owner: Caller, engine: AsyncEngine) -> None:
    bot = (await make_bot(owner))["id"]
    first = (await upload(owner, bot, b"one", "a.txt")).json()

    await replace(owner, first["id"], b"two")
    await replace(owner, first["id"], b"three")

    async with engine.connect() as connection:
        query = select(ingestions.c.version, ingestions.c.status).order_by(ingestions.c.version)
        found = [tuple(row) for row in await connection.execute(query)]
    assert found == [(1, "cancelled"), (2, "cancelled"), (3, "pending")]
    fresh = await upload(owner, bot, b"two", "a.txt")  # its bytes are free again
    assert fresh.status_code == 202


async def test_that_a_superseded_run_is_to_stop_is_written_down_with_the_answer(
    owner: Caller, engine: AsyncEngine
) -> None:
    bot = (await make_bot(owner))["id"]
    first = (await upload(owner, bot, b"one", "a.txt")).json()
    async with engine.begin() as connection:
        await connection.execute(update(ingestions).values(status="parked", run_id="run"))

    await replace(owner, first["id"], b"two")

    async with engine.connect() as connection:
        query = select(ingestions.c.status, ingestions.c.cancel_requested_at).order_by(ingestions.c.version)
        old, new = (await connection.execute(query)).all()
    assert (old.status, new.status, new.cancel_requested_at) == ("cancelled", "pending", None)
    assert old.cancel_requested_at is not None


async def test_another_documents_bytes_are_no_new_version(owner: Caller, blobs: Path) -> None:
    bot = (await make_bot(owner))["id"]
    first = (await upload(owner, bot, b"one", "a.txt")).json()
    second = (await upload(owner, bot, b"two", "b.txt")).json()

    response = await replace(owner, first["id"], b"two")

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["details"]) == (
        409,
        "already_exists",
        {"document_id": second["id"]},
    )
    assert len(stored(blobs)) == 2


async def test_an_encoding_that_is_asked_for_is_kept_and_shown(owner: Caller, engine: AsyncEngine) -> None:
    bot = (await make_bot(owner))["id"]

    document = (await upload(owner, bot, "Größe".encode("cp850"), "a.txt", encoding="IBM850")).json()

    assert document["encoding"] == "cp850"
    async with engine.connect() as connection:
        row = (await connection.execute(select(ingestions))).one()
    assert (row.encoding, row.detected_encoding) == ("cp850", None)


async def test_the_same_bytes_in_another_encoding_are_a_new_version(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    first = (await upload(owner, bot, b"Gr\x94\xe1e", "a.txt")).json()
    path = f"/api/v1/documents/{first['id']}/file"
    file = {"file": ("a.txt", b"Gr\x94\xe1e")}

    second = await owner.http.put(path, files=file, data={"encoding": "cp850"})
    again = await owner.http.put(path, files=file, data={"encoding": "cp850"})

    assert (first["encoding"], second.status_code, second.json()["version"]) == (None, 202, 2)
    assert (again.status_code, again.json()["version"]) == (200, 2)


@pytest.mark.parametrize(
    ("content", "name", "encoding", "words"),
    [
        (b"text", "a.txt", "klingon", "windows-1252"),
        (b"text", "a.txt", "rot13", "not known"),
        (b"text", "a.txt", "base64", "not known"),
        (b"text", "a.txt", "idna", "not known"),
        (b"text", "a.txt", "\xff", "not known"),
        (PDF, "a.pdf", "utf-8", "Only a file of text"),
    ],
)
async def test_an_encoding_that_cannot_be_is_refused(
    owner: Caller, blobs: Path, content: bytes, name: str, encoding: str, words: str
) -> None:
    bot = (await make_bot(owner))["id"]

    response = await upload(owner, bot, content, name, encoding=encoding)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (422, "invalid_request", "encoding")
    assert words in error["message"]
    assert stored(blobs) == []


async def test_an_office_file_is_known_by_the_parts_at_its_end(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    late = a_zip({"docProps/thumbnail.jpeg": random.Random(1).randbytes(9000), "word/document.xml": "<x/>"})

    assert (await upload(owner, bot, late, "a.bin")).json()["content_type"].endswith("wordprocessingml.document")


async def test_an_archive_of_files_is_refused_with_the_way_to_import_it(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]

    response = await upload(owner, bot, a_zip({"notes.txt": "x"}), "a.zip")

    assert response.status_code == 415
    assert "/imports" in response.json()["error"]["message"]
