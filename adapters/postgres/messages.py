"""Messages of a conversation, in their order."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, conversations, messages, turns
from domain.citations import Citation
from domain.conversation import ChatMessage, Role
from domain.errors import NotFound, StateConflict
from domain.ids import ConversationId, MessageId, TurnId, UserId
from domain.messages import Failure, Feedback, Message, MessageStatus, Rating, Usage


async def add(
    connection: AsyncConnection,
    conversation_id: ConversationId,
    turn_id: TurnId,
    message_id: MessageId,
    role: Role,
    content: str,
    *,
    status: MessageStatus = MessageStatus.COMPLETE,
    citations: Sequence[Citation] = (),
    model: str | None = None,
    usage: Usage | None = None,
) -> Message:
    """Add at the end. The caller holds a lock that keeps other writers out of the conversation."""
    last = select(func.coalesce(func.max(messages.c.position), 0)).where(messages.c.conversation_id == conversation_id)
    counted = usage or Usage()
    await connection.execute(
        insert(messages).values(
            id=message_id,
            conversation_id=conversation_id,
            turn_id=turn_id,
            position=last.scalar_subquery() + 1,
            role=role,
            content=content,
            status=status,
            citations=[citation.model_dump(mode="json") for citation in citations],
            model=model,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
        )
    )
    return message_of((await connection.execute(_query().where(messages.c.id == message_id))).one())


async def find(connection: AsyncConnection, message_id: MessageId) -> Message | None:
    """Read one message."""
    row = (await connection.execute(_query().where(messages.c.id == message_id))).one_or_none()
    return None if row is None else message_of(row)


async def rate(connection: AsyncConnection, owner: UserId, message_id: MessageId, feedback: Feedback) -> Message:
    """Set what the owner thinks of an answer, in place of what was set before. Raises `NotFound`, `StateConflict`."""
    query = (
        select(messages.c.role)
        .join(conversations, conversations.c.id == messages.c.conversation_id)
        .join(bots, bots.c.id == conversations.c.bot_id)
        .where(messages.c.id == message_id, conversations.c.owner_id == owner, bots.c.deleting_at.is_(None))
        .with_for_update(of=messages)
    )
    role = (await connection.execute(query)).scalar_one_or_none()
    if role is None:
        raise NotFound("You have no message of this id.")
    if role != Role.ASSISTANT:
        raise StateConflict("This message is a question of your own. Only answers are rated: send the answer's id.")
    values = {"rating": feedback.rating, "feedback_comment": feedback.comment}
    await connection.execute(update(messages).where(messages.c.id == message_id).values(values))
    return message_of((await connection.execute(_query().where(messages.c.id == message_id))).one())


async def page(
    connection: AsyncConnection, conversation_id: ConversationId, window: Window
) -> list[tuple[int, Message]]:
    """List a conversation's messages with their positions."""
    query = _query().where(messages.c.conversation_id == conversation_id)
    rows = await connection.execute(keyset(query, [messages.c.position], window))
    return [(row.position, message_of(row)) for row in rows]


async def earlier(
    connection: AsyncConnection,
    conversation_id: ConversationId,
    *,
    before: int,
    since: int | None = None,
    limit: int | None = None,
) -> list[tuple[int, ChatMessage]]:
    """List what was said before a position, oldest first, without the turns that failed.

    A failed turn has no answer worth repeating, and its question was asked again, as a rule.
    """
    query = (
        select(messages.c.position, messages.c.id, messages.c.role, messages.c.content)
        .join(turns, turns.c.id == messages.c.turn_id)
        .where(messages.c.conversation_id == conversation_id, messages.c.position < before)
        .where(turns.c.status != "failed", messages.c.content != "")
        .order_by(messages.c.position.desc())
    )
    if since is not None:
        query = query.where(messages.c.position >= since)
    if limit is not None:
        query = query.limit(limit)
    rows = (await connection.execute(query)).all()
    return [(row.position, ChatMessage(row.id, Role(row.role), row.content)) for row in reversed(rows)]


def _query() -> Select[Any]:
    return select(messages, turns.c.error_code, turns.c.error_message).join(turns, turns.c.id == messages.c.turn_id)


def message_of(row: Row[Any]) -> Message:
    """Build a message from a row of `_query`."""
    role, status = Role(row.role), MessageStatus(row.status)
    answer = role is Role.ASSISTANT
    failed = status is MessageStatus.FAILED
    return Message(
        id=MessageId(_uuid(row.id)),
        conversation_id=ConversationId(_uuid(row.conversation_id)),
        turn_id=TurnId(_uuid(row.turn_id)),
        role=role,
        content=row.content,
        status=status,
        citations=tuple(Citation.model_validate(citation) for citation in row.citations),
        model=row.model,
        usage=Usage(input_tokens=row.input_tokens, output_tokens=row.output_tokens) if answer else None,
        error=Failure(code=row.error_code or "internal", message=row.error_message or "") if failed else None,
        feedback=None if row.rating is None else Feedback(rating=Rating(row.rating), comment=row.feedback_comment),
        created_at=row.created_at,
    )


def _uuid(value: object) -> UUID:
    # The driver's UUID is a subclass that pickles and prints differently; clients get the standard one.
    return UUID(str(value))
