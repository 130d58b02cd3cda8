"""What ingestion and turns leave and take besides time: events of history, and memory of the worker's process tree."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import psutil
from temporalio.client import Client

from adapters.temporal.client import data_converter
from bench.corpus import pdf, questions
from bench.ingestion import durable
from bench.report import Row
from bench.rig import Rig
from bench.turns import conversation_of, take_turn
from domain import runs
from domain.ids import ConversationId, DocumentId

_SAMPLE_SECONDS = 0.05
_EVENTS, _TURN_EVENTS, _PEAK_BYTES = 40, 20, 300_000_000
_ANSWER = "The contract names a delivery, a warranty and a period [1]."
_TOKENS = 200
_PACE = 0.01  # seconds between two of them: they reach the client in many batches


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
        histories = await _histories(rig)
        worker = rig.stack.started()["worker"]
        idle = _memory(worker)
        document.write_bytes(pdf(pages, seed=2))
        peak = await _peak_of(worker, asyncio.ensure_future(durable(rig, [document])))
    return [
        *histories,
        Row(
            f"worker tree's peak memory, {pages:,}-page PDF", _megabytes(peak.proportional),
            f"idle {_megabytes(idle.proportional)}; resident sizes add up to {_megabytes(peak.resident)}",
            target=f"≤ {_megabytes(_PEAK_BYTES)}", met=peak.proportional <= _PEAK_BYTES,
        ),
    ]  # fmt: skip


async def _histories(rig: Rig) -> list[Row]:
    """Count the events of the one document that there is, and of turns that take different steps."""
    document = UUID(str(await rig.database.fetchval("select id from documents")))
    await rig.answer_with(_ANSWER)
    named, talk, untitled, streamed = [await conversation_of(rig, title=title) for title in ("A", "B", None, "C")]
    asked = questions()
    await take_turn(rig, talk, next(asked))
    for conversation in (named, untitled, talk):
        await take_turn(rig, conversation, next(asked))
    await rig.answer_with("token " * _TOKENS)
    await rig.pace(pace=_PACE)
    await take_turn(rig, streamed, next(asked))
    await rig.pace(pace=0.0)
    turn = "history of a turn"
    return [
        await _history(rig, "history of a 300-page document", runs.ingestion_run(DocumentId(document)), _EVENTS),
        *[
            await _history(rig, name, runs.turn_run(ConversationId(UUID(conversation))), _TURN_EVENTS)
            for name, conversation in (
                (turn, named),
                (f"{turn} that names its conversation", untitled),
                (f"{turn} that follows another, condensed", talk),
                (f"{turn} of {_TOKENS} streamed tokens", streamed),
            )
        ],
    ]


async def _history(rig: Rig, name: str, run: str, most: int) -> Row:
    """Count the events of a name's last run, as it is when it has ended."""
    address = f"127.0.0.1:{rig.stack.settings['CHATSPHERE_TEMPORAL_PORT']}"
    handle = (await Client.connect(address, data_converter=data_converter())).get_workflow_handle(run)
    await handle.result()
    events = int((await handle.describe()).history_length)
    return Row(name, f"{events} events", target=f"≤ {most} events", met=events <= most)


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
