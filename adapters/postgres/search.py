"""Search over a bot's chunks: vectors and weighed keywords, fused by `domain.retrieval`.

Few statements in one connection: the bot's languages and whether it has an index, how many chunks have each of the
question's terms, and the best chunks of both arms, each with what both arms think of it. Where the arms are fused,
the rest is read of those only that come out first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from pgvector import HalfVector as HalfVectorValue
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import indexed_search, keywords
from adapters.postgres.indexed_search import Named, Words
from adapters.postgres.search_statements import BEST, BOT, CANDIDATES, CHUNKS
from domain import terms
from domain.filters import EVERYTHING, DocumentFilter
from domain.ids import BotId, ChunkId, DocumentId, UserId
from domain.ports import Vectors
from domain.retrieval import Candidate, Hit, SearchMode, fuse

# How deep each arm looks before the two are fused.
_CANDIDATES = 50


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
    within: DocumentFilter = EVERYTHING,
) -> list[Hit]:
    """Find the best chunks of the owner's bot, in the versions that are active now, of the documents `within`.

    The connection is one of a transaction: how far an index looks is set for its length.
    `query_vector` (width,) is needed unless the mode is keyword. Chunks embedded by another model than
    `embedding_model` are found by their words only. `fluency` is the embedder's of the question. Scores are as `domain.retrieval.Hit` says.
    """
    scope: dict[str, Any] = {"owner": owner_id, "bot": bot_id, "model": embedding_model} | _within(within)
    fused = mode is SearchMode.HYBRID
    depth = max(_CANDIDATES, limit) if fused else limit
    values = scope | {
        "vector": None if query_vector is None else HalfVectorValue(query_vector),
        "use_vectors": mode is not SearchMode.KEYWORD and query_vector is not None,
        "depth": depth,
        "reach": max(_CANDIDATES, depth),
    }
    if mode is SearchMode.VECTOR and (rows := await _scanned(connection, values)):
        return _hits(rows, fuse([_candidate(row, 0.0) for row in rows], mode, limit=limit))
    bot = (await connection.execute(BOT, scope)).one_or_none()
    reach = indexed_search.reach(bot, depth=depth)
    asked = [] if mode is SearchMode.VECTOR or bot is None else terms.words_of_question(query_text, bot.languages)
    if not values["use_vectors"]:
        reach = replace(reach, vectors=False)
    words, near = await indexed_search.look_up(connection, values, asked, reach)
    rows = (await connection.execute(*_best(values, words, near, fused=fused))).all()
    ranked = fuse([_candidate(row, words.ideal) for row in rows], mode, limit=limit, fluency=fluency)
    if fused:
        rows = (await connection.execute(CHUNKS, {**scope, "chunks": [each.chunk_id for each, _ in ranked]})).all()
    return _hits(rows, ranked)


async def _scanned(connection: AsyncConnection, values: Mapping[str, Any]) -> Sequence[Any]:
    """Scan the vectors of a bot that has no index, by one statement; nothing is found where it has one."""
    alone = {**values, **_words(Words()), "unless_indexed": True}
    return (await connection.execute(BEST[False, False], alone)).all()


def _best(
    values: Mapping[str, Any], words: Words, near: Named | None, *, fused: bool
) -> tuple[TextClause, dict[str, Any]]:
    """Choose the statement that scans for what no index named."""
    # An arm that is not used has nothing to scan: then nothing needs the list of the documents that may answer.
    nearest_named = near is not None or (words.are_named and not values["use_vectors"])
    words_named = words.are_named or (near is not None and not words.rarities)
    given = {**values, **_words(words), **_named("near", near or ()), "unless_indexed": False}
    return (CANDIDATES if fused else BEST)[nearest_named, words_named], given


def _words(words: Words) -> dict[str, Any]:
    return {
        "scores": keywords.scores(words.rarities) if words.rarities else None,
        "use_words": bool(words.rarities),
        "scanned": words.scanned if words.are_named or words.rarities else [],
        **_named("worded", words.named),
    }


def _named(arm: str, chunks: Named) -> dict[str, Any]:
    return {
        f"{arm}_versions": [version for version, _ in chunks],
        f"{arm}_ordinals": [ordinal for _, ordinal in chunks],
    }


def _within(documents: DocumentFilter) -> dict[str, Any]:
    return {
        "documents": list(documents.document_ids) if documents.document_ids else None,
        "metadata": documents.metadata_path(),
        "created_after": documents.created_after,
        "created_before": documents.created_before,
    }


def _candidate(row: Any, ideal: float) -> Candidate:
    similarity = None if row.similarity is None or isnan(row.similarity) else float(row.similarity)
    return Candidate(ChunkId(row.id), similarity, row.words / ideal if row.words and ideal else 0.0)


def _hits(rows: Sequence[Any], ranked: Sequence[tuple[Candidate, float]]) -> list[Hit]:
    """Put chunks in their order; one whose version was replaced a moment ago is not there any more."""
    found = {row.id: row for row in rows}
    return [_hit(found[each.chunk_id], each, score) for each, score in ranked if each.chunk_id in found]


def _hit(row: Any, candidate: Candidate, score: float) -> Hit:
    return Hit(
        chunk_id=candidate.chunk_id,
        document_id=DocumentId(row.document_id),
        document_name=row.name,
        page=row.page_from,
        heading_path=tuple(row.heading_path),
        content=row.content,
        score=score,
        similarity=candidate.similarity,
        page_starts=tuple(row.page_starts),
        coverage=candidate.coverage,
        ordinal=row.ordinal,
        char_start=row.char_start,
        char_end=row.char_end,
    )
