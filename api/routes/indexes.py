"""Indexes of large bots."""

from uuid import UUID

from fastapi import APIRouter

from adapters.postgres import bots, indexes
from api.dependencies import AdaptersDep, Reader, TransactionDep
from api.errors import responses
from api.schemas.indexes import BotIndex
from domain.ids import BotId
from domain.indexes import IndexState

router = APIRouter(prefix="/bots", tags=["Bots"])


@router.get("/{bot_id}/index", summary="See a bot's index", responses=responses(401, 403, 404))
async def get_bot_index(bot_id: UUID, user: Reader, connection: TransactionDep, adapters: AdaptersDep) -> BotIndex:
    """See whether the bot is searched by an index, and how far one is that is being built."""
    bot = await bots.read(connection, user.id, BotId(bot_id))
    chunks, row = await indexes.read(connection, user.id, BotId(bot.id))
    return BotIndex(
        bot_id=bot.id,
        state=IndexState(row.state) if row is not None else "none",
        used=row is not None and row.state == IndexState.VALID,
        chunks=chunks,
        threshold=adapters.settings.index_chunks,
        valid_at=None if row is None else row.valid_at,
        error_code=None if row is None else row.error_code,
        error_message=None if row is None else row.error_message,
    )
