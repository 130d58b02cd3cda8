"""Models: the caller's bots."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import bots
from adapters.postgres.paging import Window
from api.dependencies import Reader, TransactionDep
from api.openai.errors import ModelAmbiguous, ModelNotFound, responses
from api.openai.schemas.base import seconds
from api.openai.schemas.models import Model, Models
from api.schemas.base import Clean
from domain.errors import NotFound
from domain.ids import BotId, UserId

router = APIRouter(prefix="/models", tags=["OpenAI"])

_MOST = 10_000


@router.get("", summary="List bots as models", responses=responses())
async def list_models(user: Reader, connection: TransactionDep) -> Models:
    """List your bots, newest first: a bot's id is the model's."""
    rows = await bots.page(connection, user.id, Window(limit=_MOST))
    return Models(data=[_render(row) for row in rows])


@router.get("/{model:path}", summary="See a bot as a model", responses=responses(404))
async def get_model(model: Clean, user: Reader, connection: TransactionDep) -> Model:
    """See one bot, by its id or its name, which may have slashes."""
    bot = await bot_of(connection, user.id, model)
    return _render(await bots.read(connection, user.id, bot))


async def bot_of(connection: AsyncConnection, owner: UserId, model: str) -> BotId:
    """Find the bot that a request names. Raises `ModelNotFound`, `ModelAmbiguous`."""
    try:
        bot = BotId(UUID(model))
        await bots.read(connection, owner, bot)
    except (ValueError, NotFound):
        return await _named(connection, owner, model)
    return bot


async def _named(connection: AsyncConnection, owner: UserId, name: str) -> BotId:
    found = await bots.named(connection, owner, name)
    if not found:
        raise ModelNotFound("You have no bot of this id or name. GET /openai/v1/models lists them.", param="model")
    if len(found) > 1:
        raise ModelAmbiguous("Several of your bots have this name. Send the id instead.", param="model")
    return found[0]


def _render(row: Row[Any]) -> Model:
    return Model(id=str(row.id), created=seconds(row.created_at), name=row.name, description=row.description)
