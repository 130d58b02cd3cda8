"""Understanding a question before it is searched for, by one short call of the model."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.fallback import ShortTexts
from activities.heartbeat import heartbeats
from activities.question import read_question
from adapters.postgres import history, understanding
from adapters.postgres.engine import reading, transaction
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Question
from domain import steps
from domain.conversation import ChatMessage
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
        """Find what to search for, in runs that have a step of its own for it."""
        async with heartbeats():
            question = await read_question(self._engine, ref, within=_PATIENCE)
            return Understood(queries=len(await self.queries(ref, question)))

    async def queries(self, ref: TurnRef, question: Question) -> Sequence[str]:
        """Give what to search for, and store it on the turn: another attempt neither pays nor waits again."""
        if question.queries:
            return question.queries
        request = await patiently(lambda: self._request(ref, question), within=_PATIENCE)
        completion = await self._complete(question, request)
        found = [question.content]
        if completion is not None:
            wanted = question.configuration.retrieval.queries
            queries = read_queries(storable(completion.text), question=question.content, queries=wanted)
            if queries is None:
                log.warning("question_not_understood", turn_id=str(ref.turn_id), code="provider_malformed")
            found = queries or found
        await patiently(lambda: self._store(ref, found, completion), within=_PATIENCE)
        return found

    async def _request(self, ref: TurnRef, question: Question) -> CompletionRequest:
        wanted = question.configuration.retrieval
        earlier: list[ChatMessage] = []
        if wanted.condense:
            async with reading(self._engine) as connection:
                earlier = await history.read(connection, ref, question)
        boundary = secrets.token_hex(8)
        return understanding_request(
            question.content, earlier, queries=wanted.queries, boundary=boundary, model=question.model
        )

    async def _complete(self, question: Question, request: CompletionRequest) -> Completion | None:
        try:
            async with asyncio.timeout(_SLOW.total_seconds()):
                return await self._texts.complete(question, request, tried_again=False)
        except ProviderError as error:
            log.warning("question_not_understood", code=error.code)
        except TimeoutError:
            log.warning("question_not_understood", code="provider_timeout")
        return None

    async def _store(self, ref: TurnRef, queries: list[str], completion: Completion | None) -> None:
        async with transaction(self._engine) as connection:
            await understanding.store(connection, ref, queries, steps.UNDERSTAND_QUESTION.name, completion)
