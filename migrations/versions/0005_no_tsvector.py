"""Drop the column that keyword search no longer reads."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from adapters.postgres.keyword_backfill import fill_keywords

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        fill_keywords(op.get_bind())
    op.drop_column("chunks", "terms")


def downgrade() -> None:
    op.execute("set local statement_timeout = 0")  # the column is computed for every chunk
    op.add_column(
        "chunks",
        sa.Column("terms", postgresql.TSVECTOR(), sa.Computed("to_tsvector('english', content)", persisted=True)),
    )
