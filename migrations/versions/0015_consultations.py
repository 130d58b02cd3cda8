"""How deep a turn is in agents that ask agents."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("turns", sa.Column("depth", sa.SmallInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("turns", "depth")
