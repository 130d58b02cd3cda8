"""Keywords as sparse vectors: what a chunk is found by, and the languages that a bot's chunks are stemmed in.

Chunks that are there get their keywords in small transactions, so that nothing waits for them; what an older
worker stores meanwhile, the next migration does.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from adapters.postgres.keyword_backfill import fill_keywords
from adapters.postgres.vectors import SparseVector

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "bots", sa.Column("languages", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.create_table(
        "chunk_keywords",
        sa.Column("ingestion_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("keywords", SparseVector(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ingestion_id", "ordinal"],
            ["chunks.ingestion_id", "chunks.ordinal"],
            name=op.f("fk_chunk_keywords_ingestion_id_ordinal"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("ingestion_id", "ordinal", name=op.f("pk_chunk_keywords")),
    )
    # A row stays whole and as it is as long as it fits a page: the search reads it without detoasting.
    op.execute("alter table chunk_keywords alter column keywords set storage main")
    op.execute("alter table chunk_keywords set (toast_tuple_target = 8160)")
    with op.get_context().autocommit_block():
        fill_keywords(op.get_bind())


def downgrade() -> None:
    op.drop_table("chunk_keywords")
    op.drop_column("bots", "languages")
