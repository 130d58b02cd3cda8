"""The paths of `IngestDocument`."""

from uuid import UUID

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from adapters.temporal.runs import start_ingestion
from domain import runs
from domain.documents import IngestionRef
from domain.errors import DomainError, ExtractionCrashed, ProviderAuth
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.steps import Closed
from tests.replay.runs import await_end, histories_of
from tests.workflows.ingestion_runs import FakeSteps, Stall, decide, workers


def _ref(number: int, version: int = 1) -> IngestionRef:
    """The same ids in every recording, so that a new one differs by what changed."""
    return IngestionRef(
        owner_id=UserId(UUID(int=1)),
        bot_id=BotId(UUID(int=2)),
        document_id=DocumentId(UUID(int=number)),
        ingestion_id=IngestionId(UUID(int=number * 100 + version)),
    )


async def _start(client: Client, ref: IngestionRef) -> WorkflowHandle[object, Closed]:
    assert await start_ingestion(client, ref)
    return client.get_workflow_handle(runs.ingestion_run(ref.document_id), result_type=Closed)


async def success(client: Client) -> list[WorkflowHistory]:
    """Three shards: a document of 300 pages at the most."""
    async with workers(client, FakeSteps(shards=3), cached=100):
        return await histories_of(client, await await_end(await _start(client, _ref(10))))


async def retry(client: Client) -> list[WorkflowHistory]:
    fakes = FakeSteps()
    fakes.script["extract"] = [ExtractionCrashed("The extraction process died.")]
    async with workers(client, fakes, cached=100):
        return await histories_of(client, await await_end(await _start(client, _ref(11))))


async def queued(client: Client) -> list[WorkflowHistory]:
    """As many of the owner's documents as may are being worked on, until one of them ends."""
    fakes = FakeSteps(admitted=[False])
    async with workers(client, fakes, cached=100):
        handle = await _start(client, _ref(16))
        await fakes.begun.wait()
        await handle.signal(runs.ADMIT_SIGNAL)
        return await histories_of(client, await await_end(handle))


async def park_retry(client: Client) -> list[WorkflowHistory]:
    return await _parked(client, _ref(12), ["retry"], [ProviderAuth("The key is refused.")])


async def park_abandon(client: Client) -> list[WorkflowHistory]:
    return await _parked(client, _ref(13), ["abandon"], [ProviderAuth("The key is refused.")])


async def _parked(
    client: Client, ref: IngestionRef, decisions: list[str], errors: list[DomainError]
) -> list[WorkflowHistory]:
    fakes = FakeSteps()
    fakes.script["embed 0"] = list(errors)
    async with workers(client, fakes, cached=100):
        handle = await _start(client, ref)
        for decision in decisions:
            await fakes.park_shown.wait()
            assert await decide(handle, decision) == "accepted"
        return await histories_of(client, await await_end(handle))


async def cancel(client: Client) -> list[WorkflowHistory]:
    return await _cancelled(client, _ref(14), None)


async def new_version(client: Client) -> list[WorkflowHistory]:
    """The old version is cancelled while it is embedded; the new one continues under the same id."""
    return await _cancelled(client, _ref(15), _ref(15, version=2))


async def _cancelled(client: Client, ref: IngestionRef, successor: IngestionRef | None) -> list[WorkflowHistory]:
    fakes, stall = FakeSteps(successor=successor), Stall()
    fakes.script["embed 0"] = [stall]
    async with workers(client, fakes, cached=100):
        handle = await _start(client, ref)
        await stall.reached.wait()
        await handle.cancel()
        return await histories_of(client, await await_end(handle))


PATHS = {
    "ingestion_success": success,
    "ingestion_retry": retry,
    "ingestion_queued": queued,
    "ingestion_park_retry": park_retry,
    "ingestion_park_abandon": park_abandon,
    "ingestion_cancel": cancel,
    "ingestion_new_version": new_version,
}
