"""Summaries of what was said in a conversation, and whose a conversation's title is."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("title_by", sa.Text(), nullable=True))
    for name in ("title_input_tokens", "title_output_tokens"):
        op.add_column("conversations", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    op.add_column("turns", sa.Column("summary_until", sa.Uuid(), nullable=True))
    op.create_table(
        "summaries",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("output_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_summaries_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_summaries")),
    )


def downgrade() -> None:
    op.drop_table("summaries")
    op.drop_column("turns", "summary_until")
    for name in ("title_output_tokens", "title_input_tokens", "title_by"):
        op.drop_column("conversations", name)
