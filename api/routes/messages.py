"""Messages: list them, ask, ask again in other words, have another answer, rate it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.ids import new_id
from adapters.postgres import conversations, messages, turn_requests
from adapters.postgres.engine import reading, transaction
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.errors import responses
from api.idempotency import REPLAYED, Once, OnceDep
from api.pagination import ListingDep
from api.preferences import names
from api.schemas.base import ListOf
from api.schemas.conversations import ANSWER, FEEDBACK, FeedbackBody, Message, MessageBody, RegenerateBody
from api.schemas.turns import EVENTS, Turn
from api.streaming import ended, event_stream, turn_stream
from api.turn_start import start_soon
from domain import messages as domain_messages
from domain.ids import ConversationId, MessageId, TurnId, UserId
from domain.steps import TurnRef

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

Acceptance = Callable[[AsyncConnection, TurnId], Awaitable[TurnRef]]
"""Stores what is asked under the id of its turn."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and how the answer is to come."""

    owner: UserId
    adapters: Adapters
    once: Once
    accept: str
    prefer: str


def _asking(
    user: Writer,
    adapters: AdaptersDep,
    once: OnceDep,
    accept: Annotated[str, Header(description="`text/event-stream` streams the answer.")] = "",
    prefer: Annotated[str, Header(description="`respond-async` answers with the turn at once.")] = "",
) -> Asking:
    return Asking(user.id, adapters, once, accept, prefer)


AskingDep = Annotated[Asking, Depends(_asking)]


@router.get("/conversations/{conversation_id}/messages", summary="List messages", responses=responses(401, 403, 404))
async def list_messages(
    conversation_id: UUID,
    user: Reader,
    connection: TransactionDep,
    listing: ListingDep,
    branch: Annotated[UUID | None, Query(description="Only this message, and those that lead to it.")] = None,
) -> ListOf[Message]:
    """List what was said, all branches in one list; each message names the one that it follows."""
    conversation = ConversationId(conversation_id)
    await conversations.read(connection, user.id, conversation)
    bound = listing.of("messages", user.id, conversation_id, *([] if branch is None else [branch]))
    leaf = None if branch is None else MessageId(branch)
    rows = await messages.page(connection, conversation, bound.window, branch=leaf)
    return bound.page(rows, key=lambda row: (row[0],), render=lambda row: _message(row[1]))


@router.post(
    "/conversations/{conversation_id}/messages",
    status_code=201,
    response_model=Message,
    summary="Send a message",
    responses=responses(400, 401, 403, 404, 409) | _POSTED,
)
async def send_message(conversation_id: UUID, body: MessageBody, asking: AskingDep) -> Response:
    """Ask, and wait for the answer; or stream it; or take the turn and come back.

    The message is stored before anything else happens: a client that leaves stops nothing, and the
    answer is among the messages. A failed answer has the status `failed` and says why.
    """

    async def accept(connection: AsyncConnection, turn_id: TurnId) -> TurnRef:
        return await turn_requests.accept(
            connection,
            asking.owner,
            ConversationId(conversation_id),
            turn_id=turn_id,
            question_id=MessageId(new_id()),
            content=body.content,
            after=body.after(),
            within=body.filter,
        )

    return await _answer(asking, accept, stream=body.stream)


@router.post(
    "/messages/{message_id}/regenerate",
    status_code=201,
    response_model=Message,
    summary="Have another answer",
    responses=responses(400, 401, 403, 404, 409) | _POSTED,
)
async def regenerate_message(message_id: UUID, asking: AskingDep, body: RegenerateBody | None = None) -> Response:
    """Answer a question once more; name the question, or an answer to it. The new answer stands beside the others.

    It comes as that of a message does: waited for, streamed, or as a turn. The body may be left out.
    """

    async def accept(connection: AsyncConnection, turn_id: TurnId) -> TurnRef:
        return await turn_requests.accept_again(connection, asking.owner, MessageId(message_id), turn_id=turn_id)

    return await _answer(asking, accept, stream=body is not None and body.stream)


@router.put(
    "/messages/{message_id}/feedback",
    summary="Rate an answer",
    responses=responses(400, 401, 403, 404, 409) | _RATED,
)
async def rate_message(message_id: UUID, body: FeedbackBody, user: Writer, connection: TransactionDep) -> Message:
    """Say whether an answer was good, and why. What was said before is replaced. 409 for a question of your own."""
    return _message(await messages.rate(connection, user.id, MessageId(message_id), body.feedback()))


async def _answer(asking: Asking, accept: Acceptance, *, stream: bool) -> Response:
    turn_id, replayed = await _accepted(asking, accept)
    headers = {"Location": f"/api/v1/turns/{turn_id}"} | ({REPLAYED: "true"} if replayed else {})
    if stream or names(asking.accept, "text/event-stream"):
        return event_stream(turn_stream(asking.adapters, turn_id), headers)
    waits = not names(asking.prefer, "respond-async")
    final = waits and await ended(asking.adapters, turn_id, within=_WAIT, just_begun=not replayed)
    async with reading(asking.adapters.engine) as connection:
        view = await turn_requests.read(connection, asking.owner, turn_id)
    turn = Turn.of(view)
    if final and turn.answer is not None:
        return _json(201, turn.answer, headers)
    return _json(202, turn, headers)


async def _accepted(asking: Asking, accept: Acceptance) -> tuple[TurnId, bool]:
    """Store what is asked and start its run; give its turn, and whether it was stored before."""
    turn_id = TurnId(new_id())
    async with transaction(asking.adapters.engine) as connection:
        earlier = await asking.once.claim_turn(connection, asking.owner, turn_id)
        if earlier is not None:
            await turn_requests.read(connection, asking.owner, earlier)
            return earlier, True
        ref = await accept(connection, turn_id)
    start_soon(asking.adapters.temporal, ref)
    return turn_id, False


def _json(status: int, answer: BaseModel, headers: dict[str, str]) -> Response:
    return Response(answer.model_dump_json(), status_code=status, headers=headers, media_type="application/json")


def _message(message: domain_messages.Message) -> Message:
    return Message.model_validate(message.model_dump())
