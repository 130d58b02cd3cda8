"""What ingestion leaves and takes besides time: events of history, and memory of the worker's process tree."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from temporalio.client import Client

from adapters.temporal.client import data_converter
from bench.corpus import pdf
from bench.ingestion import durable
from bench.report import Row
from bench.rig import Rig

_SAMPLE_SECONDS = 0.05
_EVENTS, _PEAK_BYTES = 40, 300_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process tree: proportional sizes count a page that processes share once, resident ones each time.

    Where the system has no proportional sizes, both are the resident ones.
    """

    proportional: int
    resident: int


async def measure(rig: Rig, *, pages: int = 2000) -> list[Row]:
    """Give the rows of history and memory."""
    with TemporaryDirectory() as folder:
        document = Path(folder) / "document.pdf"
        document.write_bytes(pdf(300, seed=1))
        await durable(rig, [document])
        events = await _events(rig)
        worker = rig.stack.started()["worker"]
        idle = _memory(worker)
        document.write_bytes(pdf(pages, seed=2))
        peak = await _peak_of(worker, asyncio.ensure_future(durable(rig, [document])))
    return [
        Row("history of a 300-page document", f"{events} events", target=f"≤ {_EVENTS} events", met=events <= _EVENTS),
        Row(
            f"worker tree's peak memory, {pages:,}-page PDF", _megabytes(peak.proportional),
            f"idle {_megabytes(idle.proportional)}; resident sizes add up to {_megabytes(peak.resident)}",
            target=f"≤ {_megabytes(_PEAK_BYTES)}", met=peak.proportional <= _PEAK_BYTES,
        ),
    ]  # fmt: skip


async def _events(rig: Rig) -> int:
    address = f"127.0.0.1:{rig.stack.settings['CHATSPHERE_TEMPORAL_PORT']}"
    client = await Client.connect(address, data_converter=data_converter())
    runs = [run async for run in client.list_workflows("WorkflowType = 'IngestDocument'")]
    assert len(runs) == 1
    handle = client.get_workflow_handle(runs[0].id, run_id=runs[0].run_id)
    return int((await handle.describe()).history_length)


async def _peak_of(worker: psutil.Process, ingesting: "asyncio.Future[float]") -> Memory:
    samples = []
    while not ingesting.done():
        samples.append(await asyncio.to_thread(_memory, worker))
        await asyncio.wait([ingesting], timeout=_SAMPLE_SECONDS)
    await ingesting
    return Memory(max(one.proportional for one in samples), max(one.resident for one in samples))


def _memory(worker: psutil.Process) -> Memory:
    proportional = resident = 0
    for process in [worker, *worker.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            memory = process.memory_full_info()
            proportional += getattr(memory, "pss", memory.rss)
            resident += memory.rss
    return Memory(proportional, resident)


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:.0f} MB"
