"""What OpenAI's own client sends again by itself, recognised without a key.

Where a connection breaks or the client's patience ends, it sends the same body again, with no `Idempotency-Key` but with
the number of the attempt in a header. The first attempt leaves its turn under the request's fingerprint; a later one
that finds that turn open, or ended a moment ago, is answered by it. What makes something else leaves its answer.
"""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import now
from adapters.postgres import idempotency, turn_requests
from api.idempotency import Once, body_of, line_of, secret_of
from domain.errors import NotFound
from domain.ids import TurnId, UserId

_NUMBER = "x-stainless-retry-count"

# The client pauses for 8 s at most before an attempt, and may need another one to get through.
_MOMENT = timedelta(seconds=30)

There = Callable[[UUID], Awaitable[object]]
"""Makes sure that what a request made is still there, by its id. Raises `NotFound`."""


class Attempt:
    """One of a client's attempts at the same request; without a number it is told from no other."""

    def __init__(self, number: int | None, request: bytes, secret: bytes) -> None:
        self._number = number
        self._request = request
        self._secret = secret
        self._print = hashlib.sha256(request).digest()
        self._name = hashlib.sha256(b"attempt\0" + request).digest()  # no key of a client's has a NUL

    async def turn_of(self, connection: AsyncConnection, owner: UserId, *, open_only: bool) -> TurnId | None:
        """Give the turn that an earlier attempt began. With `open_only` one that has ended is another request's."""
        if not self._number:
            return None
        turn = await idempotency.bound_turn(connection, str(owner), self._name)
        if turn is None:
            return None
        try:
            view = await turn_requests.read(connection, owner, turn)
        except NotFound:
            return None
        ended = view.row.finished_at
        recent = not view.final or (not open_only and ended is not None and ended > now() - _MOMENT)
        return turn if recent else None

    async def leave(self, connection: AsyncConnection, owner: UserId, turn: TurnId) -> None:
        """Leave the turn for attempts to come. Last in the transaction: others of the same words wait for its end."""
        if self._number is not None:
            await idempotency.bind_turn(connection, str(owner), self._name, self._print, turn)

    async def recall(self, connection: AsyncConnection, owner: UserId, there: There, *, content: bytes) -> None:
        """Raise `Replay` where an earlier attempt was answered a moment ago, and what it made is still there.

        `content` is as in `Once.claim`.
        """
        if not self._number:
            return
        replay = await self._answers(content).recall(connection, owner, since=now() - _MOMENT)
        if replay is None:
            return
        try:
            await there(replay.made)
        except NotFound:
            return
        raise replay

    async def leave_answer(
        self, connection: AsyncConnection, owner: UserId, status: int, answer: BaseModel, *, content: bytes
    ) -> None:
        """Leave the answer for attempts to come. Last in the transaction."""
        if self._number is not None:
            await self._answers(content).leave(connection, owner, status, answer)

    def _answers(self, content: bytes) -> Once:
        name = hashlib.sha256(b"answer\0" + self._request + content).hexdigest()
        return Once(f"attempt\0{name}", b"", self._secret)  # no key of a client's has a NUL


async def _attempt(request: Request) -> Attempt:
    given = request.headers.get(_NUMBER, "")
    number = int(given) if given.isascii() and given.isdigit() and len(given) < 5 else None
    body = b"" if number is None else await body_of(request)
    return Attempt(number, line_of(request) + body, secret_of(request))


AttemptDep = Annotated[Attempt, Depends(_attempt)]
