"""Rows as the API and the workflows leave them, for tests that begin in the middle of a story."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pgvector import HalfVector
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.ids import new_id
from adapters.postgres import tables
from adapters.postgres.engine import copy_rows
from domain.crawls import CrawlRef
from domain.documents import IngestionRef
from domain.ids import BotId, ConversationId, CrawlId, DocumentId, IngestionId, TurnId, UserId, chunk_id
from domain.steps import DeletionRef, TurnRef

LONG_AGO = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Home:
    """An owner with a bot."""

    owner_id: UserId = field(default_factory=lambda: UserId(new_id()))
    bot_id: BotId = field(default_factory=lambda: BotId(new_id()))

    @property
    def deletion(self) -> DeletionRef:
        return DeletionRef(owner_id=self.owner_id, bot_id=self.bot_id)

    def deletion_of(self, ref: IngestionRef) -> DeletionRef:
        return DeletionRef(owner_id=self.owner_id, bot_id=self.bot_id, document_id=ref.document_id)


async def a_home(engine: AsyncEngine) -> Home:
    home = Home()
    async with engine.begin() as connection:
        user = {"id": home.owner_id, "email": f"{home.owner_id}@example.org", "password_hash": "-"}
        await connection.execute(insert(tables.users).values(user))
        await connection.execute(insert(tables.bots).values(id=home.bot_id, owner_id=home.owner_id, name="Bot"))
    return home


async def a_document(
    engine: AsyncEngine,
    home: Home,
    *,
    status: str = "ready",
    ingestion: str = "published",
    chunks: int = 0,
    age: timedelta = timedelta(0),
    **values: Any,
) -> IngestionRef:
    """A document with one version; readers see it where that is published."""
    document, version = DocumentId(new_id()), IngestionId(new_id())
    when = datetime.now(UTC) - age
    file = {"content_type": "text/plain", "size_bytes": 10, "sha256": document.hex}
    owner = {"owner_id": home.owner_id, "bot_id": home.bot_id}
    row = {
        "id": document, **owner, "name": "Handbook", "source_type": "file", **file, "status": status,
        "current_ingestion_id": version, "active_ingestion_id": version if ingestion == "published" else None,
        "created_at": when, "updated_at": when,
    } | values  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(tables.documents).values(row))
        await connection.execute(
            insert(tables.ingestions).values(
                id=version, document_id=document, **owner, version=1, status=ingestion, format="text", **file,
                created_at=when,
            )
        )  # fmt: skip
        step = {"step": "extract", "state": "completed", "first_started_at": when}
        await connection.execute(insert(tables.ingestion_steps).values(ingestion_id=version, **step))
        ref = IngestionRef(**owner, document_id=document, ingestion_id=version)
        await store_chunks(connection, ref, chunks)
    return ref


async def a_new_version(engine: AsyncEngine, old: IngestionRef, *, ingestion: str = "pending") -> IngestionRef:
    """What a PUT of another file leaves: the old version answers, the new one is the current one."""
    version = IngestionId(new_id())
    file = {"content_type": "text/markdown", "size_bytes": 20, "sha256": version.hex}
    async with engine.begin() as connection:
        number = await connection.scalar(
            select(func.max(tables.ingestions.c.version) + 1).where(tables.ingestions.c.document_id == old.document_id)
        )
        await connection.execute(
            insert(tables.ingestions).values(
                id=version, document_id=old.document_id, owner_id=old.owner_id, bot_id=old.bot_id, version=number,
                status=ingestion, format="markdown", **file,
            )
        )  # fmt: skip
        await connection.execute(
            update(tables.documents)
            .where(tables.documents.c.id == old.document_id)
            .values(current_ingestion_id=version, version=number, **file)
        )
    return old.model_copy(update={"ingestion_id": version})


async def store_chunks(connection: AsyncConnection, ref: IngestionRef, count: int) -> None:
    """Chunks as an embed step stores them."""
    columns = ["ingestion_id", "ordinal", "id", "owner_id", "bot_id", "document_id", "content", "char_start",
               "char_end", "page_starts", "heading_path", "embedding"]  # fmt: skip
    width = 768
    vector = np.zeros(width, dtype=np.float16)
    vector[0] = 1
    rows: list[tuple[Any, ...]] = [
        (ref.ingestion_id, number, chunk_id(ref.ingestion_id, number), ref.owner_id, ref.bot_id, ref.document_id,
         f"Sentence {number}.", number, number + 1, [], [], HalfVector(vector))
        for number in range(count)
    ]  # fmt: skip
    if rows:
        await copy_rows(connection, "chunks", columns, rows)


async def a_turn(
    engine: AsyncEngine,
    home: Home,
    *,
    status: str = "running",
    age: timedelta = timedelta(0),
    passages_of: DocumentId | None = None,
    events: int = 1,
) -> TurnRef:
    """A question in a conversation of its own, with the events that were sent so far."""
    conversation, turn, question = ConversationId(new_id()), TurnId(new_id()), new_id()
    when = datetime.now(UTC) - age
    async with engine.begin() as connection:
        await connection.execute(
            insert(tables.conversations).values(id=conversation, owner_id=home.owner_id, bot_id=home.bot_id)
        )
        finished = {"finished_at": when} if status not in {"pending", "running"} else {}
        await connection.execute(
            insert(tables.turns).values(
                id=turn, owner_id=home.owner_id, bot_id=home.bot_id, conversation_id=conversation, status=status,
                question_id=question, attempt=1, last_sequence=events, created_at=when, updated_at=when, **finished,
            )
        )  # fmt: skip
        message = {"role": "user", "content": "Why?", "position": 1, "turn_id": turn}
        await connection.execute(insert(tables.messages).values(id=question, conversation_id=conversation, **message))
        for sequence in range(1, events + 1):
            type_, data = ("turn.started", {}) if sequence == 1 else ("message.delta", {"text": f"word{sequence} "})
            await connection.execute(
                insert(tables.turn_events).values(
                    turn_id=turn, sequence=sequence, attempt=1, type=type_, data=data, created_at=when
                )
            )
        if passages_of is not None:
            await connection.execute(
                insert(tables.turn_passages).values(
                    turn_id=turn, marker=1, chunk_id=new_id(), document_id=passages_of, document_name="Handbook",
                    page_starts=[], heading_path=[], content="Sentence 1.", score=0.5,
                )
            )  # fmt: skip
    return TurnRef(owner_id=home.owner_id, bot_id=home.bot_id, conversation_id=conversation, turn_id=turn)


async def count(engine: AsyncEngine, table: Any, *where: Any) -> int:
    """How many rows there are."""
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table).where(*where))).scalar_one())


async def row_of(engine: AsyncEngine, table: Any, id_: Any) -> Any:
    """One row by its id; None where it is gone."""
    async with engine.connect() as connection:
        return (await connection.execute(select(table).where(table.c.id == id_))).one_or_none()


async def a_crawl(engine: AsyncEngine, home: Home, url: str = "http://site.example/", **values: Any) -> CrawlRef:
    """A crawl as the API accepts it."""
    crawl = CrawlId(new_id())
    row = {
        "id": crawl, "owner_id": home.owner_id, "bot_id": home.bot_id, "url": url, "max_pages": 100, "max_depth": 3,
    } | values  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(tables.crawls).values(row))
    return CrawlRef(owner_id=home.owner_id, bot_id=home.bot_id, crawl_id=crawl, epoch=row.get("epoch", 1))
