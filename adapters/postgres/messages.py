"""Messages of a conversation, in their order."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Text, Uuid, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import branches
from adapters.postgres.paging import Window, keyset
from adapters.postgres.tables import bots, conversations, messages, turns
from domain.citations import Citation
from domain.conversation import After, Place, Role
from domain.errors import NotFound, StateConflict
from domain.ids import ConversationId, MessageId, TurnId, UserId
from domain.messages import Failure, Feedback, Message, MessageStatus, Rating, Usage

# Built once, as it takes longer to build than to send; the columns that are not named here are given when it is executed.
_PLACE = bindparam("place", type_=Uuid)
_LAST = select(func.coalesce(func.max(messages.c.position), 0)).where(messages.c.conversation_id == _PLACE)
_NEWEST = (
    select(messages.c.id).where(messages.c.conversation_id == _PLACE).order_by(messages.c.position.desc()).limit(1)
)
_ADD = (
    insert(messages)
    .values(
        position=_LAST.scalar_subquery() + 1,
        parent_id=func.coalesce(bindparam("after", type_=Uuid), _NEWEST.scalar_subquery(), _PLACE),
    )
    .returning(
        messages,
        func.nullif(messages.c.parent_id, messages.c.conversation_id).label("follows"),
        bindparam("code", type_=Text).label("error_code"),
        bindparam("reason", type_=Text).label("error_message"),
    )
)


async def add(
    connection: AsyncConnection,
    conversation_id: ConversationId,
    turn_id: TurnId,
    message_id: MessageId,
    role: Role,
    content: str,
    *,
    after: After = Place.END,
    status: MessageStatus = MessageStatus.COMPLETE,
    citations: Sequence[Citation] = (),
    model: str | None = None,
    usage: Usage | None = None,
    failure: Failure | None = None,
) -> Message:
    """Add a message after another. The caller holds a lock that keeps other writers out of the conversation.

    `failure` is what the message's turn says of itself.
    """
    counted = usage or Usage()
    values = {
        "id": message_id,
        "conversation_id": conversation_id,
        "place": conversation_id,
        "turn_id": turn_id,
        "after": _parent(conversation_id, after),
        "role": role,
        "content": content,
        "status": status,
        "citations": [citation.model_dump(mode="json") for citation in citations],
        "model": model,
        "input_tokens": counted.input_tokens,
        "output_tokens": counted.output_tokens,
        "code": failure and failure.code,
        "reason": failure and failure.message,
    }
    return message_of((await connection.execute(_ADD, values)).one())


_QUERY = select(messages, branches.FOLLOWS.label("follows"), turns.c.error_code, turns.c.error_message).join(
    turns, turns.c.id == messages.c.turn_id
)
_FIND = _QUERY.where(messages.c.id == bindparam("message"))


async def find(connection: AsyncConnection, message_id: MessageId) -> Message | None:
    """Read one message."""
    row = (await connection.execute(_FIND, {"message": message_id})).one_or_none()
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
    return message_of((await connection.execute(_FIND, {"message": message_id})).one())


async def page(
    connection: AsyncConnection, conversation_id: ConversationId, window: Window, *, branch: MessageId | None = None
) -> list[tuple[int, Message]]:
    """List a conversation's messages with their positions, or those that lead to one of them. Raises `NotFound`."""
    query = _QUERY.where(messages.c.conversation_id == conversation_id)
    if branch is not None:
        await branches.role_of(connection, conversation_id, branch, param="branch")
        query = query.where(messages.c.id.in_(select(branches.path(conversation_id, branch).c.id)))
    rows = await connection.execute(keyset(query, [messages.c.position], window))
    return [(row.position, message_of(row)) for row in rows]


def _parent(conversation_id: ConversationId, after: After) -> UUID | None:
    """Name what a message follows; None for whatever is the newest."""
    if after is Place.BEGINNING:
        return conversation_id
    return None if after is Place.END else after


def message_of(row: Row[Any]) -> Message:
    """Build a message from a row of `_QUERY`."""
    role, status = Role(row.role), MessageStatus(row.status)
    answer = role is Role.ASSISTANT
    failed = status is MessageStatus.FAILED
    return Message(
        id=MessageId(_uuid(row.id)),
        conversation_id=ConversationId(_uuid(row.conversation_id)),
        turn_id=TurnId(_uuid(row.turn_id)),
        parent_id=None if row.follows is None else MessageId(_uuid(row.follows)),
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
