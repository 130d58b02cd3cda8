"""The first and the last step of a turn: choose the history, store the answer."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from adapters.postgres import messages, turns
from adapters.postgres.engine import transaction
from domain import steps
from domain.conversation import TurnOutcome, estimate_tokens, history_window
from domain.messages import Failure
from domain.prompts import HISTORY_BUDGET
from domain.steps import LoadedHistory, Persisted, PersistTurn, TurnRef


class Conversation:
    """Begins and ends a turn, each in one transaction that may run twice."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    @activity.defn(name=steps.LOAD_HISTORY.name)
    async def load_history(self, ref: TurnRef) -> LoadedHistory:
        """Take the turn up, and remember which earlier messages the prompt will hold."""
        async with transaction(self._engine) as connection:
            await turns.begin(connection, ref, run_id=activity.info().workflow_run_id or "")
            question = await turns.question(connection, ref)
            limit = question.configuration.history_messages
            earlier = await messages.earlier(
                connection, ref.conversation_id, before=question.position, limit=max(limit, 1)
            )
            window = history_window([message for _, message in earlier], limit=limit, budget=HISTORY_BUDGET)
            await turns.set_history(connection, ref, earlier[-len(window)][0] if window else None)
        return LoadedHistory(messages=len(window), tokens=sum(estimate_tokens(message.content) for message in window))

    @activity.defn(name=steps.PERSIST.name)
    async def persist(self, end: PersistTurn) -> Persisted:
        """Store the answer with the citations that hold, close the turn and tell its readers."""
        failure = None
        if end.outcome is TurnOutcome.FAILED:
            failure = Failure(code=end.code or "internal", message=end.message or "The answer failed. Ask again.")
        async with transaction(self._engine) as connection:
            answer = await turns.finish(connection, end.ref.turn_id, end.outcome, failure, now=self._now())
        return Persisted() if answer is None else Persisted(message_id=answer.id, citations=len(answer.citations))
