"""The shared budget on the real Postgres, with a clock of the test's own, and against a provider that has a quota."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.models.budget import Purpose, SharedBudget
from adapters.models.budgeted import budgeted
from adapters.models.providers import Models, open_models
from adapters.postgres import budgets
from adapters.postgres.budgets import Key
from adapters.postgres.engine import open_engine, transaction
from adapters.settings import Settings
from domain.budget import MINUTE, Budget, Limits
from domain.errors import ProviderError, ProviderRateLimited
from domain.ports import AnswerRequest, CompletionRequest, Finished
from tests.gemini_double import GeminiDouble, rate_limited, running_double

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Key("gemini", "embedder")


class Clock:
    """Stands still until somebody sleeps; who sleeps longest is woken last."""

    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []
        self.asleep = asyncio.Event()
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken = asyncio.Event()
        self._sleepers.append((self.time + timedelta(seconds=seconds), woken))
        self.asleep.set()
        await woken.wait()

    def wake_next(self) -> None:
        if self._sleepers:
            self._sleepers.sort(key=lambda sleeper: sleeper[0])
            until, woken = self._sleepers.pop(0)
            self.time = max(self.time, until)
            woken.set()

    async def run(self, *calls: asyncio.Task[None]) -> None:
        """Let time pass whenever everybody sleeps."""
        while any(not call.done() for call in calls):
            await asyncio.wait(calls, timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
            self.wake_next()
        await asyncio.gather(*calls)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def engines(engine: AsyncEngine, database_url: str) -> AsyncIterator[list[AsyncEngine]]:
    """Those of two workers."""
    other = open_engine(database_url)
    yield [engine, other]
    await other.dispose()


def a_budget(engine: AsyncEngine, clock: Clock, patience: timedelta = MINUTE * 60, **limits: float) -> SharedBudget:
    configured = {Purpose.EMBEDDING: Limits(**limits)}
    return SharedBudget(engine, "gemini", configured, clock.now, sleep=clock.sleep, patience=patience)


async def test_two_workers_together_never_exceed_the_limit_in_any_minute(
    engines: list[AsyncEngine], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[datetime] = []
    take = budgets.take

    async def recorded(*arguments: Any, now: datetime, **named: Any) -> Budget | None:
        taken = await take(*arguments, now=now, **named)
        went.extend([now] if taken else [])
        return taken

    async def calls(budget: SharedBudget, count: int, *, urgent: bool) -> None:
        for _ in range(count):
            async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=urgent):
                pass

    monkeypatch.setattr(budgets, "take", recorded)

    workers = [a_budget(engine, clock, requests=30) for engine in engines]
    tasks = [asyncio.create_task(calls(worker, 12, urgent=urgent)) for worker in workers for urgent in (True, False)]
    await clock.run(*tasks)
    assert len(went) == 48
    went.sort()
    for number, first in enumerate(went):
        assert sum(then < first + MINUTE for then in went[number:]) <= 30


async def test_a_share_is_taken_by_one_of_many_who_ask_at_once(engines: list[AsyncEngine], clock: Clock) -> None:
    async with transaction(engines[0]) as connection:
        await budgets.note(connection, KEY, requests=0, tokens=0, now=START)
    workers = [a_budget(engine, clock, patience=timedelta(seconds=0.5), requests=100) for engine in engines]

    async def call(budget: SharedBudget) -> bool:
        try:
            async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=True):
                return True
        except ProviderRateLimited:
            return False

    went = await asyncio.gather(*(call(workers[number % 2]) for number in range(14)))
    assert sum(went) == 10  # the burst of a limit of 100


async def test_chat_goes_although_ingestion_stands_in_line(engines: list[AsyncEngine], clock: Clock) -> None:
    worker = a_budget(engines[0], clock, requests=20)
    other = a_budget(engines[1], clock, patience=timedelta(seconds=0.5), requests=20)

    async def ingest() -> None:
        for _ in range(4):
            async with worker.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
                pass

    lines = [asyncio.create_task(ingest()) for _ in range(6)]
    for _ in range(5):
        await clock.asleep.wait()  # the first in line; time stands still from here on
        clock.asleep.clear()
        async with other.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=True):
            pass
        with pytest.raises(ProviderRateLimited) as caught:
            async with other.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=True):
                raise AssertionError("called")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after <= MINUTE / 19
        clock.wake_next()
    await clock.run(*lines)


async def test_who_would_wait_long_is_told_when_to_come_back(engine: AsyncEngine, clock: Clock) -> None:
    budget = a_budget(engine, clock, patience=timedelta(seconds=5), requests=6)
    async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
        pass
    with pytest.raises(ProviderRateLimited, match="budget of calls for this minute is used up") as caught:
        async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
            raise AssertionError("called")
    assert caught.value.retry_after == MINUTE / 5
    assert caught.value.retryable
    assert clock.slept == []


async def test_a_line_that_is_long_turns_away_and_spreads_whom_it_turns_away(engine: AsyncEngine, clock: Clock) -> None:
    budget = a_budget(engine, clock, requests=20)

    async def call() -> None:
        async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
            pass

    await call()
    waiting = [asyncio.create_task(call()) for _ in range(8)]
    await clock.asleep.wait()
    with pytest.raises(ProviderRateLimited) as caught:
        await call()
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= MINUTE / 19 * 8
    await clock.run(*waiting)


async def test_a_refusal_lowers_the_budget_and_pauses_all_workers(engines: list[AsyncEngine], clock: Clock) -> None:
    first, second = (a_budget(engine, clock, patience=timedelta(seconds=5)) for engine in engines)
    for _ in range(20):
        async with first.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
            pass
    with pytest.raises(ProviderRateLimited):
        async with first.share("gemini/embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
            raise ProviderRateLimited("Slow down.", retry_after=timedelta(seconds=21))
    for urgent in (False, True):
        with pytest.raises(ProviderRateLimited, match="asked all calls to pause") as caught:
            async with second.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=urgent):
                raise AssertionError("called")
        assert caught.value.retry_after == timedelta(seconds=21)
    async with transaction(engines[0]) as connection:
        (_, seen), *_ = await budgets.recent(connection, now=clock.now(), within=MINUTE, limit=10)
    assert seen.adapted.requests == pytest.approx(14)


async def test_other_failures_teach_the_budget_nothing(engine: AsyncEngine, clock: Clock) -> None:
    budget = a_budget(engine, clock)
    with pytest.raises(ProviderError):
        async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
            raise ProviderError("It failed.")
    async with transaction(engine) as connection:
        (_, seen), *_ = await budgets.recent(connection, now=clock.now(), within=MINUTE, limit=10)
    assert (seen.adapted, seen.paused_until, seen.lowered_at) == (Limits(), None, None)


async def test_without_a_limit_calls_cost_one_statement_a_second(
    engine: AsyncEngine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[int] = []
    note = budgets.note

    async def counted(*arguments: Any, requests: int, **named: Any) -> Budget:
        noted.append(requests)
        return await note(*arguments, requests=requests, **named)

    monkeypatch.setattr(budgets, "note", counted)
    budget = a_budget(engine, clock)
    for _ in range(3):
        for _ in range(100):
            async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
                pass
        clock.time += timedelta(seconds=1)
    assert noted == [0, 100, 100]


async def test_what_a_call_really_took_is_made_up_for_by_the_next(engine: AsyncEngine, clock: Clock) -> None:
    budget = a_budget(engine, clock, tokens=60_000)
    async with budget.share("embedder", Purpose.EMBEDDING, tokens=100, urgent=False) as usage:
        usage.tokens = 9_000
    clock.time += timedelta(seconds=1)
    async with budget.share("embedder", Purpose.EMBEDDING, tokens=100, urgent=False):
        pass
    async with transaction(engine) as connection:
        (_, seen), *_ = await budgets.recent(connection, now=clock.now(), within=MINUTE, limit=10)
    assert seen.tokens_free_at is not None
    assert (seen.tokens_free_at - clock.time).total_seconds() == pytest.approx(10, abs=0.01)


async def test_a_database_that_is_away_does_not_stop_calls_that_need_no_share(database_url: str, clock: Clock) -> None:
    engine = open_engine(database_url)
    budget = a_budget(engine, clock)
    async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
        pass
    clock.time += timedelta(seconds=2)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE provider_budgets RENAME TO away"))
    async with budget.share("embedder", Purpose.EMBEDDING, tokens=10, urgent=False):
        pass
    await engine.dispose()


# Against the double, over HTTP: a minute of the budget's is a second of the provider's.

FASTER = 60.0


class FastClock:
    """Sixty times as fast as the machine's."""

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time() * FASTER)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / FASTER)


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        double.quota_seconds = 60 / FASTER
        yield double


@pytest_asyncio.fixture
async def models(double: GeminiDouble) -> AsyncIterator[Models]:
    settings = Settings(provider="gemini", gemini_api_key=SecretStr("test-key"), gemini_base_url=double.url)
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(open_models(settings))


@pytest.mark.parametrize("told", [True, False], ids=["with RetryInfo", "without RetryInfo"])
async def test_a_provider_with_a_quota_nobody_configured_refuses_few_calls_and_gets_all(
    engines: list[AsyncEngine], double: GeminiDouble, models: Models, told: bool
) -> None:
    double.quota, double.quota_told, double.canned = 40, told, True
    clock, calls, served = FastClock(), iter(range(100)), 0

    async def worker(engine: AsyncEngine) -> None:
        """What Temporal does: try again when the error says."""
        nonlocal served
        for _ in calls:
            while True:
                try:
                    async with shared[engine].share("embedder", Purpose.EMBEDDING, tokens=4, urgent=False):
                        await models.embedder.embed_documents(["a text"])
                    break
                except ProviderRateLimited as error:
                    await clock.sleep((error.retry_after or timedelta(seconds=1)).total_seconds())
            served += 1

    shared = {engine: SharedBudget(engine, "gemini", {}, clock.now, sleep=clock.sleep) for engine in engines}
    async with asyncio.timeout(60):
        await asyncio.gather(*(worker(engine) for engine in engines for _ in range(4)))
    assert served == 100
    assert 1 <= double.refused <= 40


async def test_the_models_that_a_process_opens_take_their_shares(engine: AsyncEngine, double: GeminiDouble) -> None:
    settings = Settings(
        provider="gemini", gemini_api_key=SecretStr("test-key"), gemini_base_url=double.url,
        embedding_requests_per_minute=2, generation_requests_per_minute=2,
    )  # fmt: skip
    clock = Clock()
    async with open_models(settings) as opened:
        models = budgeted(opened, engine, settings, clock.now)
        assert (models.embedder.model, models.embedder.width, models.embedder.batch_size) == (
            opened.embedder.model, 768, 100,
        )  # fmt: skip
        await models.embedder.embed_documents(["a text"])
        with pytest.raises(ProviderRateLimited):
            await models.embedder.embed_documents(["a text"])
        await models.embedder.embed_query("a question")
        with pytest.raises(ProviderRateLimited):
            await models.embedder.embed_query("a question")
        request = AnswerRequest(question="Why?", passages=[])
        events = [event async for event in models.generator.stream(request)]
        assert isinstance(events[-1], Finished)
        assert models.generator.completes
        short = CompletionRequest(system="", content="Why?")
        await models.generator.complete(short)
        with pytest.raises(ProviderRateLimited):
            await models.generator.complete(short)
        double.script("generate", rate_limited("30s"))
        clock.time += MINUTE
        with pytest.raises(ProviderRateLimited) as caught:
            [event async for event in models.generator.stream(request)]
        assert caught.value.retry_after == timedelta(seconds=30)
    assert double.calls == {"embed": 2, "generate": 2, "complete": 1}
    async with transaction(engine) as connection:
        found = {
            key.model: budget
            for key, budget in await budgets.recent(connection, now=clock.now(), within=MINUTE, limit=10)
        }
    assert set(found) == {"gemini-embedding-001", "gemini-2.5-flash"}
    assert found["gemini-2.5-flash"].paused_until == START + MINUTE + timedelta(seconds=30)


async def test_the_local_model_has_no_budget(engine: AsyncEngine) -> None:
    settings = Settings(provider="local")
    async with open_models(settings) as opened:
        assert budgeted(opened, engine, settings, Clock().now) is opened
