"""Golden histories replay, and a workflow whose commands changed says what to do about it."""

import json

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from activities.interceptor import ErrorInterceptor
from adapters.temporal.client import data_converter, ensure_search_attributes
from tests.replay.reordered import ReorderedIngestion
from tests.replay.scenarios import FINGERPRINTS, HISTORIES, fingerprint, paths, recorded, unordered_paths
from tests.servers import TemporalServer
from workflows.registry import WORKFLOWS
from workflows.sandbox import workflow_runner

NAMES = sorted(paths())
CHANGED = """
The commands of the path {name!r} are not the recorded ones any more. Runs that are open while a worker is
deployed replay their history against this code and would be stuck. So:
 1. put the change behind `if workflow.patched("<what-changed>"):` and keep the old branch beneath it,
 2. keep the golden histories as they are and see that `tests/replay` still replays them,
 3. copy them to a new name, run `python -m tests.replay.record {name}`, and commit history and fingerprint.
Only where no run can be open, before a first release, is recording again all there is to do.
"""


def replayer(*workflows: type) -> Replayer:
    return Replayer(
        workflows=list(workflows or WORKFLOWS),
        data_converter=data_converter(),
        interceptors=[ErrorInterceptor()],
        workflow_runner=workflow_runner(),
    )


def histories() -> list[WorkflowHistory]:
    return [WorkflowHistory.from_json(path.stem, path.read_text()) for path in sorted(HISTORIES.glob("*.json"))]


@pytest.mark.parametrize("history", histories(), ids=lambda history: history.workflow_id)
async def test_a_recorded_run_replays(history: WorkflowHistory) -> None:
    await replayer().replay_workflow(history)


@pytest.mark.parametrize("name", [*NAMES, *sorted(unordered_paths())])
def test_every_path_is_recorded(name: str) -> None:
    assert recorded(name), f"Run `python -m tests.replay.record {name}` and commit what it writes."


@pytest.mark.parametrize("name", NAMES)
async def test_a_run_of_today_gives_the_commands_that_are_committed(name: str, dev_server: TemporalServer) -> None:
    client = await dev_server.client()
    await ensure_search_attributes(client)
    today = [fingerprint(history) for history in await paths()[name](client)]
    assert today == json.loads(FINGERPRINTS.read_text())[name], CHANGED.format(name=name)


async def test_reordered_commands_are_caught() -> None:
    (history,) = recorded("ingestion_success")
    with pytest.raises(workflow.NondeterminismError):
        await replayer(ReorderedIngestion).replay_workflow(history)
