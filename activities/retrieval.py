"""Finding the passages that a turn's answer rests on."""

from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.heartbeat import heartbeats
from adapters.postgres import turn_events, turns
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from adapters.postgres.search import search
from adapters.postgres.turns import Question
from domain import steps
from domain.conversation import EventType
from domain.ports import Embedder
from domain.prompts import PASSAGE_BUDGET
from domain.retrieval import Hit, Passage, SearchMode, pick_passages, relevant
from domain.sentences import sentence_spans
from domain.steps import Retrieved, TurnRef

_CANDIDATES = 50
# Within one attempt of 10 s; five attempts bridge a restart of the database.
_PATIENCE = timedelta(seconds=8)
_QUOTE_CHARACTERS = 240


class Retrieval:
    """Embeds the question and searches the bot's documents; done once, however often it is tried."""

    def __init__(self, engine: AsyncEngine, embedder: Embedder) -> None:
        self._engine = engine
        self._embedder = embedder

    @activity.defn(name=steps.RETRIEVE.name)
    async def retrieve(self, ref: TurnRef) -> Retrieved:
        """Store the passages and announce them. An attempt that finds them stored pays for nothing."""
        async with heartbeats():
            stored = await patiently(lambda: self._stored(ref), within=_PATIENCE)
            if stored is not None:
                return stored
            question = await patiently(lambda: self._question(ref), within=_PATIENCE)
            hits = await self._search(ref, question)
            wanted = question.configuration.retrieval
            passages = pick_passages(
                relevant(hits, min_score=wanted.min_score), top_k=wanted.top_k, budget=PASSAGE_BUDGET
            )
            await patiently(lambda: self._store(ref, passages), within=_PATIENCE)
            return Retrieved(passages=len(passages))

    async def _stored(self, ref: TurnRef) -> Retrieved | None:
        async with self._engine.connect() as connection:
            if not await turn_events.has_event(connection, ref.turn_id, EventType.RETRIEVED):
                return None
            return Retrieved(passages=len(await turns.passages(connection, ref.turn_id)))

    async def _question(self, ref: TurnRef) -> Question:
        async with self._engine.connect() as connection:
            return await turns.question(connection, ref)

    async def _search(self, ref: TurnRef, question: Question) -> list[Hit]:
        mode = question.configuration.retrieval.mode
        vector = None if mode is SearchMode.KEYWORD else await self._embedder.embed_query(question.content)
        # Nothing is asked of a model that is not used: the local one would have to be loaded.
        fluency = 1.0 if vector is None else self._embedder.fluency(question.content)

        async def find() -> list[Hit]:
            async with self._engine.connect() as connection:
                return await search(
                    connection,
                    ref.owner_id,
                    ref.bot_id,
                    question.content,
                    vector,
                    embedding_model=self._embedder.model,
                    mode=mode,
                    limit=_CANDIDATES,
                    fluency=fluency,
                )

        return await patiently(find, within=_PATIENCE)

    async def _store(self, ref: TurnRef, passages: list[Passage]) -> None:
        retrieved = {"citations": [_announced(passage) for passage in passages]}
        async with transaction(self._engine) as connection:
            await turns.store_passages(connection, ref, passages, retrieved)


def _announced(passage: Passage) -> dict[str, Any]:
    return {
        "marker": passage.marker,
        "document_id": str(passage.document_id),
        "document_name": passage.document_name,
        "chunk_id": str(passage.chunk_id),
        "page": passage.page,
        "quote": opening(passage.content),
        "score": passage.score,
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
