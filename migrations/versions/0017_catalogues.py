"""What a server of tools offers, as it said when it was asked last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("catalogue", postgresql.JSONB()))
    op.add_column("connections", sa.Column("catalogued_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("connections", "catalogued_at")
    op.drop_column("connections", "catalogue")
