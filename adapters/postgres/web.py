"""Documents that are pages of the web: a URL is one document of a bot, and what it holds later a new version."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import bots, documents, uploads
from adapters.postgres.tables import documents as table
from adapters.postgres.uploads import Accepted, Upload
from domain.documents import DocumentStatus
from domain.errors import StateConflict
from domain.ids import BotId, DocumentId, UserId
from domain.web import Validators


@dataclass(frozen=True, slots=True)
class Known:
    """The document of a URL, and what its server said of the bytes that it has."""

    document: DocumentId
    validators: Validators


async def find(connection: AsyncConnection, bot: BotId, url: str) -> Known | None:
    """Find the document of a normalised URL."""
    query = select(table.c.id, table.c.etag, table.c.last_modified).where(
        table.c.bot_id == bot, table.c.source_url == url, table.c.status != DocumentStatus.DELETING
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Known(DocumentId(row.id), Validators(row.etag, row.last_modified))


async def accept(
    connection: AsyncConnection, owner: UserId, bot: BotId, document: DocumentId, upload: Upload, *, known: bool
) -> Accepted:
    """Add the page's document, or a new version where it is `known`; the same bytes change nothing.

    Raises `NotFound`, `AlreadyExists` as `uploads.replace` does, and `StateConflict` where the URL's document
    is not the one any more that the bytes were stored for: then the page is to be fetched again.
    """
    await bots.hold(connection, owner, bot)
    # Two requests for one URL decide one after the other which of them makes its document.
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{bot} {upload.source_url}", 0))))
    holder = await find(connection, bot, upload.source_url or "")
    if holder is None and not known:
        return await uploads.accept(connection, owner, bot, document, upload)
    if holder is not None and holder.document == document:
        await seen(connection, document, now=upload.fetched_at)
        return await uploads.replace(connection, owner, document, upload)
    if holder is not None:
        row = await documents.read(connection, owner, holder.document)
        if row.sha256 == upload.sha256:
            return Accepted(row)
    raise StateConflict("This URL is being added or deleted by another request. Send it again in a moment.")


async def seen(connection: AsyncConnection, document: DocumentId, *, now: datetime | None) -> None:
    """Note that the page was asked for; whether it has changed is another matter."""
    await connection.execute(update(table).where(table.c.id == document).values(fetched_at=now))
