"""Search without an answer."""

from uuid import UUID

from fastapi import APIRouter

from adapters.postgres import bots
from adapters.postgres.engine import transaction
from adapters.postgres.search import search
from api.dependencies import AdaptersDep, Reader
from api.errors import responses
from api.idempotency import OnceDep
from api.schemas.base import ListOf
from api.schemas.search import Found, SearchBody
from domain.ids import BotId
from domain.retrieval import SearchMode

router = APIRouter(prefix="/bots", tags=["Search"])


@router.post("/{bot_id}/search", summary="Search a bot's documents", responses=responses(400, 401, 403, 404, 429, 502))
async def search_bot(
    bot_id: UUID, body: SearchBody, user: Reader, adapters: AdaptersDep, once: OnceDep
) -> ListOf[Found]:
    """Find the passages that an answer would rest on, best first, without asking the model."""
    async with transaction(adapters.engine) as connection:
        await once.claim(connection, user.id)
        bot = await bots.load(connection, user.id, BotId(bot_id))
    mode = body.mode or bot.configuration.retrieval.mode
    vector = None if mode is SearchMode.KEYWORD else await adapters.embedder.embed_query(body.query)
    async with transaction(adapters.engine) as connection:
        hits = await search(
            connection,
            user.id,
            bot.id,
            body.query,
            vector,
            embedding_model=adapters.embedder.model,
            mode=mode,
            limit=body.limit,
            fluency=1.0 if vector is None else adapters.embedder.fluency(body.query),
            within=body.filter,
        )
        found = ListOf[Found](data=[Found.of(hit) for hit in hits], has_more=False)
        return await once.keep(connection, user.id, 200, found)
