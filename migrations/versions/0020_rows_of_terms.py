"""Common terms of large bots have a row in their segments: the segments are written anew.

Until housekeeping has done so, a bot's keywords are scanned. All three tables are emptied by a statement that waits for
whoever writes a segment, and takes it as well. The column has another name, so that a process of the version before
neither reads what it would take for something else nor writes it.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# In the order in which a segment is written.
_EMPTY = "truncate keyword_segment_versions, keyword_segments, keyword_postings"


def upgrade() -> None:
    op.execute(_EMPTY)
    op.alter_column("keyword_postings", "postings", new_column_name="packed")


def downgrade() -> None:
    op.execute(_EMPTY)
    op.alter_column("keyword_postings", "packed", new_column_name="postings")
