"""Admitting an owner's documents, a few at once: whoever ends lets the next one in.

A document that waits has no run, so that ten thousand of them cost Temporal nothing. Who accepts one
starts it where there is room; `begin_ingestion` decides, under the owner's lock; who ends starts the
next. A start that a crash swallowed is made up for by the sweeper.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.service import RPCError

from adapters.postgres import admission
from adapters.postgres.admission import Waiting
from domain.documents import IngestionRef
from domain.ids import IngestionId, UserId

log = structlog.get_logger(__name__)

_AT_ONCE = 32  # what is over is let in when the next one ends
_REMEMBERED = 1000


class Admission:
    """Lets at most `cap` of an owner's documents be worked on; None lets all."""

    def __init__(self, engine: AsyncEngine, call: Callable[[Waiting], Awaitable[bool]], *, cap: int | None) -> None:
        """`call` starts a document's run, or wakes the one that waits (`adapters.temporal.runs.call_ingestion`)."""
        # One statement, one round trip: it is read beside every document that ends.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._call = call
        self.cap = cap
        self._called: set[tuple[IngestionId, int]] = set()

    async def may_begin(self, ref: IngestionRef) -> bool:
        """Tell whether there is room just now. Raises what the database does."""
        if self.cap is None:
            return True
        async with self._engine.connect() as connection:
            return await admission.may_begin(connection, ref, cap=self.cap)

    async def let_in(self, owner: UserId) -> None:
        """Start those for whom there is room, as well as it goes: whoever ended has ended, whatever comes of this.

        Read after the commit that made the room. Who comes to the line meanwhile looks again after its own.
        """
        if self.cap is None:
            return
        try:
            async with self._engine.connect() as connection:
                found = await admission.next_in_line(connection, owner, cap=self.cap, limit=_AT_ONCE)
            await asyncio.gather(*(self._let_in(waiting) for waiting in found))
        except (SQLAlchemyError, OSError, RPCError, RuntimeError) as error:
            log.warning("admission_left_to_sweeper", error=type(error).__name__)

    async def _let_in(self, waiting: Waiting) -> None:
        """Call it once: one that was called and has not begun yet is on its way, and looks for itself."""
        call = (waiting.ref.ingestion_id, waiting.ref.epoch)
        if waiting.run_id is None and call in self._called:
            return
        await self._call(waiting)
        if len(self._called) >= _REMEMBERED:
            self._called.clear()
        self._called.add(call)
