"""The steps of a turn that ask no model: choose the history, say that nothing is known, store the answer."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.writer import this_writer
from adapters.postgres import conversations, history, turn_ends, turns
from adapters.postgres.deltas import Delta, append_one
from adapters.postgres.engine import transaction
from adapters.postgres.turns import Claim, Question
from domain import steps
from domain.bots import AgentType, BotConfiguration
from domain.conversation import Origin, TitleBy, TurnOutcome
from domain.messages import Failure
from domain.prompts import NOTHING_FOUND
from domain.steps import AgentBounds, Done, LoadedHistory, Persisted, PersistTurn, TurnRef
from domain.titles import title_from


class Conversation:
    """Begins, declines and ends a turn, each in one transaction that may run twice."""

    def __init__(
        self, engine: AsyncEngine, now: Callable[[], datetime], completes: Callable[[str | None], bool]
    ) -> None:
        """`completes` tells whether a bot's model writes summaries, titles and queries."""
        self._engine = engine
        self._now = now
        self._completes = completes

    @activity.defn(name=steps.LOAD_HISTORY.name)
    async def load_history(self, ref: TurnRef) -> LoadedHistory:
        """Take the turn up, and remember which earlier messages the prompt will hold."""
        async with transaction(self._engine) as connection:
            await turns.begin(connection, ref, run_id=activity.info().workflow_run_id or "")
            question = await turns.question(connection, ref)
            summary, plan = await history.plan(connection, ref, question, completes=self._summarizes(question))
            await history.choose(connection, ref, question, plan.window, summary)
            title = await self._titled(connection, ref, question)
        agent = _bounds(question.configuration)
        return LoadedHistory(
            messages=len(plan.window),
            tokens=sum(said.tokens for said in plan.window),
            summarize=bool(plan.unsummarized),
            title=title and agent is not None,
            answers_titled=title and agent is None,
            searches_understood=self._understands(question, follows=bool(plan.window)),
            agent=agent,
        )

    def _summarizes(self, question: Question) -> bool:
        """Tell whether a summary can be made that is of use again; a conversation that its client holds has one turn."""
        return self._completes(question.model) and question.origin is not Origin.CHAT_COMPLETIONS

    def _understands(self, question: Question, *, follows: bool) -> bool:
        """Tell whether a model is to say what to search for: where the question follows others, or in several ways."""
        wanted = question.configuration.retrieval
        is_wanted = (follows and wanted.condense) or wanted.queries > 1
        is_agent = question.configuration.agent_type is AgentType.REACT  # which chooses its own words
        return is_wanted and not is_agent and self._completes(question.model)

    async def _titled(self, connection: AsyncConnection, ref: TurnRef, question: Question) -> bool:
        """Name an untitled conversation by its question; tell whether a model is to find a better name."""
        if question.origin is not Origin.API:
            return False
        if question.title_by is None:
            await conversations.title_by_question(connection, ref.conversation_id, title_from(question.content))
            return self._completes(question.model)
        # As well on a second attempt of this step, which finds the title that the first one gave.
        is_first = question.title_by is TitleBy.QUESTION and question.position == 1
        return is_first and self._completes(question.model)

    @activity.defn(name=steps.DECLINE.name)
    async def decline(self, ref: TurnRef) -> Done:
        """Write the bot's own words for not knowing as the answer. No model is asked, and nothing is used."""
        async with transaction(self._engine) as connection:
            question = await turns.question(connection, ref)
            claim = await turns.claim(connection, ref, this_writer())
            if isinstance(claim, Claim):
                text = question.configuration.unknown_answer.strip() or NOTHING_FOUND
                await append_one(connection, Delta(ref.turn_id, claim, claim.last_sequence, text))
                await turns.store_draft(connection, ref, claim, text)
        return Done()

    @activity.defn(name=steps.PERSIST.name)
    async def persist(self, end: PersistTurn) -> Persisted:
        """Store the answer with the citations that hold, close the turn and tell its readers."""
        failure = None
        if end.outcome is TurnOutcome.FAILED:
            failure = Failure(code=end.code or "internal", message=end.message or "The answer failed. Ask again.")
        async with transaction(self._engine) as connection:
            answer = await turn_ends.finish(connection, end.ref.turn_id, end.outcome, failure, now=self._now())
        return Persisted() if answer is None else Persisted(message_id=answer.id, citations=len(answer.citations))


def _bounds(configuration: BotConfiguration) -> AgentBounds | None:
    if configuration.agent_type is not AgentType.REACT:
        return None
    return AgentBounds(**configuration.agent.model_dump())
