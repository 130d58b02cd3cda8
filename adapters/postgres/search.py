"""Search over a bot's chunks: exact vectors and full text, fused by reciprocal rank in one round trip."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from pgvector import HalfVector as HalfVectorValue
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.vectors import HalfVector
from domain.ids import BotId, ChunkId, DocumentId, UserId
from domain.ports import Vectors
from domain.retrieval import Hit, SearchMode

# How deep each arm looks before the ranks are fused; 60 is the constant of Cormack et al. (SIGIR 2009).
_CANDIDATES = 50
_RRF = 60

# The arms scan the bot's chunks exactly, found by their ingestion: recall is 1, and below 1,000 chunks faster than
# any index. An arm that the mode leaves out is folded away by the planner (`plan_cache_mode=force_custom_plan`).
#
# The question's terms are OR-ed: a chunk need not hold every word of a sentence. `ts_rank` with equal weights is
# the mean over the terms of 0.61 for one occurrence up to 1 for many: it rewards a chunk that has more of the
# question's words over one that repeats a single word, which cover density (`ts_rank_cd`) does not under OR.
# A chunk without any of the words has rank 0; `@@` before it would detoast every `terms` twice (10 ms against 6
# for 1,000 chunks that match).
_SEARCH = text(
    """
    WITH question AS (
        SELECT CAST(replace(CAST(plainto_tsquery('english', :query) AS text), ' & ', ' | ') AS tsquery) AS terms
    ),
    readable AS (
        SELECT id, name, active_ingestion_id AS ingestion_id,
               coalesce(embedding_model = CAST(:model AS text), false) AS comparable
        FROM documents
        WHERE owner_id = :owner AND bot_id = :bot AND status <> 'deleting' AND active_ingestion_id IS NOT NULL
    ),
    nearest AS (
        SELECT ingestion_id, ordinal, row_number() OVER (ORDER BY distance, ingestion_id, ordinal) AS place
        FROM (
            SELECT c.ingestion_id, c.ordinal, c.embedding <=> CAST(:vector AS halfvec) AS distance
            FROM readable r JOIN chunks c ON c.ingestion_id = r.ingestion_id
            WHERE CAST(:use_vectors AS boolean) AND r.comparable AND c.owner_id = :owner AND c.bot_id = :bot
              AND c.embedding IS NOT NULL
            ORDER BY distance, c.ingestion_id, c.ordinal
            LIMIT :depth
        ) AS near
    ),
    worded AS (
        SELECT ingestion_id, ordinal, rank, row_number() OVER (ORDER BY rank DESC, ingestion_id, ordinal) AS place
        FROM (
            SELECT c.ingestion_id, c.ordinal, ts_rank('{1,1,1,1}', c.terms, q.terms) AS rank
            FROM question q, readable r JOIN chunks c ON c.ingestion_id = r.ingestion_id
            WHERE CAST(:use_words AS boolean) AND c.owner_id = :owner AND c.bot_id = :bot
            ORDER BY rank DESC, c.ingestion_id, c.ordinal
            LIMIT :depth
        ) AS worded
        WHERE rank > 0
    ),
    fused AS (
        SELECT coalesce(n.ingestion_id, w.ingestion_id) AS ingestion_id, coalesce(n.ordinal, w.ordinal) AS ordinal,
               w.rank, (coalesce(1.0 / (:rrf + n.place), 0) + coalesce(1.0 / (:rrf + w.place), 0)) AS fusion
        FROM nearest n FULL JOIN worded w ON w.ingestion_id = n.ingestion_id AND w.ordinal = n.ordinal
        ORDER BY fusion DESC, 1, 2
        LIMIT :limit
    )
    SELECT c.id, c.document_id, r.name, c.page_from, c.page_starts, c.heading_path, c.content, f.rank,
           CAST(f.fusion * (:rrf + 1) / 2 AS double precision) AS fusion,
           CASE WHEN r.comparable THEN 1 - (c.embedding <=> CAST(:vector AS halfvec)) END AS similarity
    FROM fused f
    JOIN chunks c ON c.ingestion_id = f.ingestion_id AND c.ordinal = f.ordinal
    JOIN readable r ON r.ingestion_id = f.ingestion_id
    ORDER BY f.fusion DESC, f.ingestion_id, f.ordinal
    """
).bindparams(bindparam("vector", type_=HalfVector()))


async def search(
    connection: AsyncConnection,
    owner_id: UserId,
    bot_id: BotId,
    query_text: str,
    query_vector: Vectors | None,
    *,
    embedding_model: str,
    mode: SearchMode,
    limit: int,
) -> list[Hit]:
    """Find the best chunks of the owner's bot, in the versions that are active now.

    `query_vector` (width,) is needed unless the mode is keyword. Chunks embedded by another model than
    `embedding_model` are found by their words only. Scores are as `domain.retrieval.Hit` says.
    """
    values = {
        "owner": owner_id,
        "bot": bot_id,
        "query": query_text,
        "model": embedding_model,
        "vector": None if query_vector is None else HalfVectorValue(query_vector),
        "use_vectors": mode is not SearchMode.KEYWORD and query_vector is not None,
        "use_words": mode is not SearchMode.VECTOR,
        "depth": max(_CANDIDATES, limit),
        "rrf": _RRF,
        "limit": limit,
    }
    rows: Sequence[Any] = (await connection.execute(_SEARCH, values)).all()
    return [_hit(row, mode) for row in rows]


def _hit(row: Any, mode: SearchMode) -> Hit:
    similarity = None if row.similarity is None or isnan(row.similarity) else float(row.similarity)
    score = {
        SearchMode.VECTOR: similarity or 0.0,
        SearchMode.KEYWORD: row.rank or 0.0,
        SearchMode.HYBRID: row.fusion,
    }[mode]
    return Hit(
        chunk_id=ChunkId(row.id),
        document_id=DocumentId(row.document_id),
        document_name=row.name,
        page=row.page_from,
        heading_path=tuple(row.heading_path),
        content=row.content,
        score=min(1.0, max(0.0, float(score))),
        similarity=similarity,
        page_starts=tuple(row.page_starts),
    )
