"""Responses: durable turns that are asked for, followed from any process, gone on with, stopped."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection
from sse_starlette import ServerSentEvent

from adapters.clock import now
from adapters.postgres import conversations, messages, turn_events, turn_requests
from adapters.postgres.engine import transaction
from adapters.postgres.turn_requests import TurnView
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Reader, TransactionDep, Writer
from api.idempotency import REPLAYED, OnceDep
from api.openai.asking import Question, RepetitionDep, ask
from api.openai.citations import names_in, names_of
from api.openai.errors import responses
from api.openai.pages import listed
from api.openai.response_events import ResponseEvents
from api.openai.response_objects import no_response, response_of, status_of, turn_id_of
from api.openai.schemas.base import Listed
from api.openai.schemas.response_requests import ResponseBody
from api.openai.schemas.responses import (
    EVENTS,
    InputMessage,
    InputText,
    OpenAIResponse,
    ResponseDeleted,
)
from api.streaming import ended, event_stream, follow
from api.turn_stop import stop_run
from domain.bots import TurnOptions
from domain.conversation import Origin
from domain.errors import InvalidCursor, NotFound, StateConflict
from domain.ids import ConversationId, MessageId, TurnId, UserId

router = APIRouter(prefix="/responses", tags=["OpenAI"])

# OpenAI's own client waits ten minutes for an answer.
WAIT = timedelta(seconds=590)

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The response; with `stream` its events, numbered by `sequence_number`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENTS}},
    }
}


@router.post(
    "",
    summary="Ask for a response",
    response_model=OpenAIResponse,
    responses=responses(404, 409, 413, 429) | _STREAMED,
)
async def create_response(
    body: ResponseBody, user: Writer, adapters: AdaptersDep, repetition: RepetitionDep
) -> Response:
    """Answer from the bot's documents: wait for it, stream it, or with `background` come back for it.

    The question is stored before anything else happens: a client that leaves stops nothing. A response that failed
    has the status `failed` and says why; one that takes longer than 590 s is given as it stands.
    """
    taken = await ask(adapters, user.id, repetition, _question(body))
    headers = {REPLAYED: "true"} if taken.replayed else {}
    if body.stream:
        view = await _read(adapters, user.id, taken.turn_id)
        return event_stream(_stream(adapters, view, after=-1), headers)
    if not body.background:
        await ended(adapters, taken.turn_id, within=WAIT)
    return _json(await _show(adapters, user.id, taken.turn_id), headers)


@router.get(
    "/{response_id}",
    summary="See or follow a response",
    response_model=OpenAIResponse,
    responses=responses(404) | _STREAMED,
)
async def get_response(
    response_id: str,
    user: Reader,
    adapters: AdaptersDep,
    stream: Annotated[bool, Query(description="Follow its events.")] = False,
    starting_after: Annotated[int, Query(ge=-1, le=2**53, description="The `sequence_number` seen last.")] = -1,
) -> Response:
    """See where a response stands, or follow its events from any point on, also when it has ended."""
    view = await _read(adapters, user.id, turn_id_of(response_id))
    if stream:
        if starting_after >= 0 and starting_after >= await _told(adapters, view, after=starting_after):
            raise InvalidCursor(
                "This response has told no event of this number. Follow it from the beginning.", param="starting_after"
            )
        return event_stream(_stream(adapters, view, after=starting_after))
    return _json(await _show(adapters, user.id, TurnId(view.row.id)), {})


@router.post("/{response_id}/cancel", summary="Stop a response", responses=responses(404, 409))
async def cancel_response(response_id: str, user: Writer, adapters: AdaptersDep, once: OnceDep) -> OpenAIResponse:
    """Stop writing and keep what is written. A response that is cancelled already is shown again."""
    turn = turn_id_of(response_id)
    async with transaction(adapters.engine) as connection:
        first = await once.claim(connection, user.id)
        view = await _view(connection, user.id, turn)
        if first and status_of(view.row) in ("completed", "incomplete", "failed"):
            raise StateConflict("This response has ended; there is nothing left to stop.")
        if not view.final:
            view = await turn_requests.close_unstarted(connection, user.id, turn, now=now())
    if not view.final:
        await stop_run(adapters, user.id, view)
    shown = await _show(adapters, user.id, turn)
    async with transaction(adapters.engine) as connection:
        return await once.keep(connection, user.id, 200, shown)


@router.delete("/{response_id}", summary="Delete a response", responses=responses(404, 409))
async def delete_response(response_id: str, user: Writer, connection: TransactionDep) -> ResponseDeleted:
    """Delete a response with its conversation, unless that holds another, or it is being written."""
    view = await _view(connection, user.id, turn_id_of(response_id))
    if not view.final:
        raise StateConflict("This response is being written. Cancel it, then delete it.")
    conversation = ConversationId(view.row.conversation_id)
    await conversations.lock(connection, conversation)
    if await turn_requests.has_others(connection, TurnId(view.row.id), conversation):
        raise StateConflict(
            f"This response is part of a conversation. Delete that at /api/v1/conversations/{conversation}."
        )
    await conversations.remove(connection, user.id, conversation)
    return ResponseDeleted(id=response_id)


@router.get("/{response_id}/input_items", summary="See what a response answers", responses=responses(404))
async def list_input_items(
    response_id: str,
    user: Reader,
    connection: TransactionDep,
    after: Annotated[str | None, Query(max_length=100, description="The last id of the page before.")] = None,
) -> Listed[InputMessage]:
    """See the question. What was said before it is in the conversation."""
    view = await _view(connection, user.id, turn_id_of(response_id))
    question = await messages.find(connection, MessageId(view.row.question_id))
    if question is None:
        raise no_response()
    item = InputMessage(id=f"msg_{question.id.hex}", content=[InputText(text=question.content)])
    return listed([] if after == item.id else [item], more=False)


def _question(body: ResponseBody) -> Question:
    previous = body.previous_response_id
    named = body.conversation_id
    options = TurnOptions(
        instructions=body.told,
        temperature=body.temperature,
        max_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        background=bool(body.background),
        previous_turn_id=None if previous is None else turn_id_of(previous, param="previous_response_id"),
    )
    conversation = None if named is None else _conversation(named)
    return Question(body.model, body.question, Origin.RESPONSES, body.said, options, conversation)


def _conversation(name: str) -> ConversationId:
    try:
        return ConversationId(UUID(name.removeprefix("conv_")))
    except ValueError:
        raise NotFound("You have no conversation of this id.", param="conversation") from None


async def _stream(adapters: Adapters, view: TurnView, *, after: int) -> AsyncIterator[ServerSentEvent]:
    told = ResponseEvents(view.row, after=after)
    for event in told.begin():
        yield _sent(event)
    async with aclosing(follow(adapters, TurnId(view.row.id))) as events:
        async for stored in events:
            told.names = await names_of(adapters, stored)
            for event in told.feed(stored):
                yield _sent(event)
    for event in told.break_off():
        yield _sent(event)


async def _told(adapters: Adapters, view: TurnView, *, after: int) -> int:
    """Count the events that a stream has had by now; where the stored ones have expired, those up to its end."""
    told = ResponseEvents(view.row, after=after)
    told.begin()
    stored = view.row.last_sequence
    async with aclosing(follow(adapters, TurnId(view.row.id))) as events:
        while told.stored < stored and (event := await anext(events, None)) is not None:
            told.feed(event)
    return told.number


def _sent(event: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(event, ensure_ascii=False, separators=(",", ":")), event=event["type"])


async def _read(adapters: Adapters, owner: UserId, turn: TurnId) -> TurnView:
    async with transaction(adapters.engine) as connection:
        return await _view(connection, owner, turn)


async def _view(connection: AsyncConnection, owner: UserId, turn: TurnId) -> TurnView:
    try:
        return await turn_requests.read(connection, owner, turn)
    except NotFound:
        raise no_response() from None


async def _show(adapters: Adapters, owner: UserId, turn: TurnId) -> OpenAIResponse:
    async with transaction(adapters.engine) as connection:
        view = await _view(connection, owner, turn)
        dropped = await turn_events.dropped_texts(connection, turn) if view.answer is not None else 0
    answer = view.answer
    names = await names_in(adapters, (each.document_id for each in answer.citations) if answer else ())
    error = None if answer is None else answer.error
    return response_of(view.row, status_of(view.row), answer=answer, error=error, item=dropped, names=names)


def _json(shown: OpenAIResponse, headers: dict[str, str]) -> Response:
    return Response(shown.model_dump_json(), headers=headers, media_type="application/json")
