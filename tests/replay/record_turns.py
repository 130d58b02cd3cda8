"""Record the histories of turns on a real Temporal server: `python -m tests.replay.record_turns`.

Do so when `workflows/turn.py` has changed its commands behind a patch, under a new name: a history
that was recorded stays, for runs of that time may still be open.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from temporalio.client import Client, WorkflowHandle

from domain.errors import SafetyBlocked
from domain.steps import Persisted
from tests.servers import temporal_server
from tests.workflows.turn_runs import FakeSteps, a_turn, stalled, start, workers
from workflows.turn import AnswerTurn

HISTORIES = Path(__file__).parent / "histories"
Run = WorkflowHandle[AnswerTurn, Persisted]


async def answered(client: Client) -> Run:
    """A turn without trouble."""
    return await _ran(client, FakeSteps())


async def failed_generation(client: Client) -> Run:
    """A turn whose answer the provider declines."""

    async def decline() -> None:
        raise SafetyBlocked("The model declined to answer. Ask in other words.")

    return await _ran(client, FakeSteps(write=decline))


async def stopped(client: Client) -> Run:
    """A turn that its user stops in the middle of the answer."""
    reached = asyncio.Event()

    async def stop(run: Run) -> None:
        await reached.wait()
        await run.cancel()

    return await _ran(client, FakeSteps(write=lambda: stalled(reached)), stop)


async def stopped_retrieval(client: Client) -> Run:
    """A turn that its user stops before the answer has begun."""
    reached = asyncio.Event()

    async def stop(run: Run) -> None:
        await reached.wait()
        await run.cancel()

    return await _ran(client, FakeSteps(find=lambda: stalled(reached)), stop)


async def _ran(client: Client, fakes: FakeSteps, act: Callable[[Run], Awaitable[None]] | None = None) -> Run:
    async with workers(client, fakes, cached=True):
        run = await start(client, a_turn())
        if act is not None:
            await act(run)
        await run.result()
    return run


STORIES = {
    "turn": answered,
    "turn_failed_generation": failed_generation,
    "turn_stopped": stopped,
    "turn_stopped_retrieval": stopped_retrieval,
}


async def record(only_missing: bool = True) -> None:
    """Write a JSON file a story."""
    HISTORIES.mkdir(exist_ok=True)
    async with temporal_server() as server:
        client = await server.client()
        for name, tell in STORIES.items():
            path = HISTORIES / f"{name}.json"
            if not (only_missing and path.exists()):
                path.write_text(_anonymous((await (await tell(client)).fetch_history()).to_json()) + "\n")


def _anonymous(history: str) -> str:
    """Take out which machine and which folder recorded it."""
    history = re.sub(r'("identity": *)"[^"]*"', r'\1"recorder"', history)
    return re.sub(r'("stackTrace": *)"(?:[^"\\]|\\.)*"', r'\1""', history)


if __name__ == "__main__":
    asyncio.run(record())
