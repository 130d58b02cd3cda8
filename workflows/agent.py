"""An agent: the model asks for tools, their steps run, and what they give goes back to it, until it answers."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import (
    ActivityError,
    ChildWorkflowError,
    FailureError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

from workflows.step import failure_of, run_step, stop_if_cancelled

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.steps import (
        CLOSE_CONSULTATION,
        HTTP_REQUEST,
        MCP_CALL,
        MODEL_STEP,
        OPEN_CONSULTATION,
        READ_DECISIONS,
        SEARCH_DOCUMENTS,
        SETTLE_CALL,
        SQL_QUERY,
        AgentBounds,
        CallEnded,
        CallRef,
        ModelStepped,
        ModelStepRef,
        Persisted,
        PlannedCall,
        Queue,
        SettleCall,
        Step,
        TurnRef,
    )
    from domain.tools import CallStatus, ToolType

_OWNER_ID = SearchAttributeKey.for_keyword("OwnerId")
_BOT_ID = SearchAttributeKey.for_keyword("BotId")

_STEPS: dict[ToolType, Step[CallRef, CallEnded]] = {
    ToolType.SEARCH_DOCUMENTS: SEARCH_DOCUMENTS,
    ToolType.SQL_QUERY: SQL_QUERY,
    ToolType.HTTP_REQUEST: HTTP_REQUEST,
    ToolType.MCP: MCP_CALL,
}
_LOOK_AGAIN = timedelta(seconds=5)
_LATE = ("tool_timeout", "The call was stopped, since the agent's time was over.")


class Approvals:
    """What wakes an agent that waits for people: how often something was decided."""

    # Written out: the sandbox makes this class anew for every run, and a dataclass is made by compiling code.
    def __init__(self) -> None:
        self.decided = 0

    def more_than(self, heard: int) -> bool:
        """Tell whether anything was decided since."""
        return self.decided > heard


async def run_agent(ref: TurnRef, bounds: AgentBounds, approvals: Approvals) -> None:
    """Take steps until the model answers. Where a bound is reached it is asked once more, without tools."""
    agent = _Agent(ref, bounds, approvals)
    while not await agent.step():
        stop_if_cancelled()


class _Agent:
    def __init__(self, ref: TurnRef, bounds: AgentBounds, approvals: Approvals) -> None:
        self._approvals = approvals
        self._ref = ref
        self._bounds = bounds
        self._deadline = workflow.now() + timedelta(seconds=bounds.max_seconds)
        self._number = 0
        self._tokens = 0
        self._is_over = False

    async def step(self) -> bool:
        """Ask the model, and run what it asks for; tell whether it has answered."""
        at = ModelStepRef(ref=self._ref, number=self._number, last=self._is_last())
        stepped: ModelStepped = await run_step(MODEL_STEP, at, summary=f"{MODEL_STEP.summary}: step {self._number + 1}")
        stop_if_cancelled()
        self._tokens += stepped.tokens
        self._number += 1
        if not stepped.answered:
            await self._run(at.number, [call for call in stepped.calls if not call.needs_approval])
            await self._run_approved(at, [call for call in stepped.calls if call.needs_approval])
        return stepped.answered

    async def _run_approved(self, at: ModelStepRef, calls: Sequence[PlannedCall]) -> None:
        """Wait until people have decided, for days if it must be; that time is not the agent's."""
        if not calls:
            return
        began = workflow.now()
        while True:
            heard = self._approvals.decided
            decisions = await run_step(READ_DECISIONS, at)
            stop_if_cancelled()
            if not decisions.waiting:
                break
            workflow.set_current_details(
                f"### Waits for {decisions.waiting} approvals\n\n"
                f"`GET /turns/{self._ref.turn_id}` shows what is asked, `POST /turns/{self._ref.turn_id}/approvals/{{n}}` decides."
            )
            await workflow.wait_condition(partial(self._approvals.more_than, heard))
        workflow.set_current_details("")
        self._deadline += workflow.now() - began
        await self._run(at.number, [call for call in calls if call.number in decisions.approved])

    def _is_last(self) -> bool:
        spent = self._tokens >= self._bounds.max_tokens
        return spent or self._number >= self._bounds.max_steps or workflow.now() >= self._deadline

    async def _run(self, step: int, calls: Sequence[PlannedCall]) -> None:
        """Run calls beside each other, as long as there is time; each ends with a result, whatever becomes of it."""
        tasks = [asyncio.create_task(self._call(step, call)) for call in calls]
        try:
            await self._await_until_deadline(tasks)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is not None:  # else the worker evicts the run from its cache
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            raise
        for task in tasks:
            task.result()

    async def _await_until_deadline(self, tasks: list[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        left = max(self._deadline - workflow.now(), timedelta(0))
        _, late = await workflow.wait(tasks, timeout=left.total_seconds())
        self._is_over = bool(late)
        for task in late:
            task.cancel()
        if late:
            await workflow.wait(late)

    async def _call(self, step: int, call: PlannedCall) -> None:
        at = CallRef(ref=self._ref, step=step, number=call.number)
        try:
            await (_consult(at, self._is_to_stop) if call.tool is ToolType.ASK_BOT else _use(_STEPS[call.tool], at))
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            await self._settle(at, *_LATE)
        except (ActivityError, ChildWorkflowError) as error:
            late = is_cancelled_exception(error)
            if late and not self._is_over:
                raise
            await self._settle(at, *(_LATE if late else failure_of(error)))

    def _is_to_stop(self) -> bool:
        return self._is_over or workflow.cancellation_reason() is not None

    async def _settle(self, call: CallRef, code: str, message: str) -> None:
        await run_step(SETTLE_CALL, SettleCall(call=call, code=code, message=message))


async def _use(tool: Step[CallRef, CallEnded], at: CallRef) -> None:
    await run_step(tool, at, summary=f"{tool.summary}: step {at.step + 1}, call {at.number + 1}")


async def _consult(at: CallRef, is_to_stop: Callable[[], bool]) -> None:
    """Let another bot answer in a run of its own, and take its answer.

    A run that is not this one's child is stopped by hand; `is_to_stop` tells a stop from a worker's eviction.
    """
    asked = (await run_step(OPEN_CONSULTATION, at)).turn
    if asked is None:
        return
    with suppress(WorkflowAlreadyStartedError):  # housekeeping was faster, after a crash between question and run
        await workflow.execute_child_workflow(
            runs.ANSWER_TURN,
            asked,
            id=runs.turn_run(asked.conversation_id),
            result_type=Persisted,
            task_queue=Queue.CHAT,
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
            cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            static_summary="Answer another bot",
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(_OWNER_ID, str(asked.owner_id)), SearchAttributePair(_BOT_ID, str(asked.bot_id))]
            ),
        )
    try:
        while (await run_step(CLOSE_CONSULTATION, at)).status is CallStatus.RUNNING:
            await workflow.sleep(_LOOK_AGAIN)
    except (asyncio.CancelledError, ActivityError) as error:
        if is_cancelled_exception(error) and is_to_stop():
            with suppress(FailureError):  # it has ended meanwhile
                await workflow.get_external_workflow_handle(runs.turn_run(asked.conversation_id)).cancel()
        raise
