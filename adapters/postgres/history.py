"""What was said before a question, along its branch, and the part of it that the prompt holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.branches import NO_LIMIT, WALK
from adapters.postgres.tables import messages, turns
from adapters.postgres.turns import Question
from domain.conversation import ChatMessage, Role, Said, TurnStatus, tokens_of, worth_repeating
from domain.ids import MessageId
from domain.messages import MessageStatus
from domain.steps import TurnRef
from domain.summaries import HistoryPlan, plan_history

# Failed turns are no part of a history: so many messages of theirs are passed over to find others.
_PASSED_OVER = 50
# How far back a first summary looks; what was said before is in no prompt.
_REACH = 1000


_SAID = "SELECT m.id, m.position, m.role, m.status, octet_length(m.content) AS bytes"
_PLACED = "FROM line JOIN messages AS m USING (id) WHERE line.walked > 1 ORDER BY m.position"
_TOLD = "EXISTS (SELECT FROM summaries WHERE summaries.message_id = m.id) AS summarized"
_WITHOUT_CONTENTS = text(f"{WALK} {_SAID}, {_TOLD} {_PLACED}")
_WITH_CONTENTS = text(f"{WALK} {_SAID}, m.content {_PLACED}")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What was said before a question: the message that the newest summary ends with, and what came after it."""

    summary: MessageId | None
    said: list[Said]


async def plan(
    connection: AsyncConnection, ref: TurnRef, question: Question, *, completes: bool
) -> tuple[MessageId | None, HistoryPlan]:
    """Decide what of the history the prompt holds: where a summary ends, and what follows it.

    `completes` tells whether there is a model that writes summaries.
    """
    wanted = question.configuration
    if question.position == 1 or not wanted.history_messages or not wanted.history_tokens:
        return None, HistoryPlan([])
    summarize = completes and wanted.summarize
    earlier = await _before(
        connection,
        ref,
        question,
        reach=_REACH if summarize else wanted.history_messages + _PASSED_OVER,
        summarized=summarize,
    )
    chosen = plan_history(
        earlier.said, limit=wanted.history_messages, budget=wanted.history_tokens, summarize=summarize
    )
    return earlier.summary, chosen


async def choose(
    connection: AsyncConnection, ref: TurnRef, question: Question, window: Sequence[Said], summary: MessageId | None
) -> None:
    """Remember where the window of history begins, and which summary stands before it; a first question has neither."""
    chosen = {"history_from": window[0].position if window else None, "summary_until": summary}
    if chosen == {"history_from": question.history_from, "summary_until": question.summary_until}:
        return
    running = (turns.c.id == ref.turn_id, turns.c.owner_id == ref.owner_id, turns.c.status == TurnStatus.RUNNING)
    await connection.execute(update(turns).where(*running).values(chosen))


async def read(connection: AsyncConnection, ref: TurnRef, question: Question) -> list[ChatMessage]:
    """Read the window that was chosen."""
    if question.history_from is None:
        return []
    given = NO_LIMIT | {"since": question.history_from}
    rows = (await connection.execute(_WITH_CONTENTS, _of(ref, question, given))).all()
    kept = {said.id for said in worth_repeating(map(_said, rows))}
    return [ChatMessage(row.id, Role(row.role), row.content) for row in rows if row.id in kept]


async def contents(connection: AsyncConnection, said: Sequence[Said]) -> list[ChatMessage]:
    """Read what was said."""
    query = (
        select(messages.c.id, messages.c.role, messages.c.content)
        .where(messages.c.id.in_([each.id for each in said]))
        .order_by(messages.c.position)
    )
    return [ChatMessage(row.id, Role(row.role), row.content) for row in await connection.execute(query)]


async def _before(
    connection: AsyncConnection, ref: TurnRef, question: Question, *, reach: int, summarized: bool
) -> Earlier:
    """List what is worth repeating before a question, oldest first, without contents; `reach` messages are looked at."""
    given = NO_LIMIT | {"limit": reach + 1, "summarized": summarized}
    rows = (await connection.execute(_WITHOUT_CONTENTS, _of(ref, question, given))).all()
    if summarized and rows and rows[0].summarized:
        return Earlier(MessageId(rows[0].id), worth_repeating(map(_said, rows[1:])))
    return Earlier(None, worth_repeating(map(_said, rows)))


def _of(ref: TurnRef, question: Question, given: Mapping[str, object]) -> dict[str, object]:
    return {"conversation": ref.conversation_id, "leaf": question.id, **given}


def _said(row: Row[Any]) -> Said:
    return Said(
        id=MessageId(row.id),
        position=row.position,
        role=Role(row.role),
        tokens=tokens_of(row.bytes),
        failed=row.status == MessageStatus.FAILED,
    )
