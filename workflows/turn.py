"""Answering one message: load history, retrieve, generate, persist."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows.step import failure_of, run_step, run_to_end

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.conversation import TurnOutcome
    from domain.steps import GENERATE, LOAD_HISTORY, PERSIST, RETRIEVE, Persisted, PersistTurn, TurnRef


@workflow.defn(name=runs.ANSWER_TURN)
class AnswerTurn:
    """One turn of a conversation. A failed and a stopped answer are recorded ends, not failures of the run."""

    @workflow.run
    async def run(self, ref: TurnRef) -> Persisted:
        """Answer, and store what came of it, whatever came of it."""
        return await run_to_end(PERSIST, await self._answer(ref))

    async def _answer(self, ref: TurnRef) -> PersistTurn:
        try:
            await run_step(LOAD_HISTORY, ref)
            if not self._stopped():
                await run_step(RETRIEVE, ref)
            if not self._stopped():
                await run_step(GENERATE, ref)
                return PersistTurn(ref=ref, outcome=TurnOutcome.COMPLETE)
        except asyncio.CancelledError:
            if not self._stopped():
                raise  # the worker evicts the run from its cache
        except FailureError as error:  # of a local step it comes bare, of another wrapped in an ActivityError
            if not self._stopped():
                code, message = failure_of(error)
                return PersistTurn(ref=ref, outcome=TurnOutcome.FAILED, code=code, message=message)
        return PersistTurn(ref=ref, outcome=TurnOutcome.PARTIAL)

    def _stopped(self) -> bool:
        # A step that was cancelled and succeeded all the same does not raise: the request is asked for itself.
        return workflow.cancellation_reason() is not None
