"""Branches of conversations: each message names the one that it follows.

Messages that are there follow the one before, filled in by small transactions, so that nothing waits for them. A
message that an older process stores meanwhile, or that an interruption leaves, is read as following the one before.
"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = 2000
_FILL = sa.text(
    """
    WITH batch AS (
        SELECT id FROM messages WHERE id > :after ORDER BY id LIMIT :size
    ), filled AS (
        UPDATE messages SET parent_id = coalesce(
            (SELECT former.id FROM messages AS former
             WHERE former.conversation_id = messages.conversation_id AND former.position = messages.position - 1),
            messages.conversation_id
        )
        FROM batch WHERE messages.id = batch.id AND messages.parent_id IS NULL
    )
    SELECT id FROM batch ORDER BY id DESC LIMIT 1
    """
)


def upgrade() -> None:
    op.add_column("messages", sa.Column("parent_id", sa.Uuid(), nullable=True))
    with op.get_context().autocommit_block():
        after: UUID | None = UUID(int=0)
        while after is not None:
            after = op.get_bind().execute(_FILL, {"after": after, "size": _BATCH}).scalar_one_or_none()


def downgrade() -> None:
    op.drop_column("messages", "parent_id")
