"""Making an answer durable piece by piece, while it is still being written."""

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self

from adapters.postgres.deltas import Delta, Deltas
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Claim
from domain.ids import TurnId


class DeltaWriter:
    """Stores what is written inside `async with`; leaving it waits until all is stored.

    The first piece is stored at once, then what gathers in a window (`Deltas.window`).

    Where a piece cannot be stored (`TurnClosed`: another attempt took over) the block is cancelled
    and the reason raised in its place.
    """

    def __init__(self, deltas: Deltas, turn_id: TurnId, claim: Claim, *, patience: timedelta) -> None:
        self._deltas = deltas
        self._turn_id = turn_id
        self._claim = claim
        self._patience = patience
        self._sequence = claim.last_sequence
        self._pieces: list[str] = []
        self._stored = 0  # of `_pieces`
        self._more = asyncio.Event()
        self._ended = asyncio.Event()
        self._group = asyncio.TaskGroup()

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self._pieces)

    def write(self, text: str) -> None:
        """Take the next piece; it is stored within the window."""
        if text:
            self._pieces.append(text)
            self._more.set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._group.create_task(self._run(), name="delta-writer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._more.set()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            # The block and the writer: whichever failed first made the other stop, so there is one reason.
            raise group.exceptions[0] from None

    async def _run(self) -> None:
        await self._more.wait()  # an answer that waits for its first word costs the others nothing
        with self._deltas.writing():
            while not (self._ended.is_set() and self._stored == len(self._pieces)):
                await self._more.wait()
                self._more.clear()
                await self._flush()
                await self._pause()

    async def _flush(self) -> None:
        count = len(self._pieces)
        delta = "".join(self._pieces[self._stored : count])
        if delta:
            piece = Delta(self._turn_id, self._claim, self._sequence, delta)
            self._sequence = await patiently(lambda: self._deltas.append(piece), within=self._patience)
            self._stored = count

    async def _pause(self) -> None:
        """Let the next batch gather, or not: at the end nothing more comes."""
        try:
            async with asyncio.timeout(self._deltas.window.total_seconds()):
                await self._ended.wait()
        except TimeoutError:
            return
