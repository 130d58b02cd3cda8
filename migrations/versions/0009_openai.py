"""Conversations say by which door they came in, and a turn what its question asks for beside its bot's settings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("origin", sa.Text(), server_default="api", nullable=False))
    op.add_column("turns", sa.Column("options", postgresql.JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("turns", "options")
    op.drop_column("conversations", "origin")
