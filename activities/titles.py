"""A conversation's title by the model, beside its first answer."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.fallback import ShortTexts
from activities.heartbeat import heartbeats
from activities.question import read_question
from adapters.postgres import conversations
from adapters.postgres.engine import transaction
from adapters.postgres.patience import patiently
from domain import steps
from domain.conversation import TitleBy
from domain.errors import DomainError, ProviderError
from domain.ports import Completion, Generator
from domain.steps import Done, TurnRef
from domain.storing import storable
from domain.titles import TITLE_GRACE, tidy_title, title_request

log = structlog.get_logger(__name__)

_PATIENCE = timedelta(seconds=8)


class Titles:
    """Finds a better title than the question's own words; that one stays where no better is found."""

    def __init__(self, engine: AsyncEngine, generator: Generator, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._texts = ShortTexts(generator, steps.TITLE.policy, now)

    @activity.defn(name=steps.TITLE.name)
    async def title(self, ref: TurnRef) -> Done:
        """Name the conversation, unless a person or an earlier attempt has."""
        async with heartbeats():
            await self._name(ref, tried_again=True)
        return Done()

    @asynccontextmanager
    async def beside(self, ref: TurnRef) -> AsyncIterator[None]:
        """Name the conversation meanwhile, and wait for it no longer than a moment. What fails of it is left out.

        Where the answer fails it is waited for as well: the next attempt finds the name that this one has paid for.
        """
        naming = asyncio.create_task(self._name_or_leave(ref))
        try:
            yield
        except asyncio.CancelledError:
            naming.cancel()
            raise
        finally:
            try:
                await asyncio.wait([naming], timeout=TITLE_GRACE.total_seconds())
            finally:  # also where the stop comes while the name is waited for
                naming.cancel()
                await asyncio.wait([naming])

    async def _name_or_leave(self, ref: TurnRef) -> None:
        with structlog.contextvars.bound_contextvars(turn_id=str(ref.turn_id)):
            try:
                await self._name_twice(ref)
            except asyncio.CancelledError:
                log.warning("title_left_out", code="late")
                raise
            except DomainError as error:
                log.warning("title_left_out", code=error.code)
            except Exception:
                log.exception("title_left_out", code="internal")

    async def _name_twice(self, ref: TurnRef) -> None:
        """Try again at once where that may help: nobody comes back to it."""
        try:
            await self._name(ref, tried_again=True)
        except ProviderError as error:
            if not error.retryable:
                raise
            await self._name(ref, tried_again=False)

    async def _name(self, ref: TurnRef, *, tried_again: bool) -> None:
        question = await read_question(self._engine, ref, within=_PATIENCE)
        if question.title_by is not TitleBy.QUESTION:
            return
        request = title_request(question.content, boundary=secrets.token_hex(8), model=question.model)
        completion = await self._texts.complete(question, request, tried_again=tried_again)
        title = tidy_title(storable(completion.text))
        if title is not None:
            await patiently(lambda: self._store(ref, title, completion), within=_PATIENCE)

    async def _store(self, ref: TurnRef, title: str, completion: Completion) -> None:
        async with transaction(self._engine) as connection:
            await conversations.title_by_model(connection, ref, title, completion)
