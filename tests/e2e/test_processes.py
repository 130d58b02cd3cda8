"""The two programs of a deployment: what they log leads from a request to its run, and they end as they are told."""

import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.person import Person
from tests.processes import Deployment, Process, deployment

TEXT = "The heliotrope drawer opens with key 7919."


@pytest_asyncio.fixture(scope="module")
async def deployed() -> AsyncIterator[Deployment]:
    async with deployment() as deployed:
        yield deployed


async def work(deployed: Deployment) -> tuple[str, str]:
    """Let API and worker do their main job once; answers the id of the upload's request and the document's."""
    async with (await deployed.an_api()).client() as client:
        person = await Person.arrives(client)
        files = {"file": ("note.txt", TEXT.encode(), "text/plain")}
        response = await client.post(f"/bots/{person.bot}/documents", files=files)
        document = str(response.json()["id"])
        await person.ready(document)
        conversation = await person.conversation()
        await person.post(f"/conversations/{conversation}/messages", json={"content": "Which key opens the drawer?"})
    return response.headers["X-Request-ID"], document


def logged(process: Process, event: str, **fields: object) -> dict[str, Any]:
    """The one line with this event and these fields; every line is JSON."""
    lines = [json.loads(line) for line in process.lines]
    (found,) = [line for line in lines if line["event"] == event and fields.items() <= line.items()]
    return dict(found)


async def test_logs_lead_from_a_request_to_its_run_and_on_to_its_steps(deployed: Deployment) -> None:
    api, worker = await deployed.an_api(), await deployed.a_worker()
    request, document = await work(deployed)

    assert logged(api, "request", request_id=request)["route"] == "/api/v1/bots/{bot_id}/documents"
    started = logged(api, "run_started", request_id=request)
    assert started["workflow_id"] == f"ingest/{document}"
    published = logged(worker, "published", workflow_id=started["workflow_id"], run_id=started["run_id"])
    assert (published["document_id"], published["service"]) == (document, "worker")
    assert not [line for line in api.lines + worker.lines if "heliotrope" in line or "note.txt" in line]


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_worker_and_api_that_have_worked_end_in_order(deployed: Deployment, told: signal.Signals) -> None:
    api, worker = await deployed.an_api(), await deployed.a_worker()
    await work(deployed)

    assert await worker.stop(told) == 0
    # Uvicorn closes the application, and then ends as the signal has it: by SIGTERM itself.
    assert await api.stop(told) == (-told if told is signal.SIGTERM else 0)
    assert logged(api, "Application shutdown complete.")
    assert not [line for line in api.lines + worker.lines if "Traceback" in line or "Fatal" in line]
