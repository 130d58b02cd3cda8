"""A provider's stream, beside those of others in the same process."""

import asyncio
from contextlib import ExitStack
from datetime import timedelta
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.answer_stream import AnswerStream
from activities.delta_writer import DeltaWriter
from adapters.postgres.deltas import Deltas
from adapters.postgres.turns import Claim
from domain.ids import TurnId
from domain.ports import AnswerRequest
from tests.activities.turn_steps import running
from tests.fakes import ScriptedGenerator

PIECES = [f"word{number} " for number in range(200)]
SECOND = timedelta(seconds=1)


async def test_a_stream_that_is_behind_leaves_others_their_turn_between_two_pieces(engine: AsyncEngine) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(others())
    writer = DeltaWriter(Deltas(engine), TurnId(uuid4()), Claim(1, 0), patience=SECOND)
    await AnswerStream(ScriptedGenerator(PIECES), silence=60 * SECOND).write(AnswerRequest("Why?", []), writer)
    beside.cancel()
    assert writer.text == "".join(PIECES)
    assert turns >= len(PIECES)


async def test_an_answer_is_counted_from_its_first_piece_to_its_end(engine: AsyncEngine) -> None:
    (ref,) = await running(engine, 1)
    deltas = Deltas(engine)
    with ExitStack() as others:
        for _ in range(99):
            others.enter_context(deltas.writing())
        alone = deltas.window
        async with DeltaWriter(deltas, ref.turn_id, Claim(1, 1), patience=SECOND) as writer:
            await asyncio.sleep(0)
            assert deltas.window == alone
            writer.write("a")
            for _ in range(5):
                await asyncio.sleep(0)
            assert deltas.window > alone
        assert deltas.window == alone
