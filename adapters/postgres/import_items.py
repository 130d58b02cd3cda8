"""Registering the files of an import, hundreds in a few statements. Nothing here commits.

The same bytes are one document of a bot: a file whose bytes the bot has already, or that came
earlier in the same import, becomes an item that names that document. Locks are taken in one order:
bot, import, documents, bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
from adapters.postgres import files
from adapters.postgres.engine import copy_rows
from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import document_contents, documents, import_items, imports
from domain.documents import DocumentStatus, IngestionStatus, SourceType, Stage
from domain.ids import DocumentId, ImportId, IngestionId
from domain.imports import ItemOutcome, Refusal, Taken
from domain.steps import ImportRef

_DOCUMENTS = [
    "id", "owner_id", "bot_id", "name", "source_type", "import_id", "content_type", "size_bytes", "sha256",
    "current_ingestion_id", "status", "stage",
]  # fmt: skip
_INGESTIONS = [
    "id", "document_id", "owner_id", "bot_id", "version", "status", "format", "content_type", "size_bytes", "sha256",
    "import_id",
]  # fmt: skip
_ITEMS = ["import_id", "position", "name", "size_bytes", "outcome", "document_id", "error_code", "error_message"]

_TAKE_CONTENTS = text(
    """
    INSERT INTO document_contents (bot_id, sha256, document_id)
    SELECT :bot, sha, document
    FROM unnest(CAST(:shas AS text[]), CAST(:documents AS uuid[])) AS given(sha, document) ORDER BY sha
    ON CONFLICT DO NOTHING RETURNING sha256
    """
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file at its place in the import; its bytes lie under these ids if it was taken."""

    position: int
    found: Taken | Refusal
    document_id: DocumentId
    ingestion_id: IngestionId

    @classmethod
    def at(cls, position: int, found: Taken | Refusal) -> "Entry":
        """Mint ids for a refused file: nothing is stored under them."""
        return cls(position, found, DocumentId(new_id()), IngestionId(new_id()))


async def register(connection: AsyncConnection, ref: ImportRef, entries: Sequence[Entry]) -> list[Entry]:
    """Write documents, ingestions and items; answers the entries whose bytes nobody needs."""
    fresh: dict[str, Entry] = {}
    for entry in entries:
        if isinstance(entry.found, Taken):
            fresh.setdefault(entry.found.sha256, entry)
    holders = await _hold(connection, ref, list(fresh))
    await files.keep(connection, sorted(holders.values()))
    accepted = {sha: entry for sha, entry in fresh.items() if sha not in holders}
    await copy_rows(connection, "documents", _DOCUMENTS, [_document(ref, entry) for entry in accepted.values()])
    lost = set(accepted) - await _take(connection, ref, accepted)
    if lost:  # somebody uploaded the same bytes just now
        await connection.execute(delete(documents).where(documents.c.id.in_([accepted[s].document_id for s in lost])))
        holders |= await _holders(connection, ref, list(lost))
        await files.keep(connection, sorted(holders.values()))
        accepted = {sha: entry for sha, entry in accepted.items() if sha not in lost}
    await _describe(connection, ref, [entry.document_id for entry in accepted.values()])
    await copy_rows(connection, "ingestions", _INGESTIONS, [_ingestion(ref, entry) for entry in accepted.values()])
    known = {**holders, **{sha: entry.document_id for sha, entry in accepted.items()}}
    rows = [_item(ref, entry, known) for entry in entries]
    await copy_rows(connection, "import_items", _ITEMS, rows)
    kept = {entry.document_id for entry in accepted.values()}
    return [entry for entry in entries if entry.document_id not in kept]


async def _describe(connection: AsyncConnection, ref: ImportRef, ids: Sequence[DocumentId]) -> None:
    """Give the import's metadata to its documents."""
    shared = select(imports.c.metadata).where(imports.c.id == ref.import_id)
    metadata = (await connection.execute(shared)).scalar_one()
    if metadata:
        await connection.execute(update(documents).where(documents.c.id.in_(ids)).values(metadata=metadata))


async def positions_from(connection: AsyncConnection, import_id: ImportId, first: int) -> set[int]:
    """Tell which positions from `first` on are registered."""
    query = select(import_items.c.position).where(
        import_items.c.import_id == import_id, import_items.c.position >= first
    )
    return set((await connection.execute(query)).scalars())


async def page(
    connection: AsyncConnection, import_id: ImportId, window: Window, *, outcome: ItemOutcome | None = None
) -> list[Row[Any]]:
    """List an import's items by their place."""
    query = select(import_items).where(import_items.c.import_id == import_id)
    if outcome is not None:
        query = query.where(import_items.c.outcome == outcome)
    return list(await connection.execute(keyset(query, [import_items.c.position], window)))


async def _hold(connection: AsyncConnection, ref: ImportRef, shas: list[str]) -> dict[str, DocumentId]:
    """Find who has these bytes, and keep a deletion out; one that has begun is waited for, and is not named."""
    query = (
        select(document_contents.c.sha256, documents.c.id)
        .join(documents, documents.c.id == document_contents.c.document_id)
        .where(document_contents.c.bot_id == ref.bot_id, document_contents.c.sha256.in_(shas))
        .where(documents.c.status != DocumentStatus.DELETING)
        .order_by(documents.c.id)
        .with_for_update(read=True, of=documents)
    )
    return {row.sha256: DocumentId(row.id) for row in await connection.execute(query)}


async def _holders(connection: AsyncConnection, ref: ImportRef, shas: list[str]) -> dict[str, DocumentId]:
    query = select(document_contents).where(
        document_contents.c.bot_id == ref.bot_id, document_contents.c.sha256.in_(shas)
    )
    return {row.sha256: DocumentId(row.document_id) for row in await connection.execute(query)}


async def _take(connection: AsyncConnection, ref: ImportRef, accepted: dict[str, Entry]) -> set[str]:
    given = {
        "bot": ref.bot_id,
        "shas": list(accepted),
        "documents": [entry.document_id for entry in accepted.values()],
    }
    return set((await connection.execute(_TAKE_CONTENTS, given)).scalars())


def _document(ref: ImportRef, entry: Entry) -> tuple[Any, ...]:
    found = entry.found
    assert isinstance(found, Taken)  # noqa: S101  (only what was taken is accepted)
    return (
        entry.document_id, ref.owner_id, ref.bot_id, found.name, SourceType.FILE.value, ref.import_id,
        found.content_type, found.size_bytes, found.sha256, entry.ingestion_id, DocumentStatus.PENDING.value,
        Stage.QUEUED.value,
    )  # fmt: skip


def _ingestion(ref: ImportRef, entry: Entry) -> tuple[Any, ...]:
    found = entry.found
    assert isinstance(found, Taken)  # noqa: S101  (only what was taken is accepted)
    return (
        entry.ingestion_id, entry.document_id, ref.owner_id, ref.bot_id, 1, IngestionStatus.PENDING.value,
        found.format.value, found.content_type, found.size_bytes, found.sha256, ref.import_id,
    )  # fmt: skip


def _item(ref: ImportRef, entry: Entry, known: dict[str, DocumentId]) -> tuple[Any, ...]:
    found = entry.found
    outcome, code, message = ItemOutcome.REFUSED, None, None
    document: UUID | None = None
    if isinstance(found, Refusal):
        code, message = found.code, found.message
    else:
        document = known.get(found.sha256)
        outcome = ItemOutcome.ACCEPTED if document == entry.document_id else ItemOutcome.DUPLICATE
    return (ref.import_id, entry.position, found.name, found.size_bytes, outcome.value, document, code, message)
