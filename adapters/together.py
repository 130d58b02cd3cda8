"""Many askers, one call: what is asked while a call is under way goes out with the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")


class Together(Generic[AskedT, AnswerT]):
    """Gathers calls of one process. Who asks alone waits for nobody; under load one call serves all who wait."""

    def __init__(self, call: Callable[[Sequence[AskedT]], Awaitable[Sequence[AnswerT]]], *, most: int) -> None:
        """`call` answers `most` of them at most, each at its place; where it raises, all who asked hear of it."""
        self._call = call
        self._most = most
        self._waiting: list[tuple[AskedT, asyncio.Future[AnswerT]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, asked: AskedT) -> AnswerT:
        """Ask, and wait for the answer. Who stops waiting does not take back what was asked."""
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="together")
        return await answer

    async def _run(self) -> None:
        batch: list[tuple[AskedT, asyncio.Future[AnswerT]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._serve([(asked, answer) for asked, answer in batch if not answer.done()])
        finally:  # also where the loop is closed in the middle of a call
            self._running = None
            for _, answer in batch:
                answer.cancel()

    async def _serve(self, batch: Sequence[tuple[AskedT, asyncio.Future[AnswerT]]]) -> None:
        found: Sequence[AnswerT | Exception]
        try:
            found = await self._call([asked for asked, _ in batch])
        except Exception as error:  # noqa: BLE001  (told to each who asked, who knows what to make of it)
            found = [error] * len(batch)
        for (_, answer), value in zip(batch, found, strict=True):
            if answer.done():
                continue
            if isinstance(value, Exception):
                answer.set_exception(value)
            else:
                answer.set_result(value)
