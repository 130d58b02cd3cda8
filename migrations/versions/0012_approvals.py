"""Approvals of tool calls: which wait for a person, and what was decided."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tool_calls", sa.Column("approval", sa.SmallInteger()))
    op.add_column("tool_calls", sa.Column("approved", sa.Boolean()))
    op.add_column("tool_calls", sa.Column("comment", sa.Text()))
    op.add_column("tool_calls", sa.Column("decided_at", sa.DateTime(timezone=True)))
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        for name, columns, unique, where in _INDEXES:
            op.drop_index(name, "tool_calls", if_exists=True, postgresql_concurrently=True)
            op.create_index(
                name,
                "tool_calls",
                columns,
                unique=unique,
                postgresql_where=sa.text(where),
                postgresql_concurrently=True,
            )


_INDEXES: tuple[tuple[str, list[str], bool, str], ...] = (
    ("uq_tool_calls_approval", ["turn_id", "approval"], True, "approval is not null"),
    ("ix_tool_calls_decided", ["decided_at"], False, "status = 'waiting' and decided_at is not null"),
)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, *_ in reversed(_INDEXES):
            op.drop_index(name, "tool_calls", if_exists=True, postgresql_concurrently=True)
    for column in ("decided_at", "comment", "approved", "approval"):
        op.drop_column("tool_calls", column)
