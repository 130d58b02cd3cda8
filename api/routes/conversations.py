"""Conversations, and the messages in them."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel

from adapters.ids import new_id
from adapters.postgres import bots, conversations, messages, turn_requests
from adapters.postgres.engine import transaction
from adapters.temporal.runs import cancel_run
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.idempotency import REPLAYED, OnceDep
from api.pagination import ListingDep
from api.schemas.base import ListOf
from api.schemas.conversations import (
    ANSWER,
    FEEDBACK,
    Conversation,
    ConversationBody,
    ConversationChange,
    FeedbackBody,
    Message,
    MessageBody,
)
from api.schemas.turns import EVENTS, Turn
from api.starting import started
from api.streaming import ended, event_stream, turn_stream
from api.turn_start import start_soon
from domain import messages as domain_messages
from domain import runs
from domain.ids import BotId, ConversationId, MessageId, TurnId, UserId

router = APIRouter(tags=["Conversations"])

# A client, or a proxy before it, gives up waiting at about this age of a request; the turn goes on.
_WAIT = timedelta(seconds=120)

_POSTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "With `stream` or `Accept: text/event-stream`: the turn's events, ending with `message.completed`,"
        " `turn.failed` or `turn.cancelled`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS}},
    },
    202: {"model": Turn, "description": "With `Prefer: respond-async`, or when the answer takes longer than 120 s."},
}

_RATED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, with its feedback.",
        "content": {"application/json": {"example": ANSWER | {"feedback": FEEDBACK}}},
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
    bot_id: UUID, user: Reader, connection: TransactionDep, listing: ListingDep
) -> ListOf[Conversation]:
    """List the conversations with a bot."""
    await bots.read(connection, user.id, BotId(bot_id))
    bound = listing.of("conversations", user.id, bot_id)
    rows = await conversations.page(connection, user.id, BotId(bot_id), bound.window)
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


@router.get("/conversations/{conversation_id}/messages", summary="List messages", responses=responses(401, 403, 404))
async def list_messages(
    conversation_id: UUID, user: Reader, connection: TransactionDep, listing: ListingDep
) -> ListOf[Message]:
    """List what was said."""
    conversation = ConversationId(conversation_id)
    await conversations.read(connection, user.id, conversation)
    bound = listing.of("messages", user.id, conversation_id)
    rows = await messages.page(connection, conversation, bound.window)
    return bound.page(rows, key=lambda row: (row[0],), render=lambda row: _message(row[1]))


@router.post(
    "/conversations/{conversation_id}/messages",
    status_code=201,
    response_model=Message,
    summary="Send a message",
    responses=responses(400, 401, 403, 404, 409) | _POSTED,
)
async def send_message(
    conversation_id: UUID,
    body: MessageBody,
    user: Writer,
    adapters: AdaptersDep,
    once: OnceDep,
    accept: Annotated[str, Header(description="`text/event-stream` streams the answer.")] = "",
    prefer: Annotated[str, Header(description="`respond-async` answers with the turn at once.")] = "",
) -> Response:
    """Ask, and wait for the answer; or stream it; or take the turn and come back.

    The message is stored before anything else happens: a client that leaves stops nothing, and the
    answer is among the messages. A failed answer has the status `failed` and says why.
    """
    turn_id, replayed = await _accept(conversation_id, body, user.id, adapters, once)
    headers = {"Location": f"/api/v1/turns/{turn_id}"} | ({REPLAYED: "true"} if replayed else {})
    if body.stream or "text/event-stream" in accept:
        return event_stream(turn_stream(adapters, turn_id), headers)
    waits = "respond-async" not in prefer
    final = waits and await ended(adapters, turn_id, within=_WAIT)
    async with transaction(adapters.engine) as connection:
        view = await turn_requests.read(connection, user.id, turn_id)
    turn = Turn.of(view)
    if final and turn.answer is not None:
        return _json(201, turn.answer, headers)
    return _json(202, turn, headers)


@router.put(
    "/messages/{message_id}/feedback",
    summary="Rate an answer",
    responses=responses(400, 401, 403, 404, 409) | _RATED,
)
async def rate_message(message_id: UUID, body: FeedbackBody, user: Writer, connection: TransactionDep) -> Message:
    """Say whether an answer was good, and why. What was said before is replaced. 409 for a question of your own."""
    return _message(await messages.rate(connection, user.id, MessageId(message_id), body.feedback()))


async def _accept(
    conversation_id: UUID, body: MessageBody, owner: UserId, adapters: Adapters, once: OnceDep
) -> tuple[TurnId, bool]:
    """Store the message and start its run; give its turn, and whether it was stored before."""
    turn_id = TurnId(new_id())
    async with transaction(adapters.engine) as connection:
        earlier = await once.claim_turn(connection, owner, turn_id)
        if earlier is not None:
            await turn_requests.read(connection, owner, earlier)
            return earlier, True
        ref = await turn_requests.accept(
            connection,
            owner,
            ConversationId(conversation_id),
            turn_id=turn_id,
            question_id=MessageId(new_id()),
            content=body.content,
        )
    start_soon(adapters.temporal, ref)
    return turn_id, False


def _json(status: int, answer: BaseModel, headers: dict[str, str]) -> Response:
    return Response(answer.model_dump_json(), status_code=status, headers=headers, media_type="application/json")


def _message(message: domain_messages.Message) -> Message:
    return Message.model_validate(message.model_dump())


def _render(row: Any) -> Conversation:
    return Conversation(**{name: getattr(row, name) for name in Conversation.model_fields})
