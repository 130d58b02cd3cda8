"""A file becomes a document of a bot: its bytes are copied, accepted, and worked on as any upload's."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
from adapters.postgres import bots, document_requests, documents, files, uploads
from adapters.postgres.engine import transaction
from adapters.postgres.uploads import Accepted, Upload
from adapters.wiring import Adapters
from api.starting import start_soon
from domain.blobs import file_key, ingestion_prefix, source_key
from domain.documents import DocumentStatus, Format, SourceType
from domain.errors import DomainError
from domain.filters import Metadata
from domain.ids import BotId, DocumentId, FileId, IngestionId, UserId


@dataclass(frozen=True, slots=True)
class Copy:
    """A file's bytes under the key of a document that is about to be accepted."""

    file: FileId
    document: DocumentId
    upload: Upload


async def attach(adapters: Adapters, owner: UserId, bot: BotId, file_id: UUID, attributes: Metadata | None) -> Row[Any]:
    """Let a bot have a file; give its document. Once it has it, it is given again. Raises `NotFound`."""
    file = FileId(file_id)
    async with transaction(adapters.engine) as connection:
        await bots.hold(connection, owner, bot)
        there = await _there(connection, owner, bot, file, attributes)
    if there is not None:
        if there.new is not None:
            await start_soon(adapters, there.new)
        return there.document
    copy = await copied(adapters, owner, file, attributes)
    try:
        async with transaction(adapters.engine) as connection:
            accepted = await accept(connection, owner, bot, copy)
    except DomainError:
        # Any other failure may have come after the commit: then the bytes are needed.
        await forget(adapters, [copy])
        raise
    await begin(adapters, copy, accepted)
    return accepted.document


async def copied(adapters: Adapters, owner: UserId, file: FileId, attributes: Metadata | None = None) -> Copy:
    """Copy a file's bytes to where a document has them. Raises `NotFound`."""
    async with transaction(adapters.engine) as connection:
        row = await files.read(connection, owner, file)
    document, ingestion = DocumentId(new_id()), IngestionId(new_id())
    upload = Upload(
        ingestion_id=ingestion,
        name=row.name,
        source_type=SourceType.FILE,
        format=Format(row.format),
        content_type=row.content_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        of_file=True,
        metadata=attributes,
    )
    copy = Copy(file, document, upload)
    try:
        await adapters.blobs.put(source_key(document, ingestion), adapters.blobs.get(file_key(file)))
    except DomainError:
        await forget(adapters, [copy])
        raise
    return copy


async def accept(connection: AsyncConnection, owner: UserId, bot: BotId, copy: Copy) -> Accepted:
    """Let the copy become a document; where another has its bytes, that is the file's, too."""
    await files.read(connection, owner, copy.file, lock=True)  # of two at once the second finds the first's document
    attributes = copy.upload.metadata
    there = await _there(connection, owner, bot, copy.file, attributes)
    if there is not None:
        return there
    accepted = await uploads.accept(connection, owner, bot, copy.document, copy.upload)
    document = DocumentId(accepted.document.id)
    await files.link(connection, copy.file, bot, document)
    return accepted if accepted.new is not None else await _wanted_again(connection, owner, document, attributes)


async def begin(adapters: Adapters, copy: Copy, accepted: Accepted) -> None:
    """Work on a document that was accepted; clear the copy away where another one has its bytes."""
    if accepted.document.id != copy.document:
        await forget(adapters, [copy])
    if accepted.new is not None:
        await start_soon(adapters, accepted.new)


async def forget(adapters: Adapters, copies: Iterable[Copy]) -> None:
    """Clear away copies that did not become documents."""
    for copy in copies:
        await adapters.blobs.delete_prefix(ingestion_prefix(copy.document, copy.upload.ingestion_id))


async def _there(
    connection: AsyncConnection, owner: UserId, bot: BotId, file: FileId, attributes: Metadata | None
) -> Accepted | None:
    """Give the document that the file is in this bot already."""
    found = await files.document_in(connection, owner, bot, file)
    return None if found is None else await _wanted_again(connection, owner, found, attributes)


async def _wanted_again(
    connection: AsyncConnection, owner: UserId, document: DocumentId, attributes: Metadata | None
) -> Accepted:
    """Give a document whose file comes again: described anew where attributes are sent, taken up where it was cancelled."""
    if attributes is None:
        row = await documents.read(connection, owner, document)
    else:
        row = await documents.describe(connection, owner, document, attributes)
    if row.status != DocumentStatus.CANCELLED:
        return Accepted(row)
    asked = await document_requests.retry(connection, owner, document, again=True)
    return Accepted(asked.document, asked.start)
