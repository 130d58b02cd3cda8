"""Messages and turns as clients see them: in REST answers and in a turn's events alike."""

from datetime import datetime
from enum import StrEnum

from domain.citations import Citation
from domain.conversation import Role
from domain.ids import ConversationId, MessageId, TurnId
from domain.model import Model


class MessageStatus(StrEnum):
    """Whether a message is what it was to be."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class Usage(Model):
    """Tokens as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


class Failure(Model):
    """Why an answer failed: a stable code and a sentence that says what to do."""

    code: str
    message: str


class Rating(StrEnum):
    """What the owner thinks of an answer."""

    UP = "up"
    DOWN = "down"


class Feedback(Model):
    """The owner's verdict on an answer."""

    rating: Rating
    comment: str | None = None


class Message(Model):
    """One message; a user's has no citations, model or usage, and the first of a branch no parent."""

    id: MessageId
    conversation_id: ConversationId
    turn_id: TurnId
    parent_id: MessageId | None = None
    role: Role
    content: str
    status: MessageStatus
    citations: tuple[Citation, ...] = ()
    model: str | None = None
    usage: Usage | None = None
    error: Failure | None = None
    feedback: Feedback | None = None
    created_at: datetime
