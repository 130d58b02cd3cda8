"""Files by OpenAI's own client: uploaded, listed, downloaded, deleted; what is left behind is cleared away."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import openai
import pytest
from openai import AsyncOpenAI
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.housekeeping import Housekeeping
from adapters.postgres.tables import documents, files
from adapters.wiring import Adapters
from domain.ids import BotId
from domain.steps import HousekeepingTick
from tests.activities.turn_steps import attempt
from tests.api.conftest import UPLOAD_LIMIT, Caller
from tests.pdf_files import a_pdf

TEXT = b"Everyone has thirty days of leave."
GRACE = timedelta(seconds=15)


def blobs(adapters: Adapters) -> list[Path]:
    return [path for path in (adapters.settings.blob_dir / "files").rglob("*") if path.is_file()]


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(files))).scalar_one())


async def test_a_file_is_uploaded_seen_and_downloaded(client_of_openai: AsyncOpenAI) -> None:
    made = await client_of_openai.files.create(file=("leave.txt", TEXT), purpose="assistants")
    assert (made.object, made.filename, made.bytes, made.purpose) == ("file", "leave.txt", len(TEXT), "assistants")
    assert (made.status, made.expires_at) == ("processed", None)
    assert await client_of_openai.files.retrieve(made.id) == made
    assert (await client_of_openai.files.content(made.id)).content == TEXT
    assert await client_of_openai.files.wait_for_processing(made.id) == made


async def test_files_are_listed_in_pages_and_by_purpose(client_of_openai: AsyncOpenAI) -> None:
    purposes: list[Any] = ["assistants", "user_data", "assistants"]
    made = [
        await client_of_openai.files.create(file=(f"{number}.txt", TEXT), purpose=purpose)
        for number, purpose in enumerate(purposes)
    ]
    ids = [each.id for each in made]
    assert [each.id async for each in client_of_openai.files.list(limit=2)] == ids[::-1]
    assert [each.id async for each in client_of_openai.files.list(limit=1, order="asc")] == ids
    assert [each.id async for each in client_of_openai.files.list(purpose="user_data")] == [ids[1]]
    with pytest.raises(openai.BadRequestError):
        await client_of_openai.files.list(after=str(uuid4()))


@pytest.mark.parametrize(
    ("file", "extra", "status", "param"),
    [
        (("a.txt", TEXT), {"purpose": "batch"}, 400, "purpose"),
        (("a.bin", b"\x7fELF\x00\x01"), {}, 400, None),
        (("a.txt", b""), {}, 400, None),
        (("a.txt", b"x" * (UPLOAD_LIMIT + 1)), {}, 413, "file"),
        (("x" * 256, TEXT), {}, 400, "name"),
        (("a.txt", TEXT), {"expires_after": {"anchor": "created_at", "seconds": 5}}, 400, "expires_after"),
    ],
)
async def test_what_is_not_taken_leaves_nothing(
    client_of_openai: AsyncOpenAI,
    adapters: Adapters,
    engine: AsyncEngine,
    file: Any,
    extra: dict[str, Any],
    status: int,
    param: str | None,
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        await client_of_openai.files.create(**({"file": file, "purpose": "assistants"} | extra))
    assert (refused.value.status_code, refused.value.param if param else None) == (status, param)
    assert (blobs(adapters), await count(engine)) == ([], 0)


async def test_the_same_key_is_one_file(client_of_openai: AsyncOpenAI, adapters: Adapters, engine: AsyncEngine) -> None:
    headers = {"Idempotency-Key": "one"}
    twins = [
        await client_of_openai.files.create(file=("a.txt", TEXT), purpose="assistants", extra_headers=headers)
        for _ in range(2)
    ]
    with pytest.raises(openai.ConflictError):
        await client_of_openai.files.create(file=("a.txt", b"Else."), purpose="assistants", extra_headers=headers)
    assert twins[0] == twins[1]
    assert (len(blobs(adapters)), await count(engine)) == (1, 1)


async def test_a_deleted_file_is_gone_with_its_bytes(client_of_openai: AsyncOpenAI, adapters: Adapters) -> None:
    made = await client_of_openai.files.create(file=("a.txt", TEXT), purpose="assistants")
    assert (await client_of_openai.files.delete(made.id)).deleted
    assert blobs(adapters) == []
    for call in (client_of_openai.files.retrieve, client_of_openai.files.content, client_of_openai.files.delete):
        with pytest.raises(openai.NotFoundError):
            await call(made.id)


async def test_a_document_of_another_door_is_a_file_by_its_own_id(
    client_of_openai: AsyncOpenAI, owner: Caller, bot: BotId
) -> None:
    parts = {"file": ("leave.pdf", a_pdf(["Thirty days."]))}
    document = (await owner.http.post(f"/api/v1/bots/{bot}/documents", files=parts)).json()["id"]
    shown = await client_of_openai.files.retrieve(document)
    assert (shown.id, shown.filename) == (document, "leave.pdf")
    assert (await client_of_openai.files.content(document)).content.startswith(b"%PDF")
    await client_of_openai.files.delete(document)
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.files.retrieve(document)


async def test_housekeeping_clears_away_what_expired_and_what_nobody_has(
    client_of_openai: AsyncOpenAI, adapters: Adapters, engine: AsyncEngine
) -> None:
    kept = await client_of_openai.files.create(file=("kept.txt", TEXT), purpose="assistants")
    short: Any = {"anchor": "created_at", "seconds": 3600}
    spent = await client_of_openai.files.create(file=("spent.txt", TEXT), purpose="assistants", expires_after=short)
    assert spent.expires_at == spent.created_at + 3600
    lost = adapters.settings.blob_dir / "files" / str(uuid4())
    lost.mkdir(parents=True)
    (lost / "source").write_bytes(TEXT)
    async with engine.begin() as connection:
        await connection.execute(
            update(files).where(files.c.id == spent.id).values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    with pytest.raises(openai.NotFoundError):
        await client_of_openai.files.retrieve(spent.id)
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for folder in (adapters.settings.blob_dir / "files").iterdir():
        os.utime(folder, (long_ago, long_ago))
    keeper = Housekeeping(engine, adapters.blobs, adapters.temporal, lambda: datetime.now(UTC))
    await attempt(keeper.expire, HousekeepingTick(grace=GRACE))
    assert [path.parent.name for path in blobs(adapters)] == [kept.id]
    assert await count(engine) == 1
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(documents))).scalar_one() == 0
