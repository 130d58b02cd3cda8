"""Turns that were begun by an earlier version of the workflow go on under this one."""

from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from adapters.temporal.client import data_converter
from domain.runs import ANSWER_TURN
from domain.steps import GENERATE, RETRIEVE, TurnRef
from tests.replay.record_turns import HISTORIES, STORIES
from workflows.sandbox import workflow_runner
from workflows.step import run_step
from workflows.turn import AnswerTurn


def history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text())


def replayer(definition: type) -> Replayer:
    return Replayer(workflows=[definition], workflow_runner=workflow_runner(), data_converter=data_converter())


def test_every_story_was_recorded() -> None:
    assert {path.stem for path in HISTORIES.glob("turn*.json")} >= set(STORIES)


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("turn*.json")), ids=lambda path: path.stem)
async def test_a_recorded_turn_replays(path: Path) -> None:
    await replayer(AnswerTurn).replay_workflow(history(path))


@workflow.defn(name=ANSWER_TURN, sandboxed=False)
class GeneratesBeforeItRetrieves:
    """A change that nobody patched."""

    @workflow.run
    async def run(self, ref: TurnRef) -> None:
        await run_step(GENERATE, ref)
        await run_step(RETRIEVE, ref)


async def test_a_reordered_command_is_caught() -> None:
    with pytest.raises(NondeterminismError):
        await replayer(GeneratesBeforeItRetrieves).replay_workflow(history(HISTORIES / "turn.json"))
