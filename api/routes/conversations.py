"""Conversations with a bot."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from adapters.ids import new_id
from adapters.postgres import bots, branches, conversations
from adapters.postgres.engine import transaction
from adapters.temporal.runs import cancel_run
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.exports import MEDIA_TYPES, ExportFormat, export_headers, json_export, markdown_export
from api.idempotency import OnceDep
from api.pagination import ListingDep
from api.schemas.base import ListOf
from api.schemas.conversations import MARKDOWN, Conversation, ConversationBody, ConversationChange, ConversationExport
from api.starting import started
from domain import runs
from domain.conversation import Origin
from domain.ids import BotId, ConversationId, MessageId

router = APIRouter(tags=["Conversations"])

_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ConversationExport,
        "description": "The file, named after the conversation.",
        "content": {"text/markdown": {"schema": {"type": "string"}, "example": MARKDOWN}},
    }
}


@router.post(
    "/bots/{bot_id}/conversations", status_code=201, summary="Begin a conversation", responses=responses(401, 403, 404)
)
async def create_conversation(
    bot_id: UUID,
    user: Writer,
    connection: TransactionDep,
    once: OnceDep,
    response: Response,
    body: ConversationBody | None = None,
) -> Conversation:
    """Begin a conversation with a bot; then send messages to it. The body may be left out."""
    await once.claim(connection, user.id)
    await bots.hold(connection, user.id, BotId(bot_id))
    title = None if body is None else body.title
    row = await conversations.add(connection, {"id": new_id(), "owner_id": user.id, "bot_id": bot_id, "title": title})
    headers = {"Location": f"/api/v1/conversations/{row.id}"}
    response.headers.update(headers)
    return await once.keep(connection, user.id, 201, _render(row), headers)


@router.get("/bots/{bot_id}/conversations", summary="List conversations", responses=responses(401, 403, 404))
async def list_conversations(
    bot_id: UUID,
    user: Reader,
    connection: TransactionDep,
    listing: ListingDep,
    origin: Annotated[Origin | None, Query(description="Only those that came in by this door.")] = None,
) -> ListOf[Conversation]:
    """List the conversations with a bot. A chat completion of OpenAI's API is one for each call."""
    await bots.read(connection, user.id, BotId(bot_id))
    bound = listing.of("conversations", user.id, bot_id, origin)
    rows = await conversations.page(connection, user.id, BotId(bot_id), bound.window, origin=origin)
    return bound.page(rows, key=lambda row: (row.created_at, row.id), render=_render)


@router.get("/conversations/{conversation_id}", summary="See a conversation", responses=responses(401, 403, 404))
async def get_conversation(conversation_id: UUID, user: Reader, connection: TransactionDep) -> Conversation:
    """See one conversation."""
    return _render(await conversations.read(connection, user.id, ConversationId(conversation_id)))


@router.patch("/conversations/{conversation_id}", summary="Rename a conversation", responses=responses(401, 403, 404))
async def update_conversation(
    conversation_id: UUID, body: ConversationChange, user: Writer, connection: TransactionDep
) -> Conversation:
    """Change the title."""
    values = body.model_dump(exclude_unset=True)
    return _render(await conversations.change(connection, user.id, ConversationId(conversation_id), values))


@router.delete(
    "/conversations/{conversation_id}", status_code=204, summary="Delete a conversation",
    responses=responses(401, 403, 404),
)  # fmt: skip
async def delete_conversation(conversation_id: UUID, user: Writer, adapters: AdaptersDep) -> None:
    """Delete a conversation with its messages. An answer that is being written is stopped and dropped."""
    conversation = ConversationId(conversation_id)
    async with transaction(adapters.engine) as connection:
        run_id = await conversations.remove(connection, user.id, conversation)
    if run_id is not None:
        # Only to save the model's time: without its rows the run cannot write anything.
        await started(cancel_run(adapters.temporal, runs.turn_run(conversation), run_id=run_id))


@router.get(
    "/conversations/{conversation_id}/export",
    summary="Export a conversation",
    response_class=StreamingResponse,
    responses=_EXPORTED | responses(401, 403, 404),
)
async def export_conversation(
    conversation_id: UUID,
    user: Reader,
    adapters: AdaptersDep,
    form: Annotated[ExportFormat, Query(alias="format", description="`json` or `markdown`.")] = ExportFormat.JSON,
    branch: Annotated[
        UUID | None,
        Query(
            description="Only this message, and those that lead to it. By default all in JSON, the newest in Markdown."
        ),
    ] = None,
) -> StreamingResponse:
    """Download what was said: as JSON with all branches, or one branch as Markdown with the citations as footnotes."""
    identifier = ConversationId(conversation_id)
    leaf = None if branch is None else MessageId(branch)
    async with transaction(adapters.engine) as connection:
        conversation = _render(await conversations.read(connection, user.id, identifier))
        extent = await branches.extent(connection, identifier, leaf, newest=form is ExportFormat.MARKDOWN)
    if form is ExportFormat.MARKDOWN:
        content = markdown_export(adapters, conversation, extent)
    else:
        content = json_export(adapters, conversation, extent)
    return StreamingResponse(content, media_type=MEDIA_TYPES[form], headers=export_headers(conversation, form))


def _render(row: Any) -> Conversation:
    return Conversation(**{name: getattr(row, name) for name in Conversation.model_fields})
