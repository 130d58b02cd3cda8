"""Search over a bot's chunks: exact vectors and weighed keywords, fused by `domain.retrieval`.

Three statements in one connection: the languages of the bot, how many chunks have each of the question's terms,
and the best chunks of both arms, each with what both arms think of it. Where the arms are fused, contents are read
for those only that come out first.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from pgvector import HalfVector as HalfVectorValue
from sqlalchemy import ARRAY, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import keywords
from adapters.postgres.tables import bots, chunks
from adapters.postgres.vectors import HalfVector, SparseVector
from domain import terms
from domain.ids import BotId, ChunkId, DocumentId, UserId
from domain.ports import Vectors
from domain.retrieval import Hit, SearchMode, fuse

# How deep each arm looks before the two are fused.
_CANDIDATES = 50

# The arms scan the bot's chunks exactly, found by their ingestion: recall is 1, and below 1,000 chunks faster than
# any index. An arm that the mode leaves out is folded away by the planner (`plan_cache_mode=force_custom_plan`).
_READABLE = """
    readable AS MATERIALIZED (
        SELECT id, name, active_ingestion_id AS ingestion_id,
               coalesce(embedding_model = CAST(:model AS text), false) AS comparable
        FROM documents
        WHERE owner_id = :owner AND bot_id = :bot AND status <> 'deleting' AND active_ingestion_id IS NOT NULL
    )"""

# A mask's answer has a bit for each of its terms. Chunks with the same answer are counted together.
_HAVING = text(
    f"""
    WITH {_READABLE}
    SELECT m.part, CAST(-(k.keywords <#> m.mask) AS integer) AS bits, count(*) AS chunks
    FROM readable r JOIN chunk_keywords k ON k.ingestion_id = r.ingestion_id
         CROSS JOIN unnest(CAST(:masks AS sparsevec[])) WITH ORDINALITY AS m (mask, part)
    GROUP BY 1, 2
    """  # noqa: S608  (constants of this file)
).bindparams(bindparam("masks", type_=ARRAY(SparseVector())))

_BEST = text(
    f"""
    WITH {_READABLE},
    nearest AS (
        SELECT c.ingestion_id, c.ordinal
        FROM readable r JOIN chunks c ON c.ingestion_id = r.ingestion_id
        WHERE CAST(:use_vectors AS boolean) AND r.comparable AND c.owner_id = :owner AND c.bot_id = :bot
          AND c.embedding IS NOT NULL
        ORDER BY c.embedding <=> CAST(:vector AS halfvec), c.ingestion_id, c.ordinal
        LIMIT :depth
    ),
    worded AS (
        SELECT ingestion_id, ordinal
        FROM (
            SELECT k.ingestion_id, k.ordinal, k.keywords <#> CAST(:scores AS sparsevec) AS negative
            FROM readable r JOIN chunk_keywords k ON k.ingestion_id = r.ingestion_id
            WHERE CAST(:use_words AS boolean)
            ORDER BY negative, k.ingestion_id, k.ordinal
            LIMIT :depth
        ) AS ranked
        WHERE negative < 0
    )
    SELECT c.id, c.document_id, r.name, c.page_from, c.page_starts, c.heading_path,
           CASE WHEN NOT CAST(:fused AS boolean) THEN c.content END AS content,
           CASE WHEN CAST(:use_words AS boolean) THEN -(k.keywords <#> CAST(:scores AS sparsevec)) END AS words,
           CASE WHEN r.comparable THEN 1 - (c.embedding <=> CAST(:vector AS halfvec)) END AS similarity
    FROM (SELECT * FROM nearest UNION SELECT * FROM worded) AS best
    JOIN chunks c ON c.ingestion_id = best.ingestion_id AND c.ordinal = best.ordinal
    LEFT JOIN chunk_keywords k ON k.ingestion_id = best.ingestion_id AND k.ordinal = best.ordinal
    JOIN readable r ON r.ingestion_id = best.ingestion_id
    ORDER BY c.ingestion_id, c.ordinal
    """  # noqa: S608  (constants of this file)
).bindparams(bindparam("vector", type_=HalfVector()), bindparam("scores", type_=SparseVector()))


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
    fluency: float = 1.0,
) -> list[Hit]:
    """Find the best chunks of the owner's bot, in the versions that are active now.

    `query_vector` (width,) is needed unless the mode is keyword. Chunks embedded by another model than
    `embedding_model` are found by their words only. `fluency` is the embedder's of the question. Scores are as `domain.retrieval.Hit` says.
    """
    scope: dict[str, Any] = {"owner": owner_id, "bot": bot_id, "model": embedding_model}
    wanted = [] if mode is SearchMode.VECTOR else await _question_terms(connection, scope, query_text)
    rarities = await _rarities(connection, scope, wanted) if wanted else {}
    fused = mode is SearchMode.HYBRID
    use_vectors = mode is not SearchMode.KEYWORD and query_vector is not None
    values = scope | {
        "vector": None if query_vector is None else HalfVectorValue(query_vector),
        "scores": keywords.scores(rarities) if rarities else None,
        "use_vectors": use_vectors,
        "use_words": bool(rarities),
        "depth": max(_CANDIDATES, limit) if fused else limit,
        "fused": fused,
    }
    rows: Sequence[Any] = (await connection.execute(_BEST, values)).all()
    ideal = sum(rarities.values())
    hits = fuse([_hit(row, ideal) for row in rows], mode, fluency=fluency)[:limit]
    return await _with_contents(connection, hits) if fused else hits


async def _with_contents(connection: AsyncConnection, hits: Sequence[Hit]) -> list[Hit]:
    """Read the contents of what came out first; a chunk whose version was replaced a moment ago is left out."""
    query = select(chunks.c.id, chunks.c.content).where(chunks.c.id.in_([hit.chunk_id for hit in hits]))
    contents = {row.id: row.content for row in await connection.execute(query)}
    return [replace(hit, content=contents[hit.chunk_id]) for hit in hits if hit.chunk_id in contents]


async def _question_terms(connection: AsyncConnection, scope: Mapping[str, Any], query_text: str) -> list[int]:
    query = select(bots.c.languages).where(bots.c.id == scope["bot"], bots.c.owner_id == scope["owner"])
    return terms.of_question(query_text, (await connection.execute(query)).scalar_one_or_none() or ())


async def _rarities(connection: AsyncConnection, scope: Mapping[str, Any], wanted: list[int]) -> dict[int, float]:
    """Weigh the terms that chunks of the bot have, by how few have them."""
    rows: Sequence[Any] = (await connection.execute(_HAVING, {**scope, "masks": keywords.masks(wanted)})).all()
    having: Counter[int] = Counter()
    for row in rows:
        at = (row.part - 1) * keywords.MASK_TERMS
        for bit, term in enumerate(wanted[at : at + keywords.MASK_TERMS]):
            if row.bits >> bit & 1:
                having[term] += row.chunks
    chunks = sum(row.chunks for row in rows if row.part == 1)
    return {term: terms.rarity(count, chunks) for term, count in having.items()}


def _hit(row: Any, ideal: float) -> Hit:
    return Hit(
        chunk_id=ChunkId(row.id),
        document_id=DocumentId(row.document_id),
        document_name=row.name,
        page=row.page_from,
        heading_path=tuple(row.heading_path),
        content=row.content or "",
        score=0.0,
        similarity=None if row.similarity is None or isnan(row.similarity) else float(row.similarity),
        page_starts=tuple(row.page_starts),
        coverage=row.words / ideal if row.words and ideal else 0.0,
    )
