"""Indexes on tables that may be large: built concurrently, so that nothing waits for them.

A build that was interrupted leaves an invalid index behind, which is dropped first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INDEXES: tuple[tuple[str, str, list[str], bool, str], ...] = (
    (
        "ix_chunks_owner_id_content_sha256",
        "chunks",
        ["owner_id", "content_sha256"],
        False,
        "content_sha256 is not null",
    ),
    ("ix_documents_import_id", "documents", ["import_id", "id"], False, "import_id is not null"),
    (
        "uq_documents_source_url",
        "documents",
        ["bot_id", "source_url"],
        True,
        "source_url is not null and status <> 'deleting'",
    ),
    ("ix_ingestions_import", "ingestions", ["import_id", "status"], False, "import_id is not null"),
    ("ix_ingestions_running", "ingestions", ["owner_id"], False, "status = 'running' and import_id is null"),
    (
        "ix_ingestions_line",
        "ingestions",
        ["owner_id", "created_at", "id"],
        False,
        "status = 'pending' and import_id is null",
    ),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("set statement_timeout = 0")
        for name, table, columns, unique, where in _INDEXES:
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
            op.create_index(
                name, table, columns, unique=unique, postgresql_where=sa.text(where), postgresql_concurrently=True
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, table, *_ in reversed(_INDEXES):
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
