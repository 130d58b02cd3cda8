"""Turns on the wire."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from adapters.postgres.turn_requests import TurnView
from api.schemas.base import Answer
from api.schemas.conversations import ANSWER, Message
from domain.conversation import TurnStatus
from domain.messages import Failure

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
    "created_at": "2026-11-21T12:00:00Z",
    "finished_at": "2026-11-21T12:00:03Z",
}


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
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
