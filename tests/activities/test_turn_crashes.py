"""A worker that dies at any write of a turn, before or after its commit: the next attempt leaves what one run leaves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities import conversation, generation, retrieval, titles
from adapters.postgres import engine as engine_module
from adapters.postgres import turns
from adapters.postgres.deltas import Deltas
from adapters.postgres.tables import conversations, messages
from domain.prompts import NOTHING_FOUND
from tests.activities.turn_steps import NOW, answer_of, attempt, decline, events_of, load, persist, retrieve, turn_of
from tests.activities.turn_steps import generation as generation_of
from tests.builders import a_bot, a_question, a_ready_document
from tests.fakes import ScriptedGenerator, WordEmbedder

P = ParamSpec("P")
T = TypeVar("T")

WARRANTY = "The warranty lasts two years."
ANSWER = "The warranty lasts two years [1]."


class Crash(Exception):
    """The process died here."""


class CrashingAt:
    """Lets the write number `at` be the last."""

    def __init__(self, at: int, *, committed: bool) -> None:
        self._at = at
        self._committed = committed
        self._seen = 0

    @property
    def reached(self) -> bool:
        return self._seen >= self._at

    @asynccontextmanager
    async def transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        self._seen += 1
        here = self._seen == self._at
        async with engine_module.transaction(engine) as connection:
            yield connection
            if here and not self._committed:
                raise Crash
        if here:
            raise Crash

    def alone(self, write: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Stands before a write that commits by itself."""

        async def crashing(*args: P.args, **kwargs: P.kwargs) -> T:
            self._seen += 1
            here = self._seen == self._at
            if here and not self._committed:
                raise Crash
            written = await write(*args, **kwargs)
            if here:
                raise Crash
            return written

        return crashing

    async def run(self, steps: list[Callable[[], Awaitable[object]]]) -> bool:
        """Take steps off the list as they end, up to the crash; tell whether it came."""
        try:
            while steps:
                await steps[0]()
                del steps[0]
        except Crash:
            assert self.reached
        return self.reached


_ALONE = ((Deltas, "append"), (turns, "claim_first"), (turns, "store_draft"))


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
async def test_a_crash_at_any_write_of_a_turn_leaves_one_whole_answer(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    owner, bot = await a_bot(engine)
    await a_ready_document(engine, owner, bot, [WARRANTY], WordEmbedder(), name="terms.pdf")
    crashed, at = True, 0
    while crashed:
        at += 1
        ref = await a_question(engine, owner, bot, content="How long does the warranty last?")
        generator = ScriptedGenerator([ANSWER])
        steps: list[Callable[[], Awaitable[object]]] = [
            partial(load, engine, ref),
            partial(retrieve, engine, ref),
            partial(attempt, generation_of(engine, generator).generate, ref),
            partial(persist, engine, ref),
        ]
        with monkeypatch.context() as patch:
            crashing = CrashingAt(at, committed=committed)
            for module in (conversation, generation, retrieval):
                patch.setattr(module, "transaction", crashing.transaction)
            for owner_of, write in _ALONE:
                patch.setattr(owner_of, write, crashing.alone(getattr(owner_of, write)))
            crashed = await crashing.run(steps)
        for step in steps:  # as another worker does: from the step that was not completed
            await step()

        told = await events_of(engine, ref)
        kinds = [kind for kind, _ in told]
        assert [kinds.count(kind) for kind in ("turn.started", "turn.retrieved", "message.completed")] == [1, 1, 1], at
        assert kinds[-1] == "message.completed"
        after_reset = len(kinds) - kinds[::-1].index("message.reset") if "message.reset" in kinds else 0
        shown = "".join(data["text"] for kind, data in told[after_reset:] if kind == "message.delta")
        answer = await answer_of(engine, ref)
        assert (answer.content, answer.status, shown) == (ANSWER, "complete", ANSWER), f"crash at write {at}"
        assert [citation["quote"] for citation in answer.citations] == [WARRANTY]
        assert (await turn_of(engine, ref)).status == "complete"
        assert len(generator.requests) <= 2
        async with engine.connect() as connection:
            query = select(func.count()).select_from(messages).where(messages.c.turn_id == ref.turn_id)
            assert await connection.scalar(query) == 2  # the question and one answer
    assert at > 6


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
async def test_a_crash_at_any_write_of_a_turn_that_knows_nothing_leaves_it_said_once(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    owner, bot = await a_bot(engine)
    crashed, at = True, 0
    while crashed:
        at += 1
        ref = await a_question(engine, owner, bot, content="How long does the warranty last?")
        steps: list[Callable[[], Awaitable[object]]] = [
            partial(step, engine, ref) for step in (load, retrieve, decline, persist)
        ]
        with monkeypatch.context() as patch:
            crashing = CrashingAt(at, committed=committed)
            for module in (conversation, retrieval):
                patch.setattr(module, "transaction", crashing.transaction)
            crashed = await crashing.run(steps)
        for step in steps:
            await step()

        told = await events_of(engine, ref)
        assert [kind for kind, _ in told] == ["turn.started", "turn.retrieved", "message.delta", "message.completed"]
        answer = await answer_of(engine, ref)
        assert (answer.content, answer.status, answer.model) == (NOTHING_FOUND, "complete", None), f"write {at}"
        assert told[2][1] == {"text": NOTHING_FOUND}
        assert (await turn_of(engine, ref)).status == "complete"
    assert at == 5


@pytest.mark.parametrize("committed", [True, False], ids=["after its commit", "before its commit"])
async def test_a_crash_at_the_write_of_a_title_leaves_the_one_that_was_stored(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    ref = await a_question(engine, *await a_bot(engine), content="How long does the warranty last?")
    await load(engine, ref, completes=True)
    generator = ScriptedGenerator([ANSWER], completions=["First title", "Second title"])
    step = titles.Titles(engine, generator, lambda: NOW).title
    with monkeypatch.context() as patch:
        patch.setattr(titles, "transaction", CrashingAt(1, committed=committed).transaction)
        with pytest.raises(Crash):
            await attempt(step, ref)
    await attempt(step, ref, number=2)
    async with engine.connect() as connection:
        query = select(conversations.c.title).where(conversations.c.id == ref.conversation_id)
        assert await connection.scalar(query) == ("First title" if committed else "Second title")
    assert len(generator.completed) == (1 if committed else 2)
