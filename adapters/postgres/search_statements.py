"""The statements of a search. Each arm scans what may answer, or takes what an index named; all else is the same.

An arm that the mode leaves out, and a filter that is not set, is folded away by the planner
(`plan_cache_mode=force_custom_plan`).
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import ARRAY, TextClause, bindparam, text

from adapters.postgres.vectors import HalfVector, SparseVector

_MAY_ANSWER = """
        d.owner_id = :owner AND d.bot_id = :bot AND d.status <> 'deleting' AND d.active_ingestion_id IS NOT NULL
        AND (CAST(:documents AS uuid[]) IS NULL OR d.id = ANY (CAST(:documents AS uuid[])))
        AND (CAST(:metadata AS text) IS NULL OR d.metadata @@ CAST(CAST(:metadata AS text) AS jsonpath))
        AND (CAST(:created_after AS timestamptz) IS NULL OR d.created_at >= CAST(:created_after AS timestamptz))
        AND (CAST(:created_before AS timestamptz) IS NULL OR d.created_at < CAST(:created_before AS timestamptz))
    """
_COMPARABLE = "coalesce(d.embedding_model = CAST(:model AS text), false)"
READABLE = f"""
    readable AS MATERIALIZED (
        SELECT d.id, d.name, d.active_ingestion_id AS ingestion_id, d.chunk_count, d.refused_chunks,
               {_COMPARABLE} AS comparable
        FROM documents d WHERE {_MAY_ANSWER}
    )"""  # noqa: S608  (constants of this file)

# Exact: recall is 1, and for some thousand chunks faster than any index, which the `+ 0` keeps out.
_NEAREST_SCANNED = """
    nearest AS (
        SELECT c.ingestion_id, c.ordinal
        FROM readable r JOIN chunks c ON c.ingestion_id = r.ingestion_id
        WHERE CAST(:use_vectors AS boolean) AND r.comparable AND (c.owner_id = :owner AND c.bot_id = :bot) IS TRUE
          AND c.embedding IS NOT NULL
          AND (NOT CAST(:unless_indexed AS boolean)
               OR NOT EXISTS (SELECT FROM bot_indexes i WHERE i.bot_id = :bot AND i.state = 'valid'))
        ORDER BY (c.embedding <=> CAST(:vector AS halfvec)) + 0, c.ingestion_id, c.ordinal
        LIMIT :depth
    )"""
_NEAREST_NAMED = """
    nearest AS (
        SELECT ingestion_id, ordinal
        FROM unnest(CAST(:near_versions AS uuid[]), CAST(:near_ordinals AS int[])) AS n (ingestion_id, ordinal)
    )"""
_SCANNED = """
    SELECT k.ingestion_id, k.ordinal, k.keywords <#> CAST(:scores AS sparsevec) AS negative
    FROM readable r JOIN chunk_keywords k ON k.ingestion_id = r.ingestion_id
    WHERE CAST(:use_words AS boolean)
      AND (CAST(:scanned AS uuid[]) IS NULL OR k.ingestion_id = ANY (CAST(:scanned AS uuid[])))
    """
_SCANNED_ONLY = """
    SELECT k.ingestion_id, k.ordinal, k.keywords <#> CAST(:scores AS sparsevec) AS negative
    FROM chunk_keywords k
    WHERE CAST(:use_words AS boolean) AND k.ingestion_id = ANY (CAST(:scanned AS uuid[]))
    """
_NAMED = """
    SELECT k.ingestion_id, k.ordinal, k.keywords <#> CAST(:scores AS sparsevec) AS negative
    FROM unnest(CAST(:worded_versions AS uuid[]), CAST(:worded_ordinals AS int[])) AS n (ingestion_id, ordinal)
    JOIN chunk_keywords k ON k.ingestion_id = n.ingestion_id AND k.ordinal = n.ordinal
    WHERE CAST(:use_words AS boolean)
    """


def _worded(arms: Iterable[str]) -> str:
    return f"""
    worded AS (
        SELECT ingestion_id, ordinal
        FROM ({" UNION ALL ".join(arms)} ORDER BY negative, ingestion_id, ordinal LIMIT :depth) AS ranked
        WHERE negative < 0
    )"""  # noqa: S608  (constants of this file)


_IS_READABLE = "readable r ON r.ingestion_id = best.ingestion_id"
# Where both arms are looked up, so are the documents of what they found: a bot may have thousands.
_MAY_BE_READ = f"""
    LATERAL (
        SELECT d.name, {_COMPARABLE} AS comparable FROM documents d
        WHERE d.id = c.document_id AND d.active_ingestion_id = c.ingestion_id AND {_MAY_ANSWER}
    ) AS r ON true"""  # noqa: S608  (constants of this file)


_OF_CHUNK = "c.document_id, c.page_from, c.page_starts, c.heading_path, c.ordinal, c.char_start, c.char_end, c.content"


def _best(*parts: str, columns: str = "", document: str = _IS_READABLE) -> TextClause:
    return text(
        f"""
    WITH {", ".join(parts)}
    SELECT c.id, {columns}
           CASE WHEN CAST(:use_words AS boolean) THEN -(k.keywords <#> CAST(:scores AS sparsevec)) END AS words,
           CASE WHEN r.comparable THEN 1 - (c.embedding <=> CAST(:vector AS halfvec)) END AS similarity
    FROM (SELECT * FROM nearest UNION SELECT * FROM worded) AS best
    JOIN chunks c ON c.ingestion_id = best.ingestion_id AND c.ordinal = best.ordinal
    LEFT JOIN chunk_keywords k ON k.ingestion_id = best.ingestion_id AND k.ordinal = best.ordinal
    JOIN {document}
    ORDER BY c.ingestion_id, c.ordinal
    """  # noqa: S608  (constants of this file)
    ).bindparams(bindparam("vector", type_=HalfVector()), bindparam("scores", type_=SparseVector()))


def _best_of_both(columns: str) -> Mapping[tuple[bool, bool], TextClause]:
    both_named = _worded([_SCANNED_ONLY, _NAMED])
    return {
        (False, False): _best(READABLE, _NEAREST_SCANNED, _worded([_SCANNED]), columns=columns),
        (False, True): _best(READABLE, _NEAREST_SCANNED, _worded([_SCANNED, _NAMED]), columns=columns),
        (True, False): _best(READABLE, _NEAREST_NAMED, _worded([_SCANNED]), columns=columns),
        (True, True): _best(_NEAREST_NAMED, both_named, columns=columns, document=_MAY_BE_READ),
    }


BEST = _best_of_both(f"r.name, {_OF_CHUNK},")
"""The best chunks of both arms, by whether vectors and keywords were named by an index or are scanned for."""
CANDIDATES = _best_of_both("")
"""As well, what both arms think of them only; `CHUNKS` has the rest, for those that come out first."""

# The index knows the bot's chunks, whoever may see them; it goes on until enough of them may answer. Each is asked for
# by itself: a join might be made first, and the order of the index would be lost.
NEAREST = text(
    f"""
    SELECT ingestion_id, ordinal
    FROM (
        SELECT c.ingestion_id, c.ordinal, c.embedding <=> CAST(:vector AS halfvec) AS distance
        FROM chunks c
        WHERE c.owner_id = :owner AND c.bot_id = :bot
          AND (SELECT {_COMPARABLE} FROM documents d
               WHERE d.id = c.document_id AND d.active_ingestion_id = c.ingestion_id AND {_MAY_ANSWER})
        ORDER BY c.embedding <=> CAST(:vector AS halfvec)
        LIMIT :reach
    ) AS found
    ORDER BY distance, ingestion_id, ordinal
    LIMIT :depth
    """  # noqa: S608  (constants of this file)
).bindparams(bindparam("vector", type_=HalfVector()))

# An array is one parameter, where `in_` makes as many as there are chunks, and a statement of its own for each number.
CHUNKS = text(
    f"""
    SELECT c.id, d.name, {_OF_CHUNK}
    FROM chunks c JOIN documents d ON d.id = c.document_id AND d.active_ingestion_id = c.ingestion_id
    WHERE c.id = ANY (CAST(:chunks AS uuid[])) AND d.owner_id = :owner AND d.bot_id = :bot AND d.status <> 'deleting'
    """  # noqa: S608  (a constant of this file)
)

# A mask's answer has a bit for each of its terms. Chunks with the same answer are counted together.
HAVING = text(
    f"""
    WITH {READABLE}
    SELECT m.part, CAST(-(k.keywords <#> m.mask) AS integer) AS bits, count(*) AS chunks
    FROM readable r JOIN chunk_keywords k ON k.ingestion_id = r.ingestion_id
         CROSS JOIN unnest(CAST(:masks AS sparsevec[])) WITH ORDINALITY AS m (mask, part)
    WHERE CAST(:scanned AS uuid[]) IS NULL OR k.ingestion_id = ANY (CAST(:scanned AS uuid[]))
    GROUP BY 1, 2
    """  # noqa: S608  (constants of this file)
).bindparams(bindparam("masks", type_=ARRAY(SparseVector())))

# Whether the bot has an index that is whole, and how many chunks it had when that was decided on last. How many may
# answer is counted where it has one only: what is not asked for of `readable` is not read.
BOT = text(
    f"""
    WITH {READABLE}
    SELECT b.languages, i.chunks AS indexed, size.readable, size.comparable
    FROM bots b
    LEFT JOIN bot_indexes i ON i.bot_id = b.id AND i.state = 'valid'
    LEFT JOIN LATERAL (
        SELECT coalesce(sum(chunk_count), 0) AS readable,
               coalesce(sum(chunk_count - refused_chunks) FILTER (WHERE comparable), 0) AS comparable
        FROM readable WHERE i.bot_id IS NOT NULL
    ) AS size ON true
    WHERE b.id = :bot AND b.owner_id = :owner
    """  # noqa: S608  (constants of this file)
)

# In one statement, so that no segment is replaced in between. The row without parts has what is in no segment.
POSTINGS = text(
    f"""
    WITH {READABLE},
    placed AS (
        SELECT r.ingestion_id, v.segment_id, v.first, v.chunks
        FROM readable r LEFT JOIN keyword_segment_versions v ON v.ingestion_id = r.ingestion_id
    ),
    live AS (
        SELECT segment_id,
               string_agg(uuid_send(ingestion_id) || int4send(first) || int4send(chunks), '' ORDER BY first) AS parts
        FROM placed WHERE segment_id IS NOT NULL GROUP BY segment_id
    )
    SELECT s.chunks, live.parts, CAST(NULL AS uuid[]) AS scanned,
           ARRAY (SELECT p.packed FROM keyword_postings p
                  WHERE p.segment_id = s.id AND p.bucket = ANY (CAST(:buckets AS int[]))) AS buckets
    FROM live JOIN keyword_segments s ON s.id = live.segment_id
    UNION ALL
    SELECT 0, NULL, array_agg(ingestion_id), NULL FROM placed WHERE segment_id IS NULL
    """  # noqa: S608  (constants of this file)
)

EFFORT = text(
    """
    SELECT set_config('hnsw.ef_search', :effort, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
           set_config('hnsw.scan_mem_multiplier', '4', true)
    """
)
