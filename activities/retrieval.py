"""Finding the passages that a turn's answer rests on."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.heartbeat import heartbeats
from activities.understanding import Understanding
from adapters.postgres import turn_events, turn_passages, turns
from adapters.postgres.engine import reading, transaction
from adapters.postgres.patience import patiently
from adapters.postgres.search import search
from adapters.postgres.turns import Question
from domain import steps
from domain.conversation import EventType
from domain.errors import ProviderSilent
from domain.grounding import least_relevance, relevance
from domain.passages import diverse, pick_passages
from domain.ports import Embedder, Vectors
from domain.prompts import PASSAGE_BUDGET
from domain.reranking import CANDIDATES
from domain.retrieval import Hit, Passage, SearchMode, combine, relevant
from domain.sentences import sentence_spans
from domain.steps import Retrieved, TurnRef

_CANDIDATES = 50
_SEARCH = steps.RETRIEVE.policy.attempt
# Within a search; five attempts bridge a restart of the database.
_PATIENCE = timedelta(seconds=8)
_QUOTE_CHARACTERS = 240


class Retrieval:
    """Embeds the question and searches the bot's documents; done once, however often it is tried."""

    def __init__(
        self,
        engine: AsyncEngine,
        embedder: Embedder,
        understanding: Understanding,
        completes: Callable[[str | None], bool],
    ) -> None:
        """`completes` tells whether a bot's model can put passages in order."""
        self._engine = engine
        self._embedder = embedder
        self._understanding = understanding
        self._completes = completes

    @activity.defn(name=steps.RETRIEVE.name)
    async def retrieve(self, ref: TurnRef) -> Retrieved:
        """Store the passages and announce them. An attempt that finds them stored pays for nothing."""
        return await self._retrieve(ref, understand=False)

    @activity.defn(name=steps.UNDERSTAND_AND_RETRIEVE.name)
    async def understand_and_retrieve(self, ref: TurnRef) -> Retrieved:
        """Search for what a model understands the question as: one step, since nothing else comes between the two.

        From the third attempt on no model is asked; what was understood by then is searched for.
        """
        tries = steps.UNDERSTAND_QUESTION.policy.attempts or 0
        return await self._retrieve(ref, understand=activity.info().attempt <= tries)

    async def _retrieve(self, ref: TurnRef, *, understand: bool) -> Retrieved:
        async with heartbeats():
            question = await patiently(lambda: self._question(ref), within=_PATIENCE)
            if isinstance(question, Retrieved):
                return question
            if understand:
                question = replace(question, queries=tuple(await self._understanding.queries(ref, question)))
            try:
                async with asyncio.timeout(_SEARCH.total_seconds()):
                    found = await self._find(ref, question)
                    return await patiently(lambda: self._store(ref, found), within=_PATIENCE)
            except TimeoutError:
                raise ProviderSilent("The search for passages took too long. Ask again.") from None

    async def _question(self, ref: TurnRef) -> Question | Retrieved:
        async with reading(self._engine) as connection:
            return await _told(connection, ref) or await turns.question(connection, ref)

    async def _find(self, ref: TurnRef, question: Question) -> "_Found":
        """Search, and tell whether anything that was found is worth giving to the model."""
        wanted = question.configuration.retrieval
        asked = [await self._asked(query, wanted.mode) for query in question.queries or (question.content,)]
        found = await patiently(lambda: self._search(ref, question, asked), within=_PATIENCE)
        found = [relevant(hits, min_score=wanted.min_score) for hits in found]
        reached = max(
            relevance(hits, wanted.mode, question=each.query, fluency=each.fluency)
            for hits, each in zip(found, asked, strict=True)
        )
        hits = combine(found)
        least = least_relevance(wanted.threshold, wanted.mode, embedding_model=self._embedder.model)
        reranks = wanted.rerank and self._completes(question.model)
        top_k = max(CANDIDATES, wanted.top_k) if reranks else wanted.top_k
        passages = pick_passages(
            diverse(hits, diversity=wanted.diversity, top_k=top_k),
            top_k=top_k,
            budget=CANDIDATES * PASSAGE_BUDGET if reranks else PASSAGE_BUDGET,
            merge_neighbours=wanted.merge_neighbours,
        )
        if reached < least or not (passages or wanted.threshold == 0):
            return _Found([], round(reached, 3), unknown=True)
        return _Found(passages, round(reached, 3), rerank=reranks and len(passages) > 1)

    async def _asked(self, query: str, mode: SearchMode) -> "_Asked":
        # Nothing is asked of a model that is not used: the local one would have to be loaded.
        if mode is SearchMode.KEYWORD:
            return _Asked(query, None, 1.0)
        return _Asked(query, await self._embedder.embed_query(query), self._embedder.fluency(query))

    async def _search(self, ref: TurnRef, question: Question, asked: Sequence["_Asked"]) -> list[list[Hit]]:
        """Search for all queries in the same state of the documents: no passage is put together of two versions."""
        several = self._engine.execution_options(isolation_level="REPEATABLE READ")
        async with (several if len(asked) > 1 else self._engine).connect() as connection:
            return [
                await search(
                    connection,
                    ref.owner_id,
                    ref.bot_id,
                    each.query,
                    each.vector,
                    embedding_model=self._embedder.model,
                    mode=question.configuration.retrieval.mode,
                    limit=_CANDIDATES,
                    fluency=each.fluency,
                    within=question.within,
                )
                for each in asked
            ]

    async def _store(self, ref: TurnRef, found: "_Found") -> Retrieved:
        """Store what was found, and give it; or give what another attempt has announced, as the answer rests on that."""
        async with transaction(self._engine) as connection:
            if found.rerank:
                is_mine = await turns.store_candidates(connection, ref, found.passages)
            else:
                retrieved = announcement(found.passages, found.relevance, unknown=found.unknown)
                is_mine = await turns.announce_passages(connection, ref, found.passages, retrieved)
            return found.told if is_mine else await _told(connection, ref) or found.told


async def _told(connection: AsyncConnection, ref: TurnRef) -> Retrieved | None:
    """Give what was announced, if anything was."""
    told = await turn_events.data_of(connection, ref.turn_id, EventType.RETRIEVED)
    if told is None:
        return None
    passages = await turn_passages.read(connection, ref.turn_id)
    return Retrieved(passages=len(passages), unknown=told.get("unknown", False))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query, and how the embedding model reads it."""

    query: str
    vector: Vectors | None
    fluency: float


@dataclass(frozen=True, slots=True)
class _Found:
    """What the model will be given, or why it will not be asked."""

    passages: list[Passage]
    relevance: float
    unknown: bool = False
    rerank: bool = False

    @property
    def told(self) -> Retrieved:
        """What the workflow is told of it."""
        if self.rerank:
            return Retrieved(passages=len(self.passages), rerank=True, relevance=self.relevance)
        return Retrieved(passages=len(self.passages), unknown=self.unknown)


def announcement(passages: Sequence[Passage], relevance: float, *, unknown: bool) -> dict[str, Any]:
    """Give what `turn.retrieved` tells."""
    return {"citations": [announced(passage) for passage in passages], "relevance": relevance, "unknown": unknown}


def announced(passage: Passage) -> dict[str, Any]:
    """Give a passage as `turn.retrieved` shows it."""
    quote = opening(passage.content)
    return {
        "marker": passage.marker,
        "document_id": str(passage.document_id),
        "document_name": passage.document_name,
        "chunk_id": str(passage.chunk_id),
        "page": passage.page,
        "quote": quote,
        "score": passage.score,
        "char_start": passage.char_start,
        "char_end": None if passage.char_start is None else passage.char_start + len(quote),
    }


def opening(content: str) -> str:
    """Give the first sentences of a passage, as far as they fit into a line or two."""
    spans = sentence_spans(content)
    if not spans:
        return ""
    start, end = spans[0]
    for _, later in spans[1:]:
        if later - start > _QUOTE_CHARACTERS:
            break
        end = later
    return content[start : min(end, start + _QUOTE_CHARACTERS)]
