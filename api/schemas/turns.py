"""Turns on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool
from sqlalchemy import Row

from adapters.postgres.turn_requests import TurnView
from api.schemas.base import Answer, Body, JsonObject
from api.schemas.conversations import ANSWER, Message
from domain.conversation import TurnStatus
from domain.filters import DocumentFilter
from domain.messages import Failure
from domain.tools import ToolType

EVENTS = """\
id: 4
event: message.delta
data: {"text":"The handbook says "}

"""
_TURN: dict[str, Any] = {
    "id": "0199f0c4-c0de-7a10-9f3e-2b1a0c9d8e77",
    "conversation_id": "0199f0c4-b8e9-7b6c-8a51-6d2f0e9c7b11",
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "status": "complete",
    "question_id": "0199f0c4-0004-7b6c-8a51-6d2f0e9c7b11",
    "attempts": 1,
    "answer": ANSWER,
    "error": None,
    "calls_beside": [
        {"step": "understand_question", "model": "gemini-2.5-flash", "input_tokens": 412, "output_tokens": 11}
    ],
    "created_at": "2026-11-21T12:00:00Z",
    "finished_at": "2026-11-21T12:00:03Z",
}


class Approval(Answer):
    """A tool call that a person must allow."""

    number: Annotated[int, Field(description="Its number in `POST /turns/{id}/approvals/{n}`.")]
    call_id: UUID
    tool: ToolType
    name: Annotated[str, Field(description="As the bot's configuration calls the tool.")]
    arguments: JsonObject
    approved: Annotated[bool | None, Field(description="Null while it waits.")] = None
    comment: str | None = None
    decided_at: datetime | None = None


class CallBeside(Answer):
    """A call of a model that prepares an answer, and what it cost; the message's `usage` holds it, too."""

    step: Annotated[str, Field(examples=["rerank"], description="`understand_question` or `rerank`.")]
    model: str
    input_tokens: int
    output_tokens: int


class DecisionBody(Body):
    """What a person says to a tool call."""

    model_config = ConfigDict(json_schema_extra={"example": {"approved": False, "comment": "Not this customer."}})

    approved: StrictBool
    comment: Annotated[
        str | None, Field(max_length=1000, description="The model is told of it where it is refused.")
    ] = None


class Turn(Answer):
    """The answering of one message."""

    model_config = ConfigDict(json_schema_extra={"example": _TURN})

    id: UUID
    conversation_id: UUID
    bot_id: UUID
    status: TurnStatus
    question_id: Annotated[UUID, Field(description="The message that is answered.")]
    attempts: Annotated[int, Field(description="Generations begun; more than one after a failure or a crash.")]
    answer: Annotated[Message | None, Field(description="Null until the turn has ended.")] = None
    error: Annotated[Failure | None, Field(description="Why it failed and what to do.")] = None
    filter: Annotated[DocumentFilter | None, Field(description="Which documents may answer; null: all.")] = None
    approvals: Annotated[tuple[Approval, ...], Field(description="While it runs: what a person must allow.")] = ()
    calls_beside: Annotated[
        tuple[CallBeside, ...], Field(description="Calls of a model before the answer: what understanding cost.")
    ] = ()
    created_at: datetime
    finished_at: datetime | None = None

    @classmethod
    def of(cls, view: TurnView) -> "Turn":
        """Render a turn."""
        row = view.row
        return cls(
            id=row.id,
            conversation_id=row.conversation_id,
            bot_id=row.bot_id,
            status=TurnStatus(row.status),
            question_id=row.question_id,
            attempts=row.attempt,
            answer=None if view.answer is None else Message.model_validate(view.answer.model_dump()),
            error=None if row.error_code is None else Failure(code=row.error_code, message=row.error_message or ""),
            filter=None if row.filter is None else DocumentFilter.model_validate(row.filter),
            approvals=tuple(_approval(each) for each in view.approvals),
            calls_beside=tuple(CallBeside.model_validate(call) for call in row.side_calls),
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


def _approval(row: Row[Any]) -> Approval:
    values = {name: getattr(row, name) for name in ("tool", "name", "arguments", "approved", "comment", "decided_at")}
    return Approval(number=row.approval, call_id=row.id, **values)
