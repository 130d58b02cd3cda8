"""Conversations: turns, messages, events, and the window of history that a prompt holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import MessageId

# What a prompt may hold of a history, in estimated tokens, unless its bot says otherwise. Passages get most of
# the prompt: a follow-up question seldom needs more than the last few messages.
HISTORY_BUDGET = 2000


class Role(StrEnum):
    """Who said it."""

    USER = "user"
    ASSISTANT = "assistant"


class Origin(StrEnum):
    """Which door a conversation came in by."""

    API = "api"
    CHAT_COMPLETIONS = "chat_completions"  # held by the client: one conversation a call
    RESPONSES = "responses"


class TitleBy(StrEnum):
    """Whose a conversation's title is; a person's is never replaced, not even where it was taken away."""

    QUESTION = "question"
    MODEL = "model"
    PERSON = "person"


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
    APPROVAL_REQUIRED = "tool.approval_required"
    TOOL_STARTED = "tool.started"
    TOOL_COMPLETED = "tool.completed"
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


@dataclass(frozen=True, slots=True)
class Said:
    """An earlier message as the choice of a history sees it. Positions rise along a branch, from its first message."""

    id: MessageId
    position: int
    role: Role
    tokens: int
    failed: bool = False


class Place(StrEnum):
    """Where a question stands that names no message which it follows."""

    END = "end"  # after what was said last
    BEGINNING = "beginning"  # of a branch of its own


After = MessageId | Place


def estimate_tokens(text: str) -> int:
    """Estimate tokens without a tokenizer: four bytes of UTF-8 make about one.

    English has about four characters a token; other scripts take more bytes a character and
    more tokens a character alike, so counting bytes errs on the safe side for them.
    """
    return tokens_of(len(text.encode("utf-8", "surrogatepass")))


def tokens_of(length: int) -> int:
    """Estimate the tokens of so many bytes of UTF-8."""
    return (length + 3) // 4


def worth_repeating(branch: Iterable[Said]) -> list[Said]:
    """Leave out what is empty, and each failed answer with its question.

    A failed turn has no answer worth repeating, and its question was asked again, as a rule.
    """
    kept: list[Said] = []
    for said in branch:
        if not said.failed:
            kept.append(said)
        elif kept and kept[-1].role is Role.USER:
            kept.pop()
    return [said for said in kept if said.tokens]


def history_window(branch: Sequence[Said], *, limit: int, budget: int) -> list[Said]:
    """Keep the latest messages, oldest first: `limit` of them at most, within `budget` tokens."""
    kept: list[Said] = []
    left = budget
    for said in reversed(branch[-limit:] if limit > 0 else []):
        if said.tokens > left:
            break
        left -= said.tokens
        kept.append(said)
    return kept[::-1]
