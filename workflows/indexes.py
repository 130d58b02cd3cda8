"""Indexing a large bot: vectors beside all writes, then keywords; or dropping what a bot has grown too small for."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.indexes import IndexState
    from domain.steps import (
        BUILD_VECTOR_INDEX,
        CLOSE_INDEX,
        DROP_INDEX,
        INDEX_KEYWORDS,
        PLAN_INDEX,
        CloseIndex,
        IndexPlanned,
        IndexRef,
    )
    from workflows.step import failure_of, run_step, run_to_end, stop_if_cancelled


@workflow.defn(name=runs.INDEX_BOT)
class IndexBot:
    """One run over a bot's index. Searches use it when the run has closed it as valid, and do without until then."""

    @workflow.run
    async def run(self, ref: IndexRef) -> IndexPlanned:
        """Do what is to be done, and write the end down, whatever it is."""
        plan = await run_step(PLAN_INDEX, ref)
        if plan.drop:
            workflow.set_current_details(f"**Dropping the index:** {plan.chunks} chunks are scanned faster without.")
            await run_step(DROP_INDEX, ref)
            workflow.set_current_details(f"**Dropped:** {plan.chunks} chunks are scanned faster without.")
            return plan
        stopped: BaseException | None = None
        end = CloseIndex(ref=ref, state=IndexState.VALID)
        try:
            await self._build(ref, plan)
        except (asyncio.CancelledError, FailureError) as error:
            if workflow.cancellation_reason() is not None:
                end = CloseIndex(ref=ref, state=IndexState.CANCELLED)
            elif isinstance(error, FailureError):
                code, message = failure_of(error)
                end = CloseIndex(ref=ref, state=IndexState.FAILED, code=code, message=message)
            else:
                raise  # the worker evicts the run from its cache
            stopped = error
        await run_to_end(CLOSE_INDEX, end)
        workflow.set_current_details(_summary(end, plan))
        if stopped is not None:
            raise stopped
        return plan

    async def _build(self, ref: IndexRef, plan: IndexPlanned) -> None:
        if plan.build_vectors:
            workflow.set_current_details(f"**Building the vector index** over {plan.chunks} chunks.")
            await run_step(BUILD_VECTOR_INDEX, ref)
            stop_if_cancelled()
        if plan.index_keywords:
            workflow.set_current_details(f"**Writing postings** of {plan.chunks} chunks.")
            await run_step(INDEX_KEYWORDS, ref)
            stop_if_cancelled()


def _summary(end: CloseIndex, plan: IndexPlanned) -> str:
    if end.state is IndexState.FAILED:
        return (
            f"### The index was not built (`{end.code}`)\n\n{end.message}\n\n"
            "**What to do:** nothing at once; searches scan the bot's chunks, slower and as right. It is tried again "
            "within the hour."
        )
    return f"**{end.state.capitalize()}:** {plan.chunks} chunks."
