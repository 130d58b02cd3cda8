"""Answering one message: load history, retrieve, generate, persist; a summary before, a title beside, where needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from workflows.agent import Approvals, run_agent
from workflows.step import failure_of, run_step, run_to_end, stop_if_cancelled

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.conversation import TurnOutcome
    from domain.steps import (
        DECLINE,
        GENERATE,
        GENERATE_TITLED,
        LOAD_HISTORY,
        PERSIST,
        RERANK,
        RETRIEVE,
        SUMMARIZE_HISTORY,
        TITLE,
        UNDERSTAND_AND_RETRIEVE,
        UNDERSTAND_QUESTION,
        LoadedHistory,
        OutputT,
        Persisted,
        PersistTurn,
        RerankPassages,
        Step,
        TurnRef,
    )
    from domain.titles import TITLE_GRACE


@workflow.defn(name=runs.ANSWER_TURN)
class AnswerTurn:
    """One turn of a conversation. A failed and a stopped answer are recorded ends, not failures of the run."""

    def __init__(self) -> None:
        self._approvals = Approvals()

    @workflow.signal(name=runs.DECIDED_SIGNAL, description="Look what people decided about tool calls.")
    def decided(self) -> None:
        """Wake an agent that waits; what was decided is in its rows."""
        self._approvals.decided += 1

    @workflow.run
    async def run(self, ref: TurnRef) -> Persisted:
        """Answer, and store what came of it, whatever came of it."""
        return await run_to_end(PERSIST, await self._end_of(ref))

    async def _end_of(self, ref: TurnRef) -> PersistTurn:
        try:
            await self._answer(ref)
        except asyncio.CancelledError:
            if not _stopped():
                raise  # the worker evicts the run from its cache
        except FailureError as error:  # of a local step it comes bare, of another wrapped in an ActivityError
            if not _stopped():
                code, message = failure_of(error)
                return PersistTurn(ref=ref, outcome=TurnOutcome.FAILED, code=code, message=message)
        else:
            return PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)
        return PersistTurn(ref=ref, outcome=TurnOutcome.PARTIAL)

    async def _answer(self, ref: TurnRef) -> None:
        """Take the steps in their order; a stop ends them, also one that a step did not hear of."""
        loaded = await run_step(LOAD_HISTORY, ref)
        stop_if_cancelled()
        async with _titled(ref, wanted=loaded.title):
            if loaded.summarize:
                await _run_if_it_can(SUMMARIZE_HISTORY, ref)
            await _write(ref, loaded, self._approvals)


async def _write(ref: TurnRef, loaded: LoadedHistory, approvals: Approvals) -> None:
    if loaded.agent is not None:
        await run_agent(ref, loaded.agent, approvals)
        return
    if loaded.understand:
        await _run_if_it_can(UNDERSTAND_QUESTION, ref)
    found = await run_step(UNDERSTAND_AND_RETRIEVE if loaded.searches_understood else RETRIEVE, ref)
    stop_if_cancelled()
    if found.unknown:
        async with _titled(ref, wanted=loaded.answers_titled):
            await run_step(DECLINE, ref)
        return
    if found.rerank:
        await run_step(RERANK, RerankPassages(ref=ref, relevance=found.relevance))
        stop_if_cancelled()
    await run_step(GENERATE_TITLED if loaded.answers_titled else GENERATE, ref)


@asynccontextmanager
async def _titled(ref: TurnRef, *, wanted: bool) -> AsyncIterator[None]:
    """Let a model name the conversation beside the answer, which does not wait long for it."""
    if not wanted:
        yield
        return
    title = asyncio.create_task(_run_if_it_can(TITLE, ref))
    try:
        yield
        if not title.done():
            await workflow.wait([title], timeout=TITLE_GRACE.total_seconds())
    finally:
        title.cancel()


async def _run_if_it_can(step: Step[TurnRef, OutputT], ref: TurnRef) -> None:
    """Run a step that the answer can do without. A stop ends the turn all the same."""
    try:
        await run_step(step, ref)
    except FailureError as error:
        if not is_cancelled_exception(error):
            code, _ = failure_of(error)
            workflow.logger.warning("step_left_out", extra={"step": step.name, "code": code})
    stop_if_cancelled()


def _stopped() -> bool:
    # A step that was cancelled and succeeded all the same does not raise: the request is asked for itself.
    return workflow.cancellation_reason() is not None
