"""The paths of `AnswerTurn`."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from adapters.temporal.runs import start_turn
from domain import runs
from domain.errors import SafetyBlocked
from domain.ids import BotId, ConversationId, TurnId, UserId
from domain.steps import Persisted, TurnRef
from tests.replay.runs import await_end, histories_of
from tests.workflows.turn_runs import FakeSteps, stalled, workers

Run = WorkflowHandle[object, Persisted]


def _ref(number: int) -> TurnRef:
    """The same ids in every recording, so that a new one differs by what changed."""
    return TurnRef(
        owner_id=UserId(UUID(int=1)),
        bot_id=BotId(UUID(int=2)),
        conversation_id=ConversationId(UUID(int=number)),
        turn_id=TurnId(UUID(int=number * 100)),
    )


async def _played(
    client: Client, number: int, fakes: FakeSteps, act: Callable[[Run], Awaitable[None]] | None = None
) -> list[WorkflowHistory]:
    ref = _ref(number)
    async with workers(client, fakes, cached=True):
        assert await start_turn(client, ref)
        run: Run = client.get_workflow_handle(runs.turn_run(ref.conversation_id), result_type=Persisted)
        if act is not None:
            await act(run)
        return await histories_of(client, await await_end(run))


async def answered(client: Client) -> list[WorkflowHistory]:
    """A turn without trouble."""
    return await _played(client, 30, FakeSteps())


async def failed_generation(client: Client) -> list[WorkflowHistory]:
    """A turn whose answer the provider declines."""

    async def decline() -> None:
        raise SafetyBlocked("The model declined to answer. Ask in other words.")

    return await _played(client, 31, FakeSteps(write=decline))


async def stopped(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops in the middle of the answer."""
    reached = asyncio.Event()

    async def stop(run: Run) -> None:
        await reached.wait()
        await run.cancel()

    return await _played(client, 32, FakeSteps(write=lambda: stalled(reached)), stop)


async def stopped_retrieval(client: Client) -> list[WorkflowHistory]:
    """A turn that its user stops before the answer has begun."""
    reached = asyncio.Event()

    async def stop(run: Run) -> None:
        await reached.wait()
        await run.cancel()

    return await _played(client, 33, FakeSteps(find=lambda: stalled(reached)), stop)


PATHS = {
    "turn": answered,
    "turn_failed_generation": failed_generation,
    "turn_stopped": stopped,
    "turn_stopped_retrieval": stopped_retrieval,
}
