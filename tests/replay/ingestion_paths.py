"""The paths of `IngestDocument`."""

from uuid import UUID

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from adapters.temporal.runs import start_ingestion
from domain import runs
from domain.documents import IngestionRef
from domain.errors import DomainError, ExtractionCrashed, NoText, ProviderAuth, ProviderError
from domain.ids import BotId, DocumentId, IngestionId, UserId
from domain.steps import Closed, Extracted
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


async def recognized(client: Client) -> list[WorkflowHistory]:
    """A scan of 45 pages, 20 a step, read by the provider; one step fails once."""
    fakes = FakeSteps(extracted=Extracted(pages=45, characters=0, pages_to_recognize=45, by_provider=True))
    fakes.script["recognize 1"] = [ProviderError("Gemini did not answer in time.")]
    async with workers(client, fakes, cached=100):
        return await histories_of(client, await await_end(await _start(client, _ref(16))))


async def recognized_locally(client: Client) -> list[WorkflowHistory]:
    """A document with a scanned page, parked until there is something to read it with."""
    return await _without_recogniser(client, _ref(17), "retry")


async def text_pages_kept(client: Client) -> list[WorkflowHistory]:
    """The same, going on without that page."""
    return await _without_recogniser(client, _ref(18), "keep_text_pages")


async def _without_recogniser(client: Client, ref: IngestionRef, decision: str) -> list[WorkflowHistory]:
    fakes = FakeSteps(extracted=Extracted(pages=9, characters=12_000, pages_to_recognize=1))
    fakes.script["recognize locally 0"] = [NoText("1 page of 9 (page 3) has no text.")]
    async with workers(client, fakes, cached=100):
        handle = await _start(client, ref)
        await fakes.park_shown.wait()
        assert await decide(handle, decision) == "accepted"
        return await histories_of(client, await await_end(handle))


PATHS = {
    "ingestion_success": success,
    "ingestion_retry": retry,
    "ingestion_queued": queued,
    "ingestion_park_retry": park_retry,
    "ingestion_park_abandon": park_abandon,
    "ingestion_cancel": cancel,
    "ingestion_new_version": new_version,
    "ingestion_recognized": recognized,
    "ingestion_recognized_locally": recognized_locally,
    "ingestion_text_pages_kept": text_pages_kept,
}
