"""Vietnamese words keep their accents, Persian and Arabic letters meet, and so do the digits of all scripts.

The keywords of chunks that have any of them are written anew, and with them the segments of large bots: until
housekeeping has done so, a bot's keywords are scanned.
"""

import sys
import unicodedata

from alembic import op
from sqlalchemy import text

from adapters.postgres.keyword_backfill import fill_keywords

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_EMPTY = "truncate keyword_segment_versions, keyword_segments, keyword_postings"
_FORGET = text(
    """
    WITH forgotten AS (
        DELETE FROM chunk_keywords k USING chunks c, documents d
        WHERE c.ingestion_id = k.ingestion_id AND c.ordinal = k.ordinal AND d.id = c.document_id
            AND (c.content ~* :changed OR d.name ~* :changed OR array_to_string(c.heading_path, ' ') ~* :changed)
        RETURNING 1
    )
    SELECT count(*) FROM forgotten
    """
)
_MARKS = {"\u0309", "\u0323", "\u031b"}
_OVER = {"\u0302", "\u0306"}
_TONES = {"\u0300", "\u0301", "\u0303"}


def upgrade() -> None:
    op.execute("set local statement_timeout = 0")  # it reads every chunk once
    if op.get_bind().execute(_FORGET, {"changed": f"[{''.join(_changed())}]"}).scalar_one():
        op.execute(_EMPTY)
    with op.get_context().autocommit_block():
        fill_keywords(op.get_bind())


def downgrade() -> None:
    """Leave the terms as they are: questions of the release before miss some of these words."""


def _changed() -> list[str]:
    """List the characters whose words have other terms."""
    return [*_MARKS, "đ", "ی", "ک", *filter(_has_other_terms, map(chr, range(0x80, sys.maxunicode + 1)))]


def _has_other_terms(char: str) -> bool:
    if char.isdecimal():
        return unicodedata.normalize("NFKC", char) == char  # what is folded to ASCII was so before
    parts = set(unicodedata.normalize("NFD", char))
    return (
        len(parts) > 1
        and "LATIN" in unicodedata.name(char, "")
        and bool(parts & _MARKS or (parts & _OVER and parts & _TONES))
    )
