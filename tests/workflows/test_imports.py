"""`ImportDocuments` on the time-skipping server, its steps faked by name, its cache off."""

from collections import Counter

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from adapters.ids import new_id
from domain import runs
from domain.errors import CorruptArchive, IncompleteIngestion, ProviderAuth
from domain.ids import BotId, ImportId, UserId
from domain.steps import ImportRef, Queue
from tests.servers import TemporalServer
from tests.workflows.import_runs import FakeImport, import_workers
from tests.workflows.ingestion_runs import Stall
from workflows.imports import PACKS_A_RUN, PACKS_IN_FLIGHT, ImportDocuments


@pytest.fixture
def client(temporal_env: WorkflowEnvironment) -> Client:
    return temporal_env.client


def a_ref(epoch: int = 1) -> ImportRef:
    return ImportRef(owner_id=UserId(new_id()), bot_id=BotId(new_id()), import_id=ImportId(new_id()), epoch=epoch)


async def start(client: Client, ref: ImportRef) -> WorkflowHandle[ImportDocuments, None]:
    return await client.start_workflow(
        ImportDocuments.run, ref, id=runs.import_run(ref.import_id), task_queue=Queue.CHAT
    )


async def test_every_pack_is_read_and_embedded_once(client: Client) -> None:
    fakes = FakeImport(packs=7)
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    done = Counter(call for call in fakes.calls if call.startswith(("extract", "embed")))
    assert done == Counter({f"{step} {pack}": 1 for step in ("extract", "embed") for pack in range(1, 8)})
    assert fakes.calls[-1] == "settle"
    assert fakes.ends == []


async def test_no_more_packs_are_under_way_than_is_bounded(client: Client) -> None:
    fakes, stalls = FakeImport(packs=9), [Stall() for _ in range(PACKS_IN_FLIGHT)]
    for number, stall in enumerate(stalls, start=1):
        fakes.script[f"extract {number}"] = [stall]
    async with import_workers(client, fakes):
        handle = await start(client, a_ref())
        for stall in stalls:
            await stall.reached.wait()
        assert len(fakes.claimed) == PACKS_IN_FLIGHT
        for stall in stalls:
            stall.go.set()
        await handle.result()
    assert len(fakes.claimed) == 9


async def test_a_pack_that_fails_for_itself_is_released_and_the_others_go_on(client: Client) -> None:
    fakes = FakeImport(packs=3)
    fakes.script["embed 2"] = [IncompleteIngestion("The stored plan is not the recorded one.")]
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert fakes.calls.count("release 2") == 1
    assert {"embed 1", "embed 3"} <= set(fakes.calls)
    assert fakes.ends == []


async def test_a_provider_that_refuses_the_key_ends_the_import_instead_of_parking_thousands(client: Client) -> None:
    fakes = FakeImport(packs=50)
    fakes.script["embed 1"] = [ProviderAuth("The key is refused.")]
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert len(fakes.claimed) < 50, "packs were taken up although each would fail"
    assert [(end.cancelled, end.code, end.message) for end in fakes.ends] == [
        (False, "provider_auth", "The key is refused.")
    ]
    assert not [call for call in fakes.calls if call.startswith("release")]


async def test_an_archive_is_unpacked_beside_its_packs(client: Client) -> None:
    fakes = FakeImport(packs=2, archive=True)
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert fakes.calls.count("unpack") == 1
    assert len(fakes.claimed) == 2


async def test_what_came_out_of_a_broken_archive_is_ingested_before_the_import_fails(client: Client) -> None:
    fakes = FakeImport(packs=2, archive=True)

    async def breaks() -> None:
        fakes.archive = False
        raise CorruptArchive("The archive is damaged.")

    fakes.script["unpack"] = [breaks]
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert len([call for call in fakes.calls if call.startswith("embed")]) == 2
    assert [end.code for end in fakes.ends] == ["corrupt_archive"]


async def test_a_cancel_stops_the_packs_then_closes_what_is_left(dev_server: TemporalServer) -> None:
    """On a real server: the one that skips time does not close activities that end while they are cancelled."""
    client = await dev_server.client()
    fakes, stall = FakeImport(packs=5), Stall()
    fakes.script["embed 1"] = [stall]
    async with import_workers(client, fakes):
        handle = await start(client, a_ref())
        await stall.reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert [end.cancelled for end in fakes.ends] == [True]
    assert fakes.calls[-1] == "end"


async def test_an_import_that_was_cancelled_before_it_began_is_closed_at_once(client: Client) -> None:
    fakes = FakeImport(packs=5, cancelled=True)
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert fakes.calls == ["begin", "end"]


async def test_a_run_that_is_not_the_imports_does_nothing(client: Client) -> None:
    fakes = FakeImport(packs=5, open=False)
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert fakes.calls == ["begin"]


async def test_only_a_retry_tells_parked_documents_to_try_again(client: Client) -> None:
    fakes = FakeImport(packs=1)
    async with import_workers(client, fakes):
        await (await start(client, a_ref(epoch=2))).result()
    assert fakes.calls.count("retry_parked") == 1
    assert fakes.calls.index("retry_parked") == 1


async def test_documents_with_runs_of_their_own_are_waited_for(client: Client) -> None:
    fakes = FakeImport(packs=1, alone=8)
    async with import_workers(client, fakes):
        await (await start(client, a_ref())).result()
    assert fakes.calls.count("settle") == 9


async def test_ten_thousand_documents_fit_into_bounded_histories(client: Client) -> None:
    """157 packs: more than one run takes; the next goes on with the packs' numbers."""
    fakes = FakeImport(packs=PACKS_A_RUN + 7)
    ref = a_ref()
    async with import_workers(client, fakes, cached=100):
        handle = await start(client, ref)
        await handle.result()
        first = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).fetch_history()
    assert len(fakes.claimed) == PACKS_A_RUN + 7
    assert fakes.calls.count("begin") >= 2
    assert len(first.events) < 10_000
    embedded = Counter(call for call in fakes.calls if call.startswith("embed"))
    assert set(embedded.values()) == {1}
    assert embedded.total() == PACKS_A_RUN + 7
