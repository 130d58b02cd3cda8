"""Waiting a database out: what passes is tried again, what was refused is not."""

from datetime import timedelta

import asyncpg
import pytest

from adapters.postgres.patience import patiently


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ConnectionResetError(),
    ],
)
async def test_a_connection_that_broke_is_tried_again(error: Exception) -> None:
    errors = [error]

    async def operation() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await patiently(operation, within=timedelta(seconds=5)) == "done"


async def test_what_the_database_refuses_is_not_tried_again() -> None:
    calls = 0

    async def operation() -> None:
        nonlocal calls
        calls += 1
        raise asyncpg.UniqueViolationError("taken")

    with pytest.raises(asyncpg.UniqueViolationError):
        await patiently(operation, within=timedelta(seconds=5))
    assert calls == 1
