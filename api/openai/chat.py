"""Chat completions: each call is a durable turn in a conversation of its own, which holds what was said before."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from sse_starlette import ServerSentEvent

from adapters.postgres import bots, turn_requests
from adapters.postgres.engine import transaction
from adapters.postgres.turn_requests import TurnView
from adapters.wiring import Adapters
from api.dependencies import AdaptersDep, Writer
from api.errors import problem
from api.idempotency import REPLAYED
from api.openai.asking import Question, RepetitionDep, ask
from api.openai.chunks import Chunks, finish_reason
from api.openai.citations import Names, chat_annotations, names_in, names_of, usage_of
from api.openai.errors import NO_RETRY, answer_deleted, failed, responses
from api.openai.schemas.base import seconds
from api.openai.schemas.chat import CHUNKS, AnswerMessage, ChatBody, ChatCompletion, Choice
from api.streaming import ended, event_stream, follow
from domain.bots import AgentType, TurnOptions
from domain.conversation import Origin
from domain.errors import Kind
from domain.ids import BotId, TurnId, UserId
from domain.messages import Message

router = APIRouter(prefix="/chat/completions", tags=["OpenAI"])

# OpenAI's own client waits ten minutes for an answer.
WAIT = timedelta(seconds=590)

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream` its chunks as server-sent events, ending with `[DONE]`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": CHUNKS}},
    }
}


@router.post(
    "",
    summary="Answer a conversation",
    response_model=ChatCompletion,
    responses=responses(404, 409, 413, 429, 502, 504) | _STREAMED,
)
async def create_chat_completion(
    body: ChatBody, request: Request, user: Writer, adapters: AdaptersDep, repetition: RepetitionDep
) -> Response:
    """Answer the last message from the bot's documents.

    The question is stored before anything else happens: a client that leaves stops nothing, and the answer is
    stored in a conversation of its own. `Idempotency-Key` makes a repeated request the same answer.
    """
    question = Question(body.model, body.question, Origin.CHAT_COMPLETIONS, body.said, _options(body))
    taken = await ask(adapters, user.id, repetition, question)
    headers = {"X-Turn-ID": str(taken.turn_id)} | ({REPLAYED: "true"} if taken.replayed else {})
    site = str(request.base_url).rstrip("/")
    async with transaction(adapters.engine) as connection:
        view = await turn_requests.read(connection, user.id, taken.turn_id)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        held = await _is_agent(adapters, user.id, view)
        chunks = Chunks(_head(view), site=site, include_usage=usage, held=held)
        return event_stream(_stream(adapters, taken.turn_id, chunks), headers)
    if not await ended(adapters, taken.turn_id, within=WAIT):
        return pending(taken.turn_id)
    async with transaction(adapters.engine) as connection:
        view = await turn_requests.read(connection, user.id, taken.turn_id)
    if view.answer is None or view.answer.error is not None:
        return failed_turn(view)
    names = await names_in(adapters, (each.document_id for each in view.answer.citations))
    answer = _completion(view, view.answer, site, names)
    return Response(answer.model_dump_json(), headers=headers, media_type="application/json")


def pending(turn_id: TurnId) -> Response:
    """Say where an answer will be that takes longer than a client waits."""
    text = f"The answer is not there yet, and is still worked on. Read it at /openai/v1/responses/resp_{turn_id.hex}."
    return problem(504, Kind.INTERNAL, "answer_pending", text, headers=NO_RETRY)


def failed_turn(view: TurnView) -> Response:
    """Say why there is no answer."""
    if view.answer is not None and view.answer.error is not None:
        return failed(view.answer.error)
    return problem(500, Kind.INTERNAL, "internal", "The answer is gone. Ask again.", headers=NO_RETRY)


async def _is_agent(adapters: Adapters, owner: UserId, view: TurnView) -> bool:
    async with transaction(adapters.engine) as connection:
        bot = await bots.load(connection, owner, BotId(view.row.bot_id))
    return bot.configuration.agent_type is AgentType.REACT


async def _stream(adapters: Adapters, turn_id: TurnId, chunks: Chunks) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(follow(adapters, turn_id)) as events:
        async for event in events:
            chunks.names = await names_of(adapters, event)
            for chunk in chunks.feed(event):
                yield ServerSentEvent(json.dumps(chunk, ensure_ascii=False, separators=(",", ":")))
                if "error" in chunk:
                    return
    yield ServerSentEvent("[DONE]" if chunks.ended_well else json.dumps(answer_deleted()))


def _options(body: ChatBody) -> TurnOptions:
    return TurnOptions(
        instructions=body.instructions,
        temperature=body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        metadata=body.metadata or {},
    )


def _head(view: TurnView) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{view.row.id.hex}",
        "created": seconds(view.row.created_at),
        "model": str(view.row.bot_id),
    }


def _completion(view: TurnView, answer: Message, site: str, names: Names) -> ChatCompletion:
    message = AnswerMessage(content=answer.content, annotations=chat_annotations(answer, site, names))
    return ChatCompletion(
        **_head(view),
        choices=[Choice(message=message, finish_reason=finish_reason(answer, view.row.cut_off))],
        usage=usage_of(answer),
        system_fingerprint=answer.model,
        conversation_id=str(view.row.conversation_id),
        turn_id=str(view.row.id),
    )
