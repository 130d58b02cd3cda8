"""`IngestDocument` where pages have no text: recognised some a step, parked, kept without them."""

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from domain.errors import NoText, ProviderAuth, ProviderRateLimited
from domain.steps import Closed, Extracted, ParkIngestion
from tests.workflows.ingestion_runs import FakeSteps, Stall, a_ref, decide, start, workers

SCAN = Extracted(pages=45, characters=0, pages_to_recognize=45)
MIXED = Extracted(pages=9, characters=12_000, pages_to_recognize=2)
REST = ["chunk", "embed 0", "publish"]
MISSING = NoText("2 pages of 9 (pages 3, 4) have no text.")


async def test_pages_are_read_by_the_provider_until_none_is_left(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=SCAN.model_copy(update={"by_provider": True}))
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, a_ref())).result() == Closed(published=True)
    assert fakes.calls == ["begin", "extract", "recognize 0", "recognize 1", "recognize 2", *REST]


async def test_work_of_this_machine_goes_to_the_queue_of_its_processors(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=MIXED)
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_ref())).result()
    assert fakes.calls == ["begin", "extract", "recognize locally 0", *REST]


async def test_a_provider_that_asks_for_a_pause_is_waited_for(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=MIXED.model_copy(update={"by_provider": True}))
    fakes.script["recognize 0"] = [ProviderRateLimited("A pause.")] * 6
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_ref())).result()
    assert fakes.calls.count("recognize 0") == 7
    assert fakes.parked == []


async def test_without_a_recogniser_a_person_is_asked_and_retry_looks_again(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeSteps(extracted=MIXED), a_ref()
    fakes.script["recognize locally 0"] = [MISSING]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await fakes.park_shown.wait()
        assert await decide(handle, "retry") == "accepted"
        await handle.result()
    assert fakes.parked == [ParkIngestion(ref=ref, code="no_text", message=MISSING.message)]
    again = ["park", "begin", "extract", "recognize locally 0"]
    assert fakes.calls == ["begin", "extract", "recognize locally 0", *again, *REST]


async def test_the_pages_that_have_text_are_kept_on_request(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=MIXED)
    fakes.script["recognize locally 0"] = [MISSING]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        assert await decide(handle, "keep_text_pages") == "accepted"
        assert await handle.result() == Closed(published=True)
    after = fakes.calls[fakes.calls.index("park") :]
    assert after == ["park", "begin", "keep_text_pages", "extract", *REST]


async def test_what_was_recognised_before_the_provider_failed_can_be_kept(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=SCAN.model_copy(update={"by_provider": True}))

    async def some_text_is_read() -> None:
        fakes.extracted = fakes.extracted.model_copy(update={"characters": 900})

    fakes.script["recognize 0"] = [some_text_is_read]
    fakes.script["recognize 1"] = [ProviderAuth("The key is refused.")]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        assert await decide(handle, "keep_text_pages") == "accepted"
        await handle.result()
    assert fakes.calls[-5:] == ["keep_text_pages", "extract", *REST]


async def test_nothing_is_kept_where_no_page_has_text(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=SCAN)
    fakes.script["recognize locally 0"] = [MISSING]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        assert "nothing would be kept" in await decide(handle, "keep_text_pages")
        assert await decide(handle, "abandon") == "accepted"
        await handle.result()


async def test_pages_are_not_left_out_when_something_else_failed(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(extracted=MIXED)
    fakes.script["embed 0"] = [ProviderAuth("The key is refused.")]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        assert "no pages to leave out" in await decide(handle, "keep_text_pages")
        assert await decide(handle, "retry") == "accepted"
        await handle.result()


async def test_the_way_out_is_named_only_where_there_is_one(temporal_env: WorkflowEnvironment) -> None:
    for extracted, named in ((MIXED, True), (SCAN, False)):
        fakes = FakeSteps(extracted=extracted)
        fakes.script["recognize locally 0"] = [MISSING]
        async with workers(temporal_env.client, fakes):
            handle = await start(temporal_env.client, a_ref())
            await fakes.park_shown.wait()
            details = await handle.query("__temporal_workflow_metadata")
            assert ("keep_text_pages" in details.current_details) is named
            await decide(handle, "abandon")
            await handle.result()


async def test_a_cancellation_between_two_steps_ends_recognition(temporal_env: WorkflowEnvironment) -> None:
    fakes, stall = FakeSteps(extracted=SCAN), Stall(deaf=True)
    fakes.script["recognize locally 1"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await stall.reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert fakes.calls[-3:] == ["recognize locally 1 ended", "close", "discard_artifacts"]
