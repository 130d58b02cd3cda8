"""The rolling summary of a conversation: what the window of history leaves out, told shortly."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.fallback import ShortTexts
from activities.heartbeat import heartbeats
from adapters.postgres import history, summaries, turns
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Question
from domain import steps
from domain.errors import ProviderMalformed
from domain.ids import MessageId
from domain.ports import Completion, CompletionRequest, Generator
from domain.steps import Summarized, TurnRef
from domain.storing import storable
from domain.summaries import HistoryPlan, readable, summary_request, tidy_summary

_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class _Order:
    """What the model is asked, and what its answer stands for."""

    question: Question
    request: CompletionRequest
    plan: HistoryPlan

    @property
    def until(self) -> MessageId:
        return self.plan.unsummarized[-1].id


class Summaries:
    """Makes the summary that a turn needs; one that is stored is not made again, in whatever branch it is needed."""

    def __init__(self, engine: AsyncEngine, generator: Generator, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._texts = ShortTexts(generator, steps.SUMMARIZE_HISTORY.policy, now)

    @activity.defn(name=steps.SUMMARIZE_HISTORY.name)
    async def summarize_history(self, ref: TurnRef) -> Summarized:
        """Take what the window leaves out into the summary, and let the turn go on with that and the rest."""
        async with heartbeats():
            order = await patiently(lambda: self._order(ref), within=_PATIENCE)
            if order is None:
                return Summarized()
            completion = await self._texts.complete(order.question, order.request)
            text = tidy_summary(storable(completion.text))
            if not text:
                raise ProviderMalformed("The model gave an empty summary. The answer goes on without it.")
            await patiently(lambda: self._store(ref, order, text, completion), within=_PATIENCE)
            return Summarized(messages=len(order.plan.unsummarized))

    async def _order(self, ref: TurnRef) -> _Order | None:
        """Ask again what is to be summarised: None where an earlier attempt has stored it."""
        async with transaction(self._engine) as connection:
            question = await turns.question(connection, ref)
            summary, plan = await history.plan(connection, ref, question, completes=True)
            if not plan.unsummarized:
                return None
            former = await summaries.read(connection, summary)
            messages = await history.contents(connection, readable(plan.unsummarized))
        boundary = secrets.token_hex(8)
        request = summary_request(former, messages, boundary=boundary, model=question.model)
        return _Order(question, request, plan)

    async def _store(self, ref: TurnRef, order: _Order, text: str, completion: Completion) -> None:
        async with transaction(self._engine) as connection:
            await turns.lock_running(connection, ref)
            await summaries.add(connection, order.until, text, completion)
            await history.choose(connection, ref, order.question, order.plan.rest, order.until)
