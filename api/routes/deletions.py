"""Receipts of deletions."""

from uuid import UUID

from fastapi import APIRouter

from adapters.postgres import documents
from api.dependencies import Reader, TransactionDep
from api.errors import responses
from api.schemas.deletions import Deletion

router = APIRouter(prefix="/deletions", tags=["Documents"])


@router.get("/{deletion_id}", summary="See a deletion's receipt", responses=responses(401, 403, 404))
async def get_deletion(deletion_id: UUID, user: Reader, connection: TransactionDep) -> Deletion:
    """See how far the deletion of a bot or document is; the receipt has the id of what is deleted."""
    return Deletion.of(await documents.read_deletion(connection, user.id, deletion_id))
