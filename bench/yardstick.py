"""What an empty workflow costs here: the unit to read the other absolute times by."""

import time

from temporalio.client import Client
from temporalio.worker import Worker

from adapters.temporal.client import data_converter
from bench.report import Row, median
from bench.rig import Rig
from bench.yardstick_runs import Empty, FourSteps, nothing
from workflows.sandbox import workflow_runner

_QUEUE = "yardstick"


async def measure(rig: Rig, *, rounds: int = 30) -> list[Row]:
    """Give the rows that say how fast the machine is, beside what the targets were measured on."""
    address = f"127.0.0.1:{rig.stack.settings['CHATSPHERE_TEMPORAL_PORT']}"
    client = await Client.connect(address, data_converter=data_converter())
    async with Worker(
        client, task_queue=_QUEUE, workflows=[Empty, FourSteps], activities=[nothing], workflow_runner=workflow_runner()
    ):
        empty = [await _timed(client, "Empty", number) for number in range(rounds)]
        four = [await _timed(client, "FourSteps", number) for number in range(rounds)]
    return [
        Row("yardstick: empty workflow, start to result", _ms(empty), "where the targets are from: 13 to 19 ms"),
        Row("yardstick: workflow of four empty activities", _ms(four), "where the targets are from: 59 to 61 ms"),
    ]


async def _timed(client: Client, workflow: str, number: int) -> float:
    started = time.perf_counter()
    await client.execute_workflow(workflow, id=f"yardstick/{workflow}/{number}", task_queue=_QUEUE)
    return time.perf_counter() - started


def _ms(seconds: list[float]) -> str:
    return f"{1000 * median(seconds[3:]):.0f} ms"
