"""Metadata of documents and filters by it; where a passage stands in its document's text."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INDEX = "ix_documents_metadata"


def upgrade() -> None:
    for table in ("documents", "imports"):
        op.add_column(table, sa.Column("metadata", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column("turns", sa.Column("filter", JSONB(), nullable=True))
    op.add_column("turn_passages", sa.Column("char_start", sa.Integer(), nullable=True))
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        op.drop_index(_INDEX, "documents", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            _INDEX, "documents", ["metadata"], postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"}, postgresql_concurrently=True,
        )  # fmt: skip


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(_INDEX, "documents", if_exists=True, postgresql_concurrently=True)
    op.drop_column("turn_passages", "char_start")
    op.drop_column("turns", "filter")
    for table in ("imports", "documents"):
        op.drop_column(table, "metadata")
