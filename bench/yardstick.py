"""What an empty workflow costs here: the unit to read the other absolute times by."""

import asyncio
import itertools
import time

from temporalio.client import Client
from temporalio.worker import Worker

from adapters.temporal.client import data_converter
from bench.report import Row, median
from bench.rig import Rig
from bench.yardstick_runs import Empty, FourSteps, TurnSteps, nothing
from workflows.sandbox import workflow_runner

_QUEUE = "yardstick"


async def measure(rig: Rig, *, rounds: int = 30, seconds: float = 8.0) -> list[Row]:
    """Give the rows that say how fast the machine is, beside what the targets were measured on."""
    address = f"127.0.0.1:{rig.stack.settings['CHATSPHERE_TEMPORAL_PORT']}"
    client = await Client.connect(address, data_converter=data_converter())
    async with Worker(
        client,
        task_queue=_QUEUE,
        workflows=[Empty, FourSteps, TurnSteps],
        activities=[nothing],
        workflow_runner=workflow_runner(),
    ):
        empty = [await _timed(client, "Empty", number) for number in range(rounds)]
        four = [await _timed(client, "FourSteps", number) for number in range(rounds)]
        turn = [await _timed(client, "TurnSteps", number) for number in range(rounds)]
        rate = await _saturate(client, "TurnSteps", seconds)
    return [
        Row("yardstick: empty workflow, start to result", _ms(empty), "where the targets are from: 13 to 19 ms"),
        Row("yardstick: workflow of four empty activities", _ms(four), "where the targets are from: 59 to 61 ms"),
        Row("yardstick: a turn's steps with nothing in them", _ms(turn), "a whole turn is to add 45 ms"),
        Row("yardstick: the same, 24 at once", f"{rate:.0f}/s", "whole turns are to be 40/s"),
    ]


async def _timed(client: Client, workflow: str, number: int) -> float:
    started = time.perf_counter()
    await client.execute_workflow(workflow, id=f"yardstick/{workflow}/{number}", task_queue=_QUEUE)
    return time.perf_counter() - started


async def _saturate(client: Client, workflow: str, seconds: float) -> float:
    """Count the runs that end in a second, where each of 24 is followed by another at once."""
    started, numbers = time.perf_counter(), itertools.count(1_000)

    async def run_on_and_on() -> int:
        runs = 0
        while time.perf_counter() < started + seconds:
            await _timed(client, workflow, next(numbers))
            runs += 1
        return runs

    return sum(await asyncio.gather(*(run_on_and_on() for _ in range(24)))) / (time.perf_counter() - started)


def _ms(seconds: list[float]) -> str:
    return f"{1000 * median(seconds[3:]):.0f} ms"
