"""Passages know the neighbours they are made of; turns keep what was searched for and what that cost."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "turn_passages", sa.Column("later_chunks", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False)
    )
    op.add_column(
        "turn_passages", sa.Column("chunk_starts", postgresql.ARRAY(sa.Integer()), server_default="{}", nullable=False)
    )
    op.add_column("turns", sa.Column("queries", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column("turns", sa.Column("side_calls", postgresql.JSONB(), server_default="[]", nullable=False))


def downgrade() -> None:
    op.drop_column("turns", "side_calls")
    op.drop_column("turns", "queries")
    op.drop_column("turn_passages", "chunk_starts")
    op.drop_column("turn_passages", "later_chunks")
