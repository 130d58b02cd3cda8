"""A worker that is told to stop while its steps wait for a lock of the database ends; another one goes on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.gates import Gate, Gates
from tests.faults.models import HANDBOOK, Model, answer, asked
from tests.faults.readers import Reader
from tests.gemini_double import GeminiDouble
from tests.person import Person
from tests.processes import Deployment, Worker


@pytest_asyncio.fixture
async def gates(deployed: Deployment) -> AsyncIterator[Gates]:
    gates = Gates(deployed.database_url)
    await gates.build()
    yield gates
    await gates.remove()


@pytest.mark.parametrize("gate", list(Gate))
async def test_a_worker_whose_step_waits_for_a_lock_ends_when_it_is_told_to(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, gates: Gates, gate: Gate
) -> None:
    model, question = Model(), asked(f"come through {gate}")
    double.answering = model
    await person.ready(await person.upload("handbook.txt", HANDBOOK.encode()))
    reader = Reader(person, await person.conversation(), question)
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        await gates.shut(gate)
        group.create_task(reader.ask())
        await gates.reached(gate)
        assert await worker.stop() == 0  # `stop` waits half a minute for an end
        await gates.open()
        await deployed.worker()
    assert reader.events[-1].data["message"]["content"] == answer(question, model.calls[question])
