"""Bots and documents as vector stores and their files."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from adapters.postgres.vector_stores import Counts
from api.openai.errors import kind_of
from api.openai.schemas.base import seconds
from api.openai.schemas.vector_stores import (
    Batch,
    BatchStatus,
    FileCounts,
    FileStatus,
    StoreFile,
    StoreFileError,
    VectorStore,
)
from domain.documents import DocumentStatus
from domain.errors import Kind
from domain.filters import Metadata

STATUSES: dict[DocumentStatus, FileStatus] = {
    DocumentStatus.PENDING: "in_progress",
    DocumentStatus.PROCESSING: "in_progress",
    DocumentStatus.READY: "completed",
    # It waits for a person; a client that polls would wait with it. Its error says what to do.
    DocumentStatus.NEEDS_ATTENTION: "failed",
    DocumentStatus.FAILED: "failed",
    DocumentStatus.CANCELLED: "cancelled",
}


def store_of(row: Row[Any], counts: Counts) -> VectorStore:
    """Show a bot."""
    counted = counts_of((status, number) for status, (number, _) in counts.items())
    return VectorStore(
        id=str(row.id),
        created_at=seconds(row.created_at),
        last_active_at=seconds(row.updated_at),
        name=row.name,
        description=row.description,
        status="in_progress" if counted.in_progress else "completed",
        usage_bytes=sum(size for _, size in counts.values()),
        file_counts=counted,
        metadata=row.metadata,
    )


def file_of(row: Row[Any], file_id: UUID) -> StoreFile:
    """Show a document."""
    error = None
    status = STATUSES[DocumentStatus(row.status)]
    if row.error_code is not None and status == "failed":
        error = StoreFileError(code=_code(row.error_code), message=row.error_message or "", reason=row.error_code)
    return StoreFile(
        id=str(file_id),
        created_at=seconds(row.created_at),
        vector_store_id=str(row.bot_id),
        document_id=str(row.id),
        filename=row.name,
        status=status,
        usage_bytes=row.size_bytes,
        last_error=error,
        attributes=attributes_of(row.metadata),
    )


def batch_of(row: Row[Any], statuses: Iterable[DocumentStatus]) -> Batch:
    """Show a batch."""
    counted = counts_of((status, 1) for status in statuses if status is not DocumentStatus.DELETING)
    return Batch(
        id=str(row.id),
        created_at=seconds(row.created_at),
        vector_store_id=str(row.bot_id),
        status=_status_of(row, counted),
        file_counts=counted,
    )


def _status_of(row: Row[Any], counted: FileCounts) -> BatchStatus:
    if row.cancelled_at is not None and (counted.cancelled or counted.in_progress):
        return "cancelled"  # where nothing was left to stop, it is as whole as before
    return "in_progress" if counted.in_progress else "completed"


def counts_of(found: Iterable[tuple[DocumentStatus, int]]) -> FileCounts:
    """Count by the states that a vector store's files have."""
    counted: dict[str, int] = {}
    for status, number in found:
        counted[STATUSES[status]] = counted.get(STATUSES[status], 0) + number
    return FileCounts(**counted, total=sum(counted.values()))


def attributes_of(metadata: Metadata) -> dict[str, str | float | bool]:
    """Show a document's metadata; lists, which attributes cannot be, are left out."""
    return {key: value for key, value in metadata.items() if isinstance(value, str | float | int | bool)}


def _code(code: str) -> Any:
    kind = kind_of(code)
    if kind is Kind.UNSUPPORTED_MEDIA:
        return "unsupported_file"
    return "invalid_file" if kind is Kind.INVALID_REQUEST else "server_error"
