"""Conversations that are held elsewhere: what was said before comes along with each question."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from domain.conversation import Role
from domain.ids import MessageId, TurnId

_TITLE = 80


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer; one that was not answered has no answer, a greeting no question."""

    turn_id: TurnId
    question_id: MessageId
    question: str = ""
    answer: str = ""


def exchanges(said: Iterable[tuple[Role, str]], *, mint: Callable[[], UUID]) -> list[Exchange]:
    """Put together who answered what. Blank messages are left out; pieces of one answer are joined."""
    found: list[Exchange] = []
    for role, text in said:
        if not text.strip():
            continue
        if role is Role.USER or not found:
            found.append(Exchange(TurnId(mint()), MessageId(mint())))
        last = found[-1]
        if role is Role.USER:
            found[-1] = replace(last, question=text)
        else:
            found[-1] = replace(last, answer=f"{last.answer}\n\n{text}" if last.answer else text)
    return found


def title_of(question: str) -> str:
    """Name a conversation by the first line of its question, so that no model is asked for a name."""
    line = question.strip().splitlines()[0]
    return line if len(line) <= _TITLE else f"{line[: _TITLE - 1].rstrip()}…"
