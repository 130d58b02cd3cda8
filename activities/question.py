"""The question of a running turn, for steps that begin with it."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.postgres import turns
from adapters.postgres.engine import reading
from adapters.postgres.patience import patiently
from adapters.postgres.turns import Question
from domain.steps import TurnRef


async def read_question(engine: AsyncEngine, ref: TurnRef, *, within: timedelta) -> Question:
    """Read it, waiting for a database that is away. Raises `TurnClosed`."""

    async def read() -> Question:
        async with reading(engine) as connection:
            return await turns.question(connection, ref)

    return await patiently(read, within=within)
