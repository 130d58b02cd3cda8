"""Imports, crawls, provider budgets; what ingestion records of encodings, recognised pages and reused vectors.

Only the catalogue is touched: the columns that existing tables get are nullable or have a constant default.
The indexes on existing tables come with the next migration, built concurrently.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_budgets",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requests_per_minute", sa.Float(), nullable=True),
        sa.Column("tokens_per_minute", sa.Float(), nullable=True),
        sa.Column("requests_free_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tokens_free_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lowered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requests_seen", sa.Float(), server_default="0", nullable=False),
        sa.Column("tokens_seen", sa.Float(), server_default="0", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("provider", "model", name=op.f("pk_provider_budgets")),
    )
    op.create_table(
        "crawls",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), server_default="auto", nullable=False),
        sa.Column("max_pages", sa.Integer(), nullable=False),
        sa.Column("max_depth", sa.Integer(), nullable=False),
        sa.Column("scope_url", sa.Text(), nullable=True),
        sa.Column("follow_links", sa.Boolean(), nullable=True),
        sa.Column("robots", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="1", nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("mode in ('auto', 'sitemap', 'links')", name=op.f("ck_crawls_mode")),
        sa.CheckConstraint(
            "status in ('pending', 'running', 'complete', 'failed', 'cancelled')", name=op.f("ck_crawls_status")
        ),
        sa.ForeignKeyConstraint(["bot_id"], ["bots.id"], name=op.f("fk_crawls_bot_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_crawls_owner_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crawls")),
    )
    op.create_index(op.f("ix_crawls_bot_id_created_at_id"), "crawls", ["bot_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_crawls_unfinished",
        "crawls",
        ["updated_at"],
        unique=False,
        postgresql_where=sa.text("status in ('pending', 'running')"),
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("archive", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="1", nullable=False),
        sa.Column("packs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('pending', 'unpacking', 'running', 'complete', 'failed', 'cancelled')",
            name=op.f("ck_imports_status"),
        ),
        sa.ForeignKeyConstraint(["bot_id"], ["bots.id"], name=op.f("fk_imports_bot_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_imports_owner_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index(op.f("ix_imports_bot_id_created_at_id"), "imports", ["bot_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_imports_unfinished",
        "imports",
        ["updated_at"],
        unique=False,
        postgresql_where=sa.text("status in ('pending', 'unpacking', 'running')"),
    )
    op.create_table(
        "crawl_pages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("crawl_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="found", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state in ('found', 'fetched', 'unchanged', 'moved', 'refused', 'failed', 'gone')",
            name=op.f("ck_crawl_pages_state"),
        ),
        sa.ForeignKeyConstraint(["crawl_id"], ["crawls.id"], name=op.f("fk_crawl_pages_crawl_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crawl_pages")),
        sa.UniqueConstraint("crawl_id", "url", name=op.f("uq_crawl_pages_crawl_id_url")),
    )
    op.create_index(
        op.f("ix_crawl_pages_crawl_id_epoch_depth_id"),
        "crawl_pages",
        ["crawl_id", "epoch", "depth", "id"],
        unique=False,
    )
    op.create_table(
        "import_items",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome in ('accepted', 'duplicate', 'refused')", name=op.f("ck_import_items_outcome")),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_import_items_import_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "position", name=op.f("pk_import_items")),
    )
    op.add_column("ingestion_steps", sa.Column("activity_id", sa.Text(), nullable=True))
    op.add_column("documents", sa.Column("stage_started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("documents", sa.Column("stage_done", sa.Integer(), server_default="0", nullable=False))
    op.add_column("documents", sa.Column("refused_chunks", sa.Integer(), server_default="0", nullable=False))
    op.add_column("chunks", sa.Column("content_sha256", sa.LargeBinary(), nullable=True))
    op.add_column("chunks", sa.Column("embedding_error", sa.Text(), nullable=True))
    op.alter_column("chunks", "embedding", nullable=True)
    op.add_column("deletions", sa.Column("documents_total", sa.Integer(), nullable=True))
    op.add_column("deletions", sa.Column("pages", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deletions", sa.Column("blobs", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deletions", sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("deletions", sa.Column("conversations", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deletions", sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("documents", sa.Column("import_id", sa.Uuid(), nullable=True))
    op.add_column("documents", sa.Column("source_url", sa.Text(), nullable=True))
    op.add_column("documents", sa.Column("etag", sa.Text(), nullable=True))
    op.add_column("documents", sa.Column("last_modified", sa.Text(), nullable=True))
    op.add_column("documents", sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("documents", sa.Column("encoding", sa.Text(), nullable=True))
    op.add_column("ingestion_steps", sa.Column("model_calls", sa.Integer(), server_default="0", nullable=False))
    op.add_column("ingestion_steps", sa.Column("model_calls_needed", sa.Integer(), nullable=True))
    op.add_column("ingestion_steps", sa.Column("model_tokens", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("ingestions", sa.Column("import_id", sa.Uuid(), nullable=True))
    op.add_column("ingestions", sa.Column("pack", sa.Integer(), nullable=True))
    op.add_column("ingestions", sa.Column("encoding", sa.Text(), nullable=True))
    op.add_column("ingestions", sa.Column("detected_encoding", sa.Text(), nullable=True))
    op.add_column(
        "ingestions", sa.Column("keep_text_pages", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("ingestions", sa.Column("pages_without_text", postgresql.ARRAY(sa.Integer()), nullable=True))
    op.add_column("ingestions", sa.Column("pages_recognized", sa.Integer(), server_default="0", nullable=False))
    op.add_column("ingestions", sa.Column("reused_chunks", sa.Integer(), server_default="0", nullable=False))
    op.add_column("ingestions", sa.Column("refused_chunks", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("ingestions", "refused_chunks")
    op.drop_column("ingestions", "reused_chunks")
    op.drop_column("ingestions", "pages_recognized")
    op.drop_column("ingestions", "pages_without_text")
    op.drop_column("ingestions", "keep_text_pages")
    op.drop_column("ingestions", "detected_encoding")
    op.drop_column("ingestions", "encoding")
    op.drop_column("ingestions", "pack")
    op.drop_column("ingestions", "import_id")
    op.drop_column("ingestion_steps", "model_tokens")
    op.drop_column("ingestion_steps", "model_calls_needed")
    op.drop_column("ingestion_steps", "model_calls")
    op.drop_column("documents", "encoding")
    op.drop_column("documents", "fetched_at")
    op.drop_column("documents", "refused_chunks")
    op.drop_column("documents", "stage_done")
    op.drop_column("documents", "stage_started_at")
    op.drop_column("ingestion_steps", "activity_id")
    op.drop_column("documents", "last_modified")
    op.drop_column("documents", "etag")
    op.drop_column("documents", "source_url")
    op.drop_column("documents", "import_id")
    op.drop_column("deletions", "started_at")
    op.drop_column("deletions", "conversations")
    op.drop_column("deletions", "bytes")
    op.drop_column("deletions", "blobs")
    op.drop_column("deletions", "pages")
    op.drop_column("deletions", "documents_total")
    # Fails loudly where a chunk has no vector: ingest those documents again or delete them first.
    op.alter_column("chunks", "embedding", nullable=False)
    op.drop_column("chunks", "embedding_error")
    op.drop_column("chunks", "content_sha256")
    op.drop_table("import_items")
    op.drop_index(op.f("ix_crawl_pages_crawl_id_epoch_depth_id"), table_name="crawl_pages")
    op.drop_table("crawl_pages")
    op.drop_index(
        "ix_imports_unfinished",
        table_name="imports",
        postgresql_where=sa.text("status in ('pending', 'unpacking', 'running')"),
    )
    op.drop_index(op.f("ix_imports_bot_id_created_at_id"), table_name="imports")
    op.drop_table("imports")
    op.drop_index(
        "ix_crawls_unfinished", table_name="crawls", postgresql_where=sa.text("status in ('pending', 'running')")
    )
    op.drop_index(op.f("ix_crawls_bot_id_created_at_id"), table_name="crawls")
    op.drop_table("crawls")
    op.drop_table("provider_budgets")
