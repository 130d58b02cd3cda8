"""Whether a document came as a file of OpenAI's API only: then it goes with its files, and else it stays."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("documents", sa.Column("of_files", sa.Boolean(), nullable=False, server_default=sa.false()))
    # A file and the document that it became were tied in the transaction that made the document.
    op.execute(
        "UPDATE documents SET of_files = true FROM file_documents AS became"
        " WHERE became.document_id = documents.id AND became.created_at = documents.created_at"
    )


def downgrade() -> None:
    op.drop_column("documents", "of_files")
