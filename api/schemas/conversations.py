"""Conversations and messages on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.schemas.base import Answer, Body
from domain import messages
from domain.conversation import After, Origin, Place
from domain.filters import EVERYTHING, DocumentFilter
from domain.ids import MessageId

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def storable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("surrogate", "Text must be valid Unicode.") from None
    return value


Question = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16_000),
    AfterValidator(storable),
    Field(description="1 to 16,000 characters, not blank."),
]

Stream = Annotated[bool, Field(description="Answer as server-sent events while it is written.")]

Comment = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000),
    AfterValidator(storable),
    Field(description="1 to 2,000 characters, not blank."),
]

ANSWER: dict[str, Any] = {
    "id": "5a2f3c1e-8d0b-5e6a-9a47-0f1d2c3b4a59",
    "conversation_id": "0199f0c4-b8e9-7b6c-8a51-6d2f0e9c7b11",
    "turn_id": "0199f0c4-c0de-7a10-9f3e-2b1a0c9d8e77",
    "parent_id": "0199f0c4-0004-7b6c-8a51-6d2f0e9c7b11",
    "role": "assistant",
    "content": 'The handbook says "thirty days of leave" [1].',
    "status": "complete",
    "citations": [
        {
            "marker": 1,
            "document_id": "0199f0c4-a111-7c22-8d33-4e5f6a7b8c9d",
            "document_name": "handbook.pdf",
            "chunk_id": "9b1c2d3e-4f50-5a6b-8c7d-8e9fa0b1c2d3",
            "page": 12,
            "quote": "thirty days of leave",
            "score": 0.94,
            "char_start": 18055,
            "char_end": 18075,
        }
    ],
    "model": "gemini-2.5-flash",
    "usage": {"input_tokens": 812, "output_tokens": 23},
    "error": None,
    "feedback": None,
    "created_at": "2026-11-21T12:00:00Z",
}


QUESTION: dict[str, Any] = {
    "id": "0199f0c4-0004-7b6c-8a51-6d2f0e9c7b11",
    "conversation_id": "0199f0c4-b8e9-7b6c-8a51-6d2f0e9c7b11",
    "turn_id": "0199f0c4-c0de-7a10-9f3e-2b1a0c9d8e77",
    "parent_id": None,
    "role": "user",
    "content": "How much leave do I have?",
    "status": "complete",
    "citations": [],
    "model": None,
    "usage": None,
    "error": None,
    "feedback": None,
    "created_at": "2026-11-21T11:59:57Z",
}

MARKDOWN = """\
# Leave and travel

Begun 2026-11-21 11:59 UTC.

## Question, 2026-11-21 11:59 UTC

How much leave do I have?

## Answer, 2026-11-21 12:00 UTC

> The handbook says "thirty days of leave"[^2-1].

[^2-1]: handbook.pdf, page 12: “thirty days of leave”
"""
FEEDBACK: dict[str, Any] = {"rating": "down", "comment": "The handbook was changed in May."}


class ConversationBody(Body):
    """A new conversation."""

    model_config = ConfigDict(json_schema_extra={"example": {"title": "Leave and travel"}})

    title: Title | None = None


class ConversationChange(Body):
    """What is given is changed; null takes the title away."""

    model_config = ConfigDict(json_schema_extra={"example": {"title": "Leave, travel and expenses"}})

    title: Title | None = None


_CONVERSATION: dict[str, Any] = {
    "id": "0199f0c4-b8e9-7b6c-8a51-6d2f0e9c7b11",
    "bot_id": "0199f0c4-0003-7b6c-8a51-6d2f0e9c7b11",
    "title": "Leave and travel",
    "origin": "api",
    "running_turn_id": None,
    "created_at": "2026-11-21T12:00:00Z",
    "updated_at": "2026-11-21T12:00:00Z",
}


class Conversation(Answer):
    """A conversation with a bot."""

    model_config = ConfigDict(json_schema_extra={"example": _CONVERSATION})

    id: UUID
    bot_id: UUID
    title: Annotated[str | None, Field(examples=["Leave and travel"])]
    origin: Annotated[Origin, Field(description="The door that it came in by.")] = Origin.API
    running_turn_id: Annotated[UUID | None, Field(description="The turn that is being answered, if any.")] = None
    created_at: datetime
    updated_at: datetime


class MessageBody(Body):
    """A question."""

    model_config = ConfigDict(json_schema_extra={"example": {"content": "How much leave do I have?", "stream": False}})

    content: Question
    stream: Stream = False
    parent_id: Annotated[
        UUID | None,
        Field(
            description="The answer that this message follows, by default the newest message; null: none, it begins a "
            "branch of its own. To edit a question and send it again, give the `parent_id` of that question."
        ),
    ] = None

    filter: Annotated[DocumentFilter, Field(description="Which documents may answer.")] = EVERYTHING

    def after(self) -> After:
        """Say where the message stands."""
        if self.parent_id is not None:
            return MessageId(self.parent_id)
        return Place.BEGINNING if "parent_id" in self.model_fields_set else Place.END


class RegenerateBody(Body):
    """How to get the new answer."""

    model_config = ConfigDict(json_schema_extra={"example": {"stream": False}})

    stream: Stream = False


class FeedbackBody(Body):
    """What you think of an answer."""

    model_config = ConfigDict(json_schema_extra={"example": FEEDBACK})

    rating: messages.Rating
    comment: Comment | None = None

    def feedback(self) -> messages.Feedback:
        """Give it to the domain."""
        return messages.Feedback(rating=self.rating, comment=self.comment)


class Message(messages.Message):
    """A message. An answer that failed has an `error`, one that was stopped the status `partial`."""

    model_config = ConfigDict(json_schema_extra={"example": ANSWER})


class ConversationExport(Answer):
    """A conversation with its messages, in the order in which they were said."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "object": "conversation.export",
                "exported_at": "2026-11-21T12:00:00Z",
                "conversation": _CONVERSATION,
                "message_count": 2,
                "messages": [QUESTION, ANSWER],
            }
        }
    )

    object: Literal["conversation.export"] = "conversation.export"
    exported_at: datetime
    conversation: Conversation
    message_count: int
    messages: Annotated[
        list[Message],
        Field(description="All branches together, unless one was asked for; `parent_id` tells them apart."),
    ]
