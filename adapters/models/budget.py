"""The shared budget as one process keeps it: who calls a model asks here first, and tells how it went.

Without limit and pause a call costs no statement: what was called is counted here and told to the
database once a second, which answers whether that still holds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import budgets
from adapters.postgres.budgets import Key
from adapters.postgres.engine import reading, transaction
from domain.budget import Budget, Limits, is_free, limits_of, raise_is_due, raised, refused, share_of, wait_for
from domain.errors import ProviderRateLimited
from domain.providers import LOCAL, split

log = structlog.get_logger(__name__)

_FRESH = timedelta(seconds=1)

# A step holds a slot of its worker while it waits here; who has to wait longer comes back later.
PATIENCE = timedelta(seconds=5)
_LINE = 8

_DATABASE_AWAY = (SQLAlchemyError, OSError, TimeoutError)


class Purpose(StrEnum):
    """What a model is called for; each has limits of its own in the settings."""

    EMBEDDING = "embedding"
    GENERATION = "generation"


@dataclass(slots=True)
class Usage:
    """What a call took; whoever makes it corrects the tokens where the provider tells them."""

    tokens: int


@dataclass(slots=True)
class _Line:
    """Those of one urgency who wait for a share; the first asks for all, the others for their turn."""

    head: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


@dataclass(slots=True)
class _Book:
    """What this process knows of a model's budget, and owes to it."""

    key: Key
    configured: Limits
    budget: Budget = field(default_factory=Budget)
    read_at: datetime | None = None
    requests: int = 0  # called without a share and not told yet
    tokens: int = 0
    overdrawn: int = 0  # tokens that calls took beyond their estimates; the next share makes up for it
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    lines: dict[bool, _Line] = field(default_factory=lambda: {True: _Line(), False: _Line()})


class SharedBudget:
    """The budgets of every model that is called; `provider` has those that name none. Use `share` around each call."""

    def __init__(
        self,
        engine: AsyncEngine,
        provider: str,
        configured: dict[Purpose, Limits],
        now: Callable[[], datetime],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._engine = engine
        self._provider = provider
        self._configured = configured
        self._now = now
        self._sleep = sleep
        self._patience = patience
        self._books: dict[tuple[Key, Purpose], _Book] = {}

    @asynccontextmanager
    async def share(self, model: str, purpose: Purpose, *, tokens: int, urgent: bool) -> AsyncIterator[Usage]:
        """Make one call inside; `tokens` is estimated. Chat and search are `urgent`, ingestion is not.

        Raises `ProviderRateLimited` where the share would have to be waited for too long, with the time
        to come back after. A call that raises it itself lowers the budget and pauses it for all.
        """
        key = Key(*split(model, default=self._provider))
        if key.provider == LOCAL:  # this machine's own, which nobody meters
            yield Usage(tokens)
            return
        book = self._book(key, purpose)
        metered = await self._acquire(book, tokens, urgent=urgent)
        usage = Usage(tokens)
        try:
            yield usage
        except ProviderRateLimited as error:
            await self._refused(book, tokens, error)
            raise
        if metered:
            book.overdrawn += usage.tokens - tokens
        else:
            book.tokens += usage.tokens - tokens
        if raise_is_due(book.budget, now=self._now()):
            await self._raise(book)

    def _book(self, key: Key, purpose: Purpose) -> _Book:
        book = self._books.get((key, purpose))
        if book is None:
            book = self._books[key, purpose] = _Book(key, self._configured.get(purpose, Limits()))
        return book

    async def _acquire(self, book: _Book, tokens: int, *, urgent: bool) -> bool:
        """Answer whether a share was taken, or there was no need of one."""
        if is_free(book.budget, book.configured, now=self._now()):
            await self._look(book)
        if not is_free(book.budget, book.configured, now=self._now()):
            await self._queue(book, tokens, urgent=urgent)
            return True
        book.requests += 1
        book.tokens += tokens
        return False

    async def _look(self, book: _Book) -> None:
        """Tell what was called, and see what holds, unless that was done a moment ago."""
        if book.read_at is not None and self._now() - book.read_at < _FRESH:
            return
        async with book.reading:
            now = self._now()
            if book.read_at is not None and now - book.read_at < _FRESH:
                return
            requests, tokens = book.requests, book.tokens
            try:
                async with reading(self._engine) as connection:  # one statement, which commits by itself
                    budget = await budgets.note(connection, book.key, requests=requests, tokens=tokens, now=now)
            except _DATABASE_AWAY as error:
                # What held a moment ago holds on: a step that can go on without the database does.
                if book.read_at is None:
                    raise
                log.warning("budget_not_read", reason=type(error).__name__)
                budget, requests, tokens = book.budget, 0, 0
            book.budget, book.read_at = budget, now
            book.requests -= requests
            book.tokens -= tokens

    async def _queue(self, book: _Book, tokens: int, *, urgent: bool) -> None:
        line = book.lines[urgent]
        share = share_of(limits_of(book.budget, book.configured), tokens=tokens, urgent=urgent)
        ahead = wait_for(book.budget, share, now=self._now()) + share.request_cost * line.length
        if line.length >= _LINE:
            raise _come_back(book, ahead, now=self._now())
        line.length += 1
        until = self._now() + self._patience
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                await line.head.acquire()
        except TimeoutError:
            line.length -= 1
            raise _come_back(book, ahead, now=self._now()) from None
        except BaseException:
            line.length -= 1
            raise
        try:
            await self._wait(book, tokens, urgent=urgent, until=until)
        finally:
            line.length -= 1
            line.head.release()

    async def _wait(self, book: _Book, tokens: int, *, urgent: bool, until: datetime) -> None:
        """Ask until the share is had, sleeping as long as each answer says."""
        while (wait := await self._ask(book, tokens, urgent=urgent)) is not None:
            now = self._now()
            if now + wait > until:
                behind = book.lines[urgent].length - 1
                gap = share_of(limits_of(book.budget, book.configured), tokens=tokens, urgent=urgent).request_cost
                raise _come_back(book, wait + gap * behind, now=now)
            await self._sleep(wait.total_seconds())

    async def _ask(self, book: _Book, tokens: int, *, urgent: bool) -> timedelta | None:
        """Take a share, answering None, or the time until it can be had."""
        now, owed = self._now(), book.overdrawn
        tokens = max(tokens + owed, 0)
        for _ in range(3):  # the limits may have changed since they were read
            share = share_of(limits_of(book.budget, book.configured), tokens=tokens, urgent=urgent)
            async with transaction(self._engine) as connection:
                taken = await budgets.take(
                    connection, book.key, share, adapted=book.budget.adapted, tokens=tokens, now=now
                )
                book.budget = taken or await budgets.hold(connection, book.key, now=now)
            book.read_at = now
            if taken is not None:
                book.overdrawn -= owed
                return None
            share = share_of(limits_of(book.budget, book.configured), tokens=tokens, urgent=urgent)
            wait = wait_for(book.budget, share, now=now)
            if wait > timedelta(0):
                return wait
        return _FRESH

    async def _refused(self, book: _Book, tokens: int, error: ProviderRateLimited) -> None:
        """Lower the budget and pause it; the refusal itself must get through, whatever comes of that."""
        try:
            async with transaction(self._engine) as connection:
                now = self._now()
                requests, called = book.requests, book.tokens
                budget = await budgets.note(connection, book.key, requests=requests, tokens=called, now=now)
                lowered = refused(budget, book.configured, tokens=tokens, retry_after=error.retry_after, now=now)
                await budgets.store(connection, book.key, lowered)
        except _DATABASE_AWAY as lost:
            log.warning("refusal_not_shared", reason=type(lost).__name__)
            return
        book.budget, book.read_at = lowered, now
        book.requests -= requests
        book.tokens -= called
        log.warning(
            "provider_budget_lowered",
            model=book.key.model,
            requests_per_minute=lowered.adapted.requests,
            paused_until=str(lowered.paused_until),
        )

    async def _raise(self, book: _Book) -> None:
        """Raise the limits by a step; a paid answer must get through, whatever comes of that."""
        try:
            async with transaction(self._engine) as connection:
                now = self._now()
                budget = await budgets.hold(connection, book.key, now=now)
                book.budget = raised(budget, book.configured, now=now)
                await budgets.store(connection, book.key, book.budget)
        except _DATABASE_AWAY as lost:
            log.warning("budget_not_raised", reason=type(lost).__name__)


def _come_back(book: _Book, wait: timedelta, *, now: datetime) -> ProviderRateLimited:
    paused = book.budget.paused_until is not None and book.budget.paused_until > now
    why = "The provider asked all calls to pause" if paused else "The budget of calls for this minute is used up"
    return ProviderRateLimited(f"{why} ({book.key.model}). The step goes on by itself.", retry_after=wait)
