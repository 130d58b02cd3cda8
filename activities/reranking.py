"""Putting what was found in order, by one short call of the model."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.fallback import ShortTexts
from activities.heartbeat import heartbeats
from activities.retrieval import announcement
from adapters.postgres import turn_events, turn_passages, turns, understanding
from adapters.postgres.engine import reading, transaction
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Question
from domain import steps
from domain.conversation import EventType
from domain.errors import ProviderError
from domain.ports import Completion, CompletionRequest, Generator
from domain.prompts import PASSAGE_BUDGET
from domain.reranking import read_order, reranked, reranking_request
from domain.retrieval import Passage
from domain.steps import Reranked, RerankPassages, TurnRef

_PATIENCE = timedelta(seconds=8)
_SLOW = timedelta(seconds=10)  # someone waits: the passages then stay in the order in which they were found

log = structlog.get_logger(__name__)


class Reranking:
    """Orders a turn's candidates and announces those that stay. Where the model fails, the order of the search holds."""

    def __init__(self, engine: AsyncEngine, generator: Generator, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._texts = ShortTexts(generator, steps.RERANK.policy, now)

    @activity.defn(name=steps.RERANK.name)
    async def rerank(self, given: RerankPassages) -> Reranked:
        """Store the passages in their order. An attempt that finds them announced pays for nothing."""
        async with heartbeats():
            ref = given.ref
            question, candidates, told = await patiently(lambda: self._read(ref), within=_PATIENCE)
            if told:
                return Reranked(passages=len(candidates))
            completion = await self._complete(question, _request(question, candidates))
            order = None if completion is None else read_order(completion.text, len(candidates))
            if completion is not None and order is None:
                log.warning("passages_not_reranked", turn_id=str(ref.turn_id), code="provider_malformed")
            top_k = question.configuration.retrieval.top_k
            chosen = reranked(candidates, order or (), top_k=top_k, budget=PASSAGE_BUDGET)
            await patiently(lambda: self._store(given, chosen, completion), within=_PATIENCE)
            return Reranked(passages=len(chosen))

    async def _read(self, ref: TurnRef) -> tuple[Question, list[Passage], bool]:
        async with reading(self._engine) as connection:
            question = await turns.question(connection, ref)
            told = await turn_events.has_event(connection, ref.turn_id, EventType.RETRIEVED)
            return question, await turn_passages.read(connection, ref.turn_id), told

    async def _complete(self, question: Question, request: CompletionRequest) -> Completion | None:
        try:
            async with asyncio.timeout(_SLOW.total_seconds()):
                return await self._texts.complete(question, request, tried_again=False)
        except ProviderError as error:
            log.warning("passages_not_reranked", code=error.code)
        except TimeoutError:
            log.warning("passages_not_reranked", code="provider_timeout")
        return None

    async def _store(self, given: RerankPassages, chosen: list[Passage], completion: Completion | None) -> None:
        async with transaction(self._engine) as connection:
            stored = await turns.announce_passages(
                connection, given.ref, chosen, announcement(chosen, given.relevance, unknown=False)
            )
            if stored and completion is not None:
                await understanding.count(connection, given.ref, steps.RERANK.name, completion)


def _request(question: Question, candidates: list[Passage]) -> CompletionRequest:
    asked = question.queries[0] if question.queries else question.content
    return reranking_request(asked, candidates, boundary=secrets.token_hex(8), model=question.model)
