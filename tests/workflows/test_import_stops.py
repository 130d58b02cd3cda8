"""`ImportDocuments` where something holds it up, or somebody ends it in the middle of a step."""

from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment

from domain.errors import CorruptArchive, IngestionClosed
from tests.workflows.import_runs import FakeImport, import_workers
from tests.workflows.test_imports import a_ref, start


@pytest.fixture
def client(temporal_env: WorkflowEnvironment) -> Client:
    return temporal_env.client


@pytest.mark.parametrize("broken", [False, True])
async def test_an_archive_that_is_not_unpacked_for_long_keeps_the_history_short(client: Client, broken: bool) -> None:
    """The queue of extraction may be full, or away, for hours; the server ends a run of 51,200 events."""
    fakes = FakeImport(packs=2, archive=True)
    away = ApplicationError("The disk is full.", next_retry_delay=timedelta(minutes=30))

    async def breaks() -> None:
        fakes.archive = False
        raise CorruptArchive("The archive is damaged.")

    fakes.script["unpack"] = [away, breaks] if broken else [away]
    async with import_workers(client, fakes, cached=100):
        handle = await start(client, a_ref())
        await handle.result()
        first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        events = len((await first.fetch_history()).events)
    assert events < 2000
    assert len([call for call in fakes.calls if call.startswith("embed")]) == 2
    assert [end.code for end in fakes.ends] == (["corrupt_archive"] if broken else [])


async def test_an_import_that_is_cancelled_while_it_is_unpacked_ends_as_cancelled(client: Client) -> None:
    """The wish is in the row; the message to the run was lost."""
    fakes = FakeImport(packs=2, archive=True)

    async def finds_the_wish() -> None:
        fakes.cancelled = True
        raise IngestionClosed("The import has ended, or is to end.")

    fakes.script["unpack"] = [finds_the_wish]
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert [(end.cancelled, end.code) for end in fakes.ends] == [(True, "cancelled")]


async def test_a_cancel_in_the_middle_of_a_step_that_ends_well_is_not_forgotten(client: Client) -> None:
    fakes, ref = FakeImport(packs=2), a_ref(epoch=2)
    async with import_workers(client, fakes):

        async def is_cancelled() -> None:
            await handle.cancel()
            told = False
            while not told:
                events = (await handle.fetch_history()).events
                told = any(event.HasField("activity_task_cancel_requested_event_attributes") for event in events)

        fakes.script["retry_parked"] = [is_cancelled]
        handle = await start(client, ref)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert [end.cancelled for end in fakes.ends] == [True]
