"""Accepting bytes: a new document, or a new version of one. The same bytes are one document of a bot."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import bots, documents, files, packs
from adapters.postgres.contents import release_unused
from adapters.postgres.tables import document_contents, ingestions
from adapters.postgres.tables import documents as table
from domain.documents import (
    DocumentStatus,
    Format,
    IngestionRef,
    IngestionStatus,
    Operation,
    SourceType,
    Stage,
    require,
)
from domain.errors import AlreadyExists, NotFound
from domain.filters import Metadata
from domain.ids import BotId, DocumentId, IngestionId, UserId

_OPEN = (IngestionStatus.PENDING, IngestionStatus.RUNNING, IngestionStatus.PARKED)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that lie in the blob store already."""

    ingestion_id: IngestionId
    name: str
    source_type: SourceType
    format: Format
    content_type: str
    size_bytes: int
    sha256: str
    encoding: str | None = None  # asked for; none: detect it
    keep_text_pages: bool = False
    of_file: bool = False  # of OpenAI's API
    metadata: Metadata | None = None  # none: a new version keeps the document's
    # Of a page that was fetched:
    source_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    fetched_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The document that answers for the bytes; `new` is None where it had them already."""

    document: Row[Any]
    new: IngestionRef | None = None
    superseded_run: str | None = None


async def accept(
    connection: AsyncConnection, owner: UserId, bot: BotId, document: DocumentId, upload: Upload
) -> Accepted:
    """Add a document, unless the bot has one of the same bytes: then give that. Raises `NotFound`."""
    await bots.hold(connection, owner, bot)
    while True:
        present = await _present(connection, owner, bot, upload.sha256)
        if present is not None:
            if not upload.of_file:
                await files.keep(connection, [DocumentId(present.id)])
            return Accepted(present)
        attempt = await connection.begin_nested()
        await _insert_document(connection, owner, bot, document, upload)
        # A twin that is under way is waited for here; it wins if it commits.
        if await _take_content(connection, bot, document, upload.sha256):
            await attempt.commit()
            break
        await attempt.rollback()
    await documents.notify(connection, document)
    ref = IngestionRef(owner_id=owner, bot_id=bot, document_id=document, ingestion_id=upload.ingestion_id)
    return Accepted(await documents.read(connection, owner, document), ref)


async def replace(connection: AsyncConnection, owner: UserId, document: DocumentId, upload: Upload) -> Accepted:
    """Add a new version, which takes the place of one that is not ready yet.

    The document keeps answering from its active version. The same bytes are a new version where another
    encoding is asked for. Raises `NotFound`, `StateConflict`, and
    `AlreadyExists` where another document of the bot has the same bytes.
    """
    row = await documents.read(connection, owner, document, lock=True)
    require(Operation.REPLACE, DocumentStatus(row.status))
    await files.keep(connection, [document])
    if row.sha256 == upload.sha256 and upload.encoding in (None, row.encoding):
        return Accepted(row)
    bot = BotId(row.bot_id)
    while not await _take_content(connection, bot, document, upload.sha256):
        holder = await _holder(connection, bot, upload.sha256)
        if holder == document:
            break
        if holder is not None:  # else it has been deleted just now
            raise AlreadyExists(
                "Another document of this bot has the same content.",
                param="file",
                details={"document_id": str(holder)},
            )
    superseded = await _supersede(connection, document)
    latest = select(func.max(ingestions.c.version)).where(ingestions.c.document_id == document)
    version = int((await connection.execute(latest)).scalar_one()) + 1
    await _insert_ingestion(connection, owner, bot, document, upload, version=version)
    await _show_version(connection, document, upload, version)
    await release_unused(connection, document)
    await documents.notify(connection, document)
    ref = IngestionRef(owner_id=owner, bot_id=bot, document_id=document, ingestion_id=upload.ingestion_id)
    return Accepted(await documents.read(connection, owner, document), ref, superseded)


async def _present(connection: AsyncConnection, owner: UserId, bot: BotId, sha256: str) -> Row[Any] | None:
    """Give the document of these bytes; the lock waits for a deletion that has just begun."""
    holder = await _holder(connection, bot, sha256)
    if holder is None:
        return None
    try:
        row = await documents.read(connection, owner, holder, lock=True)
    except NotFound:
        return None
    return None if row.status == DocumentStatus.DELETING else row


async def _holder(connection: AsyncConnection, bot: BotId, sha256: str) -> DocumentId | None:
    query = select(document_contents.c.document_id).where(
        document_contents.c.bot_id == bot, document_contents.c.sha256 == sha256
    )
    found = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else DocumentId(found)


async def _take_content(connection: AsyncConnection, bot: BotId, document: DocumentId, sha256: str) -> bool:
    statement = (
        postgresql.insert(document_contents)
        .values(bot_id=bot, sha256=sha256, document_id=document)
        .on_conflict_do_nothing()
        .returning(document_contents.c.sha256)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def _insert_document(
    connection: AsyncConnection, owner: UserId, bot: BotId, document: DocumentId, upload: Upload
) -> None:
    await connection.execute(
        insert(table).values(
            id=document,
            owner_id=owner,
            bot_id=bot,
            name=upload.name,
            source_type=upload.source_type,
            current_ingestion_id=upload.ingestion_id,
            status=DocumentStatus.PENDING,
            stage=Stage.QUEUED,
            source_url=upload.source_url,
            fetched_at=upload.fetched_at,
            of_files=upload.of_file,
            metadata=upload.metadata or {},
            **_validators(upload),
            **_content(upload),
        )
    )
    await _insert_ingestion(connection, owner, bot, document, upload, version=1)


async def _insert_ingestion(
    connection: AsyncConnection, owner: UserId, bot: BotId, document: DocumentId, upload: Upload, *, version: int
) -> None:
    await connection.execute(
        insert(ingestions).values(
            id=upload.ingestion_id,
            document_id=document,
            owner_id=owner,
            bot_id=bot,
            version=version,
            format=upload.format,
            keep_text_pages=upload.keep_text_pages,
            **_content(upload),
        )
    )


async def _supersede(connection: AsyncConnection, document: DocumentId) -> str | None:
    """Close the version that is not ready yet; give its run, which is to be told: housekeeping makes sure of it.

    One that is in a pack has no run of its own; the pack goes on without it.
    """
    told = func.coalesce(ingestions.c.cancel_requested_at, func.now())
    statement = (
        update(ingestions)
        .where(ingestions.c.document_id == document, ingestions.c.status.in_(_OPEN))
        .values(
            status=IngestionStatus.CANCELLED,
            cancel_requested_at=case((ingestions.c.import_id.is_(None), told), else_=None),
            finished_at=func.now(),
            updated_at=func.now(),
        )
        .returning(ingestions.c.id, ingestions.c.run_id, ingestions.c.import_id)
    )
    runs: list[str] = []
    for row in (await connection.execute(statement)).all():
        if row.import_id is not None:
            await packs.discard(connection, row.import_id, document, IngestionId(row.id))
        elif row.run_id is not None:
            runs.append(row.run_id)
    return runs[0] if runs else None


async def _show_version(connection: AsyncConnection, document: DocumentId, upload: Upload, version: int) -> None:
    await connection.execute(
        update(table)
        .where(table.c.id == document)
        .values(
            **_content(upload),
            **_validators(upload),
            fetched_at=upload.fetched_at or table.c.fetched_at,
            metadata=table.c.metadata if upload.metadata is None else upload.metadata,
            version=version,
            current_ingestion_id=upload.ingestion_id,
            status=DocumentStatus.PENDING,
            stage=Stage.QUEUED,
            pages_done=0,
            pages_total=None,
            chunks_done=0,
            chunks_total=None,
            error_code=None,
            error_message=None,
            updated_at=func.now(),
        )
    )


def _content(upload: Upload) -> dict[str, Any]:
    return {
        "content_type": upload.content_type,
        "size_bytes": upload.size_bytes,
        "sha256": upload.sha256,
        "encoding": upload.encoding,
    }


def _validators(upload: Upload) -> dict[str, Any]:
    """They are of these bytes: a file that takes a page's place has none."""
    return {"etag": upload.etag, "last_modified": upload.last_modified}
