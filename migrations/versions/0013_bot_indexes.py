"""Indexes of large bots: which bot has one, and the postings of its chunks' keywords."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bot_indexes",
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("valid_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state in ('building', 'valid', 'dropping', 'failed', 'cancelled')", name=op.f("ck_bot_indexes_state")
        ),
        sa.PrimaryKeyConstraint("bot_id", name=op.f("pk_bot_indexes")),
    )
    op.create_table(
        "keyword_segments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["bot_id"], ["bot_indexes.bot_id"], name=op.f("fk_keyword_segments_bot_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keyword_segments")),
    )
    op.create_index(op.f("ix_keyword_segments_bot_id"), "keyword_segments", ["bot_id"])
    op.create_table(
        "keyword_segment_versions",
        sa.Column("ingestion_id", sa.Uuid(), nullable=False),
        sa.Column("segment_id", sa.Uuid(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"],
            ["keyword_segments.id"],
            name=op.f("fk_keyword_segment_versions_segment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("ingestion_id", name=op.f("pk_keyword_segment_versions")),
    )
    op.create_index(op.f("ix_keyword_segment_versions_segment_id"), "keyword_segment_versions", ["segment_id"])
    op.create_table(
        "keyword_postings",
        sa.Column("segment_id", sa.Uuid(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("postings", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"], ["keyword_segments.id"], name=op.f("fk_keyword_postings_segment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("segment_id", "bucket", name=op.f("pk_keyword_postings")),
    )
    # Nothing is won by compressing numbers, and time is lost by it in every search.
    op.execute("alter table keyword_postings alter column postings set storage external")


def downgrade() -> None:
    for table in ("keyword_postings", "keyword_segment_versions", "keyword_segments", "bot_indexes"):
        op.drop_table(table)
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        names = op.get_bind().execute(
            sa.text("select indexname from pg_indexes where indexname like 'ix\\_chunks\\_of\\_bot\\_%'")
        )
        for (name,) in names.all():
            op.execute(f'drop index concurrently if exists "{name}"')
