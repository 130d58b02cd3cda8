"""Calls that are made together: alone at once, under load in one."""

import asyncio
from collections.abc import Sequence

import pytest

from adapters.together import Together


class Calls:
    """Doubles numbers, once it is let; remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.fail = False

    async def __call__(self, asked: Sequence[int]) -> list[int]:
        self.batches.append(list(asked))
        await self.go.wait()
        if self.fail:
            raise OSError("away")
        return [2 * number for number in asked]


async def ask(together: Together[int, int], numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    asking = [asyncio.create_task(together.ask(number)) for number in numbers]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asking


async def test_who_asks_during_a_call_goes_out_with_the_next_and_gets_its_own_answer() -> None:
    calls = Calls()
    together = Together(calls, most=3)
    first = await ask(together, [1])
    others = await ask(together, [2, 3, 4, 5])
    assert calls.batches == [[1]]
    calls.go.set()
    assert await asyncio.gather(*first, *others) == [2, 4, 6, 8, 10]
    assert calls.batches == [[1], [2, 3, 4], [5]]


async def test_a_failure_is_told_to_all_of_its_call_and_to_nobody_else() -> None:
    calls = Calls()
    together = Together(calls, most=10)
    asking = await ask(together, [1, 2])
    calls.fail = True
    calls.go.set()
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [OSError, OSError]
    calls.fail = False
    assert await together.ask(4) == 8


async def test_who_leaves_before_the_call_is_not_asked_for_and_the_others_are() -> None:
    calls = Calls()
    together = Together(calls, most=10)
    first = await ask(together, [1])
    others = await ask(together, [2, 3])
    others[0].cancel()
    first[0].cancel()
    await asyncio.sleep(0)
    calls.go.set()
    assert await others[1] == 6
    assert calls.batches == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await first[0]


async def test_a_call_that_is_broken_off_leaves_nobody_waiting() -> None:
    calls = Calls()
    together = Together(calls, most=10)
    asking = await ask(together, [1])
    assert together._running is not None
    together._running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking[0]
