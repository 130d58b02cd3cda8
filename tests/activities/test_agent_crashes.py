"""A worker that dies at any write of an agent's turn: the next attempt leaves what one run leaves."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities import agent, conversation, document_search, tool_calls
from adapters.postgres.deltas import Deltas
from tests.activities.agent_steps import an_agents_turn, ask, call, calls_of, model, search
from tests.activities.test_turn_crashes import CrashingAt
from tests.activities.turn_steps import answer_of, events_of, persist, turn_of

WARRANTY = "The warranty lasts two years."
ANSWER = "The warranty lasts two years [1]."


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
async def test_a_crash_at_any_write_of_an_agents_turn_leaves_one_whole_answer(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    crashed, at = True, 0
    while crashed:
        at += 1
        ref = await an_agents_turn(engine, [WARRANTY])
        asking, answering = model([call("search_documents", query="warranty")]), model([ANSWER])
        steps: list[Callable[[], Awaitable[object]]] = [
            partial(ask, engine, ref, asking),
            partial(search, engine, ref),
            partial(ask, engine, ref, answering, 1),
            partial(persist, engine, ref),
        ]
        with monkeypatch.context() as patch:
            crashing = CrashingAt(at, committed=committed)
            for module in (agent, conversation, document_search, tool_calls):
                patch.setattr(module, "transaction", crashing.transaction)
            patch.setattr(Deltas, "append", crashing.alone(Deltas.append))
            crashed = await crashing.run(steps)
        for step in steps:  # as another worker does: from the step that was not completed
            await step()

        kinds = [kind for kind, _ in await events_of(engine, ref)]
        once = ("tool.started", "turn.retrieved", "tool.completed", "message.completed")
        assert [kinds.count(kind) for kind in once] == [1, 1, 1, 1], f"crash at write {at}: {kinds}"
        answer = await answer_of(engine, ref)
        assert (answer.content, answer.status) == (ANSWER, "complete"), f"crash at write {at}"
        assert [citation["quote"] for citation in answer.citations] == [WARRANTY]
        assert (answer.input_tokens, answer.output_tokens) == (22, 14), f"crash at write {at}"
        (row,) = await calls_of(engine, ref)
        assert (row.status, row.markers) == ("complete", [1])
        assert (await turn_of(engine, ref)).status == "complete"
        assert len(asking.requests) + len(answering.requests) <= 3
    assert at > 8
