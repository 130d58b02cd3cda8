"""Running a turn's steps as a worker would, one attempt at a time."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.conversation import Conversation
from activities.generation import Generation
from activities.retrieval import Retrieval
from activities.titles import Titles
from activities.understanding import Understanding
from adapters.postgres.deltas import Deltas
from adapters.postgres.tables import messages, turn_events, turns
from domain.conversation import TurnOutcome
from domain.ids import answer_id
from domain.ports import Embedder, Generator
from domain.steps import Done, LoadedHistory, Persisted, PersistTurn, Retrieved, TurnRef
from tests.builders import a_bot, a_question
from tests.fakes import ScriptedGenerator, WordEmbedder

T = TypeVar("T")
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def environment(*, attempt: int = 1, run: str = "run-1", began: int | None = None) -> ActivityEnvironment:
    """Where an attempt runs that Temporal began so many seconds after the test's now: as many as it is numbered."""
    env = ActivityEnvironment()
    started = NOW + timedelta(seconds=attempt if began is None else began)
    env.info = dataclasses.replace(env.info, attempt=attempt, workflow_run_id=run, started_time=started)
    return env


async def attempt(
    step: Callable[[Any], Awaitable[T]], value: Any, *, number: int = 1, run: str = "run-1", began: int | None = None
) -> T:
    """One attempt of a step."""
    return await environment(attempt=number, run=run, began=began).run(step, value)


async def load(engine: AsyncEngine, ref: TurnRef, *, completes: bool = False) -> LoadedHistory:
    return await attempt(Conversation(engine, lambda: NOW, lambda _: completes).load_history, ref)


async def decline(engine: AsyncEngine, ref: TurnRef, *, number: int = 1, run: str = "run-1") -> Done:
    return await attempt(Conversation(engine, lambda: NOW, lambda _: False).decline, ref, number=number, run=run)


def retrieval(
    engine: AsyncEngine,
    embedder: Embedder | None = None,
    generator: Generator | None = None,
    *,
    completes: bool = False,
) -> Retrieval:
    understanding = Understanding(engine, generator or ScriptedGenerator(["An answer."]), lambda: NOW)
    return Retrieval(engine, embedder or WordEmbedder(), understanding, lambda _: completes)


async def retrieve(engine: AsyncEngine, ref: TurnRef, embedder: Embedder | None = None) -> Retrieved:
    return await attempt(retrieval(engine, embedder).retrieve, ref)


def generation(
    engine: AsyncEngine, generator: Generator | None = None, *, silence: timedelta = timedelta(seconds=20)
) -> Generation:
    generator = generator or ScriptedGenerator(["An answer."])
    titles = Titles(engine, generator, lambda: NOW)
    return Generation(engine, Deltas(engine), generator, lambda: NOW, silence=silence, titles=titles)


async def persist(
    engine: AsyncEngine,
    ref: TurnRef,
    outcome: TurnOutcome = TurnOutcome.COMPLETE,
    code: str | None = None,
    message: str | None = None,
) -> Persisted:
    end = PersistTurn(ref=ref, outcome=outcome, code=code, message=message)
    return await attempt(Conversation(engine, lambda: NOW, lambda _: False).persist, end)


async def answered(engine: AsyncEngine, ref: TurnRef, answer: str) -> None:
    """A whole turn."""
    await load(engine, ref)
    await retrieve(engine, ref)
    await attempt(generation(engine, ScriptedGenerator([answer])).generate, ref)
    await persist(engine, ref)


async def running(engine: AsyncEngine, count: int) -> list[TurnRef]:
    """Turns that an attempt numbered 1 writes, each after its first event."""
    owner, bot = await a_bot(engine)
    refs = [await a_question(engine, owner, bot) for _ in range(count)]
    for ref in refs:
        await load(engine, ref)
    async with engine.begin() as connection:
        await connection.execute(update(turns).where(turns.c.bot_id == bot).values(attempt=1))
    return refs


async def events_of(engine: AsyncEngine, ref: TurnRef) -> list[tuple[str, dict[str, Any]]]:
    query = select(turn_events).where(turn_events.c.turn_id == ref.turn_id).order_by(turn_events.c.sequence)
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    return [(row.type, row.data) for row in rows]


async def turn_of(engine: AsyncEngine, ref: TurnRef) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(select(turns).where(turns.c.id == ref.turn_id))).one_or_none()


async def answer_of(engine: AsyncEngine, ref: TurnRef) -> Any:
    async with engine.connect() as connection:
        query = select(messages).where(messages.c.id == answer_id(ref.turn_id))
        return (await connection.execute(query)).one_or_none()
