"""Conversations: turns, messages, events, and the window of history that a prompt holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import MessageId


class Role(StrEnum):
    """Who said it."""

    USER = "user"
    ASSISTANT = "assistant"


class TurnStatus(StrEnum):
    """Where a turn stands; a conversation has one turn that is not final, at most."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class TurnOutcome(StrEnum):
    """How a turn ends; `partial` is one that was stopped by its user."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


FINAL_TURN = frozenset({TurnStatus.COMPLETE, TurnStatus.PARTIAL, TurnStatus.FAILED})


class EventType(StrEnum):
    """Server-sent events of a turn, in the REST contract's names."""

    STARTED = "turn.started"
    RETRIEVED = "turn.retrieved"
    DELTA = "message.delta"
    RESET = "message.reset"
    COMPLETED = "message.completed"
    FAILED = "turn.failed"
    CANCELLED = "turn.cancelled"


FINAL_EVENTS = frozenset({EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED})


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the history, as the model sees it."""

    id: MessageId
    role: Role
    content: str


def estimate_tokens(text: str) -> int:
    """Estimate tokens without a tokenizer: four bytes of UTF-8 make about one.

    English has about four characters a token; other scripts take more bytes a character and
    more tokens a character alike, so counting bytes errs on the safe side for them.
    """
    return (len(text.encode("utf-8", "surrogatepass")) + 3) // 4


def history_window(messages: Sequence[ChatMessage], *, limit: int, budget: int) -> list[ChatMessage]:
    """Keep the latest messages, oldest first: `limit` of them at most, within `budget` tokens."""
    kept: list[ChatMessage] = []
    left = budget
    for message in reversed(messages[-limit:] if limit > 0 else []):
        cost = estimate_tokens(message.content)
        if cost > left:
            break
        left -= cost
        kept.append(message)
    return kept[::-1]
