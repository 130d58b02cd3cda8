"""Requests that make something once: told from others by their key, or by the attempts that their client numbers."""

from typing import Annotated, TypeVar

from fastapi import Depends
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from api.idempotency import OnceDep
from api.openai.attempts import AttemptDep, There
from domain.ids import UserId

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Creation:
    """One request that makes something. `content` stands for a body that was streamed away, in both methods."""

    def __init__(self, once: OnceDep, attempt: AttemptDep) -> None:
        self._once = once
        self._attempt = attempt

    async def claim(self, connection: AsyncConnection, owner: UserId, there: There, *, content: bytes = b"") -> None:
        """Raise `Replay` where this was answered before; without a key, while what was made is there."""
        if self._once.key is not None:
            await self._once.claim(connection, owner, content=content)
        else:
            await self._attempt.recall(connection, owner, there, content=content)

    async def keep(
        self, connection: AsyncConnection, owner: UserId, status: int, answer: AnswerT, *, content: bytes = b""
    ) -> AnswerT:
        """Store the answer, and give it back. Raises `Replay` where a twin of the same key was faster."""
        if self._once.key is not None:
            return await self._once.keep(connection, owner, status, answer)
        await self._attempt.leave_answer(connection, owner, status, answer, content=content)
        return answer


CreationDep = Annotated[Creation, Depends()]
