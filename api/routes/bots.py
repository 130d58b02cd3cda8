"""Bots."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.ids import new_id
from adapters.postgres import bots, connections
from adapters.postgres.engine import transaction
from adapters.temporal import runs
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.idempotency import OnceDep
from api.pagination import ListingDep
from api.schemas.base import ListOf
from api.schemas.bots import Bot, BotBody, BotChange
from api.schemas.deletions import Deletion
from api.starting import started
from domain import tools
from domain.bots import AgentType
from domain.errors import ConnectionInvalid, InvalidRequest, NotFound
from domain.ids import BotId, UserId
from domain.providers import in_order, provider_of
from domain.steps import DeletionRef

router = APIRouter(prefix="/bots", tags=["Bots"])


@router.post("", status_code=201, summary="Make a bot", responses=responses(400, 401, 403, 409))
async def create_bot(
    body: BotBody, user: Writer, adapters: AdaptersDep, connection: TransactionDep, once: OnceDep, response: Response
) -> Bot:
    """Make a bot; then upload documents to it."""
    _require_providers(adapters, body)
    await _check_tools(adapters, connection, user.id, body)
    await once.claim(connection, user.id)
    row = await bots.add(connection, {"id": new_id(), "owner_id": user.id, **body.model_dump(mode="json")})
    headers = {"Location": f"/api/v1/bots/{row.id}"}
    response.headers.update(headers)
    return await once.keep(connection, user.id, 201, _render(row), headers)


@router.get("", summary="List bots", responses=responses(401, 403))
async def list_bots(user: Reader, connection: TransactionDep, listing: ListingDep) -> ListOf[Bot]:
    """List your bots."""
    bound = listing.of("bots", user.id)
    rows = await bots.page(connection, user.id, bound.window)
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=_render)


@router.get("/{bot_id}", summary="See a bot", responses=responses(401, 403, 404))
async def get_bot(bot_id: UUID, user: Reader, connection: TransactionDep) -> Bot:
    """See one bot."""
    return _render(await bots.read(connection, user.id, BotId(bot_id)))


@router.put("/{bot_id}", summary="Replace a bot", responses=responses(400, 401, 403, 404))
async def replace_bot(
    bot_id: UUID, body: BotBody, user: Writer, adapters: AdaptersDep, connection: TransactionDep
) -> Bot:
    """Replace everything: what is left out goes back to its default."""
    _require_providers(adapters, body)
    await _check_tools(adapters, connection, user.id, body, bot_id)
    return _render(await bots.change(connection, user.id, BotId(bot_id), body.model_dump(mode="json")))


@router.patch("/{bot_id}", summary="Change a bot", responses=responses(400, 401, 403, 404))
async def update_bot(
    bot_id: UUID, body: BotChange, user: Writer, adapters: AdaptersDep, connection: TransactionDep
) -> Bot:
    """Change what is given; `configuration` is merged key by key."""
    _require_providers(adapters, body)
    row = await bots.read(connection, user.id, BotId(bot_id), lock=True)
    merged = _merge(_render(row).model_dump(mode="json"), body.model_dump(mode="json", exclude_unset=True))
    fields = {name: merged[name] for name in BotBody.model_fields}
    try:
        whole = BotBody.model_validate(fields)
    except ValidationError as error:
        faults = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(faults, body=fields) from error
    await _check_tools(adapters, connection, user.id, whole, bot_id)
    return _render(await bots.change(connection, user.id, BotId(bot_id), whole.model_dump(mode="json")))


@router.delete("/{bot_id}", status_code=202, summary="Delete a bot", responses=responses(401, 403, 404))
async def delete_bot(bot_id: UUID, user: Writer, adapters: AdaptersDep) -> Deletion:
    """Delete a bot with its documents and conversations. It is out of sight at once; the receipt tells the rest."""
    async with transaction(adapters.engine) as connection:
        receipt = await bots.begin_deletion(connection, user.id, BotId(bot_id), now=now())
    ref = DeletionRef(owner_id=user.id, bot_id=BotId(bot_id))
    await started(runs.start_deletion(adapters.temporal, ref))
    return Deletion.of(receipt)


def _require_providers(adapters: Adapters, body: BotBody | BotChange) -> None:
    """Refuse a model of a provider that is not set up, where it is named now; what was stored before stays."""
    fallbacks = (body.configuration and body.configuration.fallback_models) or ()
    named = [("model", body.model), *(("configuration.fallback_models", model) for model in fallbacks)]
    own, configured = adapters.settings.provider, adapters.settings.providers
    for param, model in named:
        if model is not None:
            provider_of(model, default=own, configured=configured, param=param)


async def _require_bot(connection: AsyncConnection, owner: UserId, other: BotId, *, itself: UUID | None) -> None:
    try:
        await bots.read(connection, owner, other)
    except NotFound:
        known = False
    else:
        known = other != itself
    if not known:
        text = f"You have no other bot with the id {other} that could be asked."
        raise InvalidRequest(text, param="configuration.tools")


async def _check_tools(
    adapters: Adapters, connection: AsyncConnection, owner: UserId, bot: BotBody, itself: UUID | None = None
) -> None:
    """Refuse now what would fail with each answer: a model that takes no tools, a connection that is not there."""
    generator = adapters.generator
    models = in_order(bot.model, bot.configuration.fallback_models, default=generator.model)
    if bot.configuration.agent_type is AgentType.REACT and not any(map(generator.completes_with, models)):
        raise tools.unsupported()
    for other in tools.bots_of(bot.configuration.tools):
        await _require_bot(connection, owner, other, itself=itself)
    wanted = tools.connections_of(bot.configuration.tools)
    kinds = await connections.kinds(connection, owner, list(wanted))
    for id_, kind in wanted.items():
        if kinds.get(id_) is not kind:
            text = f"You have no connection of the kind {kind} with the id {id_}. Make it at /api/v1/connections first."
            raise ConnectionInvalid(text, param="configuration.tools")


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _render(row: Row[tuple[object, ...]]) -> Bot:
    return Bot(**{name: getattr(row, name) for name in Bot.model_fields})
