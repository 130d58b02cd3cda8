"""Giving keywords to chunks that were stored without them, for migrations."""

from sqlalchemy import Connection, text

from adapters.postgres import keywords
from domain import terms

_BATCH = 500

_BARE = text(
    """
    SELECT c.ingestion_id, c.ordinal, c.bot_id, d.name, c.heading_path, c.content
    FROM chunks c JOIN documents d ON d.id = c.document_id
    LEFT JOIN chunk_keywords k ON k.ingestion_id = c.ingestion_id AND k.ordinal = c.ordinal
    WHERE k.ordinal IS NULL AND (c.ingestion_id, c.ordinal) > (:ingestion, :ordinal)
    ORDER BY c.ingestion_id, c.ordinal
    LIMIT :limit
    """
)
_FILL = text(
    """
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:ingestions AS uuid[]), CAST(:ordinals AS int[]), CAST(:bots AS uuid[]), CAST(:languages AS text[]),
            CAST(:keywords AS text[])
        ) AS given(ingestion, ordinal, bot, language, keywords)
    ), filled AS (
        INSERT INTO chunk_keywords (ingestion_id, ordinal, keywords)
        SELECT c.ingestion_id, c.ordinal, CAST(given.keywords AS sparsevec)
        FROM given JOIN chunks c ON c.ingestion_id = given.ingestion AND c.ordinal = given.ordinal
        ON CONFLICT DO NOTHING
    ), spoken AS (
        SELECT bot, array_agg(DISTINCT language) AS languages FROM given GROUP BY bot
    )
    UPDATE bots b SET languages = ARRAY (SELECT DISTINCT unnest(b.languages || spoken.languages) ORDER BY 1)
    FROM spoken WHERE b.id = spoken.bot AND NOT b.languages @> spoken.languages
    """
)


def fill_keywords(connection: Connection) -> None:
    """Fill all that are empty, each batch by a statement of its own; what is filled stays filled."""
    after: dict[str, object] = {"ingestion": "00000000-0000-0000-0000-000000000000", "ordinal": -1}
    while rows := connection.execute(_BARE, {**after, "limit": _BATCH}).all():
        found = [terms.of_chunk(row.name, row.heading_path, row.content) for row in rows]
        values = {
            "ingestions": [row.ingestion_id for row in rows],
            "ordinals": [row.ordinal for row in rows],
            "bots": [row.bot_id for row in rows],
            "languages": [each.language for each in found],
            "keywords": [keywords.as_text(each.weights) for each in found],
        }
        connection.execute(_FILL, values)
        after = {"ingestion": rows[-1].ingestion_id, "ordinal": rows[-1].ordinal}
