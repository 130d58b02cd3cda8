"""Chunks: one, with the text around it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from adapters.postgres import document_chunks
from api.dependencies import Reader, TransactionDep
from api.errors import responses
from api.schemas.documents import ChunkInContext
from domain.context import Span, around
from domain.ids import ChunkId

router = APIRouter(prefix="/chunks", tags=["Documents"])


@router.get("/{chunk_id}", summary="See a chunk in its context", responses=responses(401, 403, 404))
async def get_chunk(
    chunk_id: UUID,
    user: Reader,
    connection: TransactionDep,
    context: Annotated[int, Query(ge=0, le=10_000, description="Characters before and after it, at most.")] = 1000,
) -> ChunkInContext:
    """Show what a citation points to. A citation's span begins in the chunk; where two neighbours were given as one passage,
    it may end in the next. Both index the document's text."""
    chunk, neighbours = await document_chunks.in_context(connection, user.id, ChunkId(chunk_id), reach=context)
    spans = [Span(row.char_start, row.content) for row in neighbours]
    before, after = around(Span(chunk.char_start, chunk.content), spans, context)
    return ChunkInContext.around(chunk, before, after)
