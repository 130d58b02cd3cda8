"""Turns on the wire."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from adapters.postgres.turn_requests import TurnView
from api.schemas.base import Answer
from api.schemas.conversations import Message
from domain.conversation import TurnStatus
from domain.messages import Failure


class Turn(Answer):
    """The answering of one message."""

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
