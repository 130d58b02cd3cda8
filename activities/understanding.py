"""Understanding a question before it is searched for, by one short call of the model."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.fallback import ShortTexts
from activities.heartbeat import heartbeats
from adapters.postgres import history, turns, understanding
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from domain import steps
from domain.errors import ProviderError
from domain.ports import Completion, CompletionRequest, Generator
from domain.steps import TurnRef, Understood
from domain.storing import storable
from domain.understanding import read_queries, understanding_request

_PATIENCE = timedelta(seconds=8)
_SLOW = timedelta(seconds=10)  # someone waits: the question is then searched for as it was asked

log = structlog.get_logger(__name__)


class Understanding:
    """Finds what to search for. Where that fails the question is searched for as it was asked: no turn fails of it."""

    def __init__(self, engine: AsyncEngine, generator: Generator, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._texts = ShortTexts(generator, steps.UNDERSTAND_QUESTION.policy, now)

    @activity.defn(name=steps.UNDERSTAND_QUESTION.name)
    async def understand_question(self, ref: TurnRef) -> Understood:
        """Store the queries on the turn. An attempt that finds them stored pays for nothing."""
        async with heartbeats():
            question, request = await patiently(lambda: self._request(ref), within=_PATIENCE)
            if question.queries:
                return Understood(queries=len(question.queries))
            completion = await self._complete(question, request)
            if completion is None:
                return Understood(queries=1)
            wanted = question.configuration.retrieval.queries
            queries = read_queries(storable(completion.text), question=question.content, queries=wanted)
            if queries is None:
                log.warning("question_not_understood", turn_id=str(ref.turn_id), code="provider_malformed")
            found = queries or [question.content]
            await patiently(lambda: self._store(ref, found, completion), within=_PATIENCE)
            return Understood(queries=len(found))

    async def _request(self, ref: TurnRef) -> tuple[turns.Question, CompletionRequest]:
        async with self._engine.connect() as connection:
            question = await turns.question(connection, ref)
            wanted = question.configuration.retrieval
            earlier = await history.read(connection, ref, question) if wanted.condense else []
        boundary = secrets.token_hex(8)
        return question, understanding_request(
            question.content, earlier, queries=wanted.queries, boundary=boundary, model=question.model
        )

    async def _complete(self, question: turns.Question, request: CompletionRequest) -> Completion | None:
        try:
            async with asyncio.timeout(_SLOW.total_seconds()):
                return await self._texts.complete(question, request, tried_again=False)
        except ProviderError as error:
            log.warning("question_not_understood", code=error.code)
        except TimeoutError:
            log.warning("question_not_understood", code="provider_timeout")
        return None

    async def _store(self, ref: TurnRef, queries: list[str], completion: Completion) -> None:
        async with transaction(self._engine) as connection:
            await understanding.store(connection, ref, queries, steps.UNDERSTAND_QUESTION.name, completion)
