"""Branches of a conversation: each message knows the one that it follows, so a path leads up from any of them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Subquery, Uuid, func, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import messages
from domain.conversation import Role
from domain.errors import NotFound
from domain.ids import ConversationId, MessageId

# Written out, since SQLAlchemy takes ten times as long to put a recursive statement together as Postgres to run it.
WALK = """
    WITH RECURSIVE line AS (
        SELECT id, conversation_id, parent_id, position, 1 AS walked
        FROM messages WHERE id = :leaf AND conversation_id = :conversation
      UNION ALL
        SELECT above.id, above.conversation_id, above.parent_id, above.position, line.walked + 1
        FROM line JOIN messages AS above ON above.id = coalesce(line.parent_id, (
            SELECT before.id FROM messages AS before
            WHERE before.conversation_id = line.conversation_id AND before.position = line.position - 1
        ))
        WHERE line.walked < :limit AND above.position >= :since
          AND (line.walked = 1 OR NOT :summarized
               OR NOT EXISTS (SELECT FROM summaries WHERE summaries.message_id = line.id))
    )
"""
"""Walks from a message up to the first of its branch: `limit` messages far, down to the position `since`, and with
`summarized` no further than to the first one above that a summary ends with."""

NO_LIMIT = {"limit": 2**31 - 1, "since": 0, "summarized": False}

# What a message follows; of the first of a branch, which follows its conversation, null. A message that was stored
# without it follows the one before.
FOLLOWS: ColumnElement[UUID | None] = literal_column(
    "nullif(coalesce(messages.parent_id, (SELECT before.id FROM messages AS before"
    " WHERE before.conversation_id = messages.conversation_id AND before.position = messages.position - 1)),"
    " messages.conversation_id)",
    Uuid,
)

_PATH = text(WALK + "SELECT id FROM line").columns(id=Uuid)  # noqa: S608  (constants of ours)


def path(conversation_id: ConversationId, leaf: MessageId) -> Subquery:
    """Name a message and those that lead to it. Column `id`."""
    return _PATH.bindparams(conversation=conversation_id, leaf=leaf, **NO_LIMIT).subquery()


@dataclass(frozen=True, slots=True)
class Extent:
    """What an export holds: so many messages, of one branch or of all."""

    messages: int
    branch: MessageId | None


async def extent(
    connection: AsyncConnection, conversation_id: ConversationId, branch: MessageId | None, *, newest: bool
) -> Extent:
    """Count a branch, by default the newest where that is asked for, else all that was said. Raises `NotFound`."""
    said = messages.c.conversation_id == conversation_id
    if branch is not None:
        await role_of(connection, conversation_id, branch, param="branch")
    elif newest:
        last = select(messages.c.id).where(said).order_by(messages.c.position.desc()).limit(1)
        branch = (await connection.execute(last)).scalar_one_or_none()
    counted = select(func.count()).select_from(messages).where(said)
    if branch is not None:
        counted = select(func.count()).select_from(path(conversation_id, branch))
    return Extent((await connection.execute(counted)).scalar_one(), branch)


async def role_of(
    connection: AsyncConnection, conversation_id: ConversationId, message_id: MessageId, *, param: str
) -> Role:
    """Tell who said a message of this conversation. Raises `NotFound`, which names the request's field."""
    query = select(messages.c.role).where(messages.c.id == message_id, messages.c.conversation_id == conversation_id)
    role = (await connection.execute(query)).scalar_one_or_none()
    if role is None:
        raise NotFound("This conversation has no message of this id.", param=param)
    return Role(role)
