"""`IngestDocument` on the time-skipping server, replayed at every task."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import CancelledError
from temporalio.testing import WorkflowEnvironment

from domain import runs
from domain.errors import (
    CorruptFile,
    DomainError,
    EmbeddingModelChanged,
    ExtractionCrashed,
    IncompleteIngestion,
    IngestionClosed,
    NoText,
    ProviderAuth,
    ProviderQuotaExhausted,
    ProviderRejected,
)
from domain.steps import Closed, CloseIngestion, ParkIngestion
from tests.servers import TemporalServer
from tests.workflows.ingestion_runs import FakeSteps, Stall, a_ref, decide, start, workers

STAGE = SearchAttributeKey.for_keyword("Stage")
WHOLE = ["begin", "extract", "chunk", "embed 0", "publish"]


async def test_a_document_is_extracted_chunked_embedded_and_published(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(shards=5)
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, a_ref())).result() == Closed(published=True)
    assert fakes.calls[:3] == ["begin", "extract", "chunk"]
    assert sorted(fakes.calls[3:8]) == [f"embed {n}" for n in range(5)]
    assert fakes.calls[8:] == ["publish"]


async def test_three_shards_are_embedded_at_once_and_no_more(temporal_env: WorkflowEnvironment) -> None:
    fakes, stalls = FakeSteps(shards=4), [Stall() for _ in range(4)]
    for number, stall in enumerate(stalls):
        fakes.script[f"embed {number}"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        for stall in stalls[:3]:
            await stall.reached.wait()
        assert "embed 3" not in fakes.calls
        stalls[1].go.set()
        await stalls[3].reached.wait()
        for stall in stalls:
            stall.go.set()
        await handle.result()


async def test_a_step_is_tried_again_before_anyone_is_asked(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps()
    fakes.script["extract"] = [ExtractionCrashed("It died."), ExtractionCrashed("It died.")]
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_ref())).result()
    assert fakes.calls == ["begin", "extract", "extract", "extract", "chunk", "embed 0", "publish"]


async def test_a_quota_of_the_day_is_waited_for_without_asking_anyone(temporal_env: WorkflowEnvironment) -> None:
    fakes, began = FakeSteps(), await temporal_env.get_current_time()
    reset = timedelta(hours=24)
    fakes.script["embed 0"] = [ProviderQuotaExhausted("Used up.", retry_after=reset)]
    async with workers(temporal_env.client, fakes):
        await (await start(temporal_env.client, a_ref())).result()
    assert fakes.calls == ["begin", "extract", "chunk", "embed 0", "embed 0", "publish"]
    assert await temporal_env.get_current_time() - began >= reset


@pytest.mark.parametrize(
    ("step", "error", "again"),
    [
        ("extract", CorruptFile("It is broken."), ["extract", "chunk", "embed 0", "publish"]),
        ("chunk", NoText("There is no text."), ["chunk", "embed 0", "publish"]),
        ("embed 0", ProviderAuth("The key is refused."), ["embed 0", "publish"]),
        ("embed 0", EmbeddingModelChanged("Another model."), ["chunk", "embed 0", "publish"]),
        ("publish", IncompleteIngestion("One is missing."), ["chunk", "embed 0", "publish"]),
    ],
)
async def test_a_parked_run_goes_on_with_the_step_that_failed(
    temporal_env: WorkflowEnvironment, step: str, error: DomainError, again: list[str]
) -> None:
    fakes, ref = FakeSteps(), a_ref()
    fakes.script[step] = [error]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await fakes.park_shown.wait()
        assert await decide(handle, "retry") == "accepted"
        assert await handle.result() == Closed(published=True)
        stage = (await handle.describe()).typed_search_attributes.get(STAGE)
    assert fakes.parked == [ParkIngestion(ref=ref, code=error.code, message=error.message)]
    before = WHOLE[: WHOLE.index(step) + 1]
    assert fakes.calls == [*before, "park", "begin", *again]
    assert stage == "published"


async def test_a_document_waits_until_it_is_called_and_then_asks_again(temporal_env: WorkflowEnvironment) -> None:
    fakes, calls = FakeSteps(admitted=[False, False]), 0
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        while calls < 2:
            await fakes.begun.wait()
            fakes.begun.clear()
            await handle.signal(runs.ADMIT_SIGNAL)
            calls += 1
        assert await handle.result() == Closed(published=True)
    assert fakes.calls == ["begin", "begin", *WHOLE]


async def test_a_call_that_comes_while_it_asks_is_not_lost(temporal_env: WorkflowEnvironment) -> None:
    fakes, stall = FakeSteps(admitted=[False]), Stall()
    fakes.script["begin"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await stall.reached.wait()
        await handle.signal(runs.ADMIT_SIGNAL)
        stall.go.set()
        assert await handle.result() == Closed(published=True)
    assert fakes.calls == ["begin", "begin ended", *WHOLE]


async def test_a_document_that_waits_for_its_turn_can_be_cancelled(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(admitted=[False])
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.begun.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert fakes.calls == ["begin", "close", "discard_artifacts"]


async def test_a_retry_waits_for_its_turn_and_keeps_what_succeeded(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(admitted=[True, False])
    fakes.script["embed 0"] = [ProviderAuth("The key is refused.")]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        fakes.begun.clear()
        assert await decide(handle, "retry") == "accepted"
        await fakes.begun.wait()
        assert "Nothing waits for retry" in await decide(handle, "retry")
        await handle.signal(runs.ADMIT_SIGNAL)
        assert await handle.result() == Closed(published=True)
    assert fakes.calls == [*WHOLE[:4], "park", "begin", "begin", "embed 0", "publish"]


async def test_retries_that_are_spent_park(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps()
    fakes.script["extract"] = [ExtractionCrashed("It died.")] * 3
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        await decide(handle, "retry")
        await handle.result()
    assert fakes.parked[0].code == "extraction_crashed"


async def test_an_abandoned_run_undoes_in_reverse_and_closes_first(temporal_env: WorkflowEnvironment) -> None:
    fakes, ref = FakeSteps(), a_ref()
    fakes.script["embed 0"] = [ProviderAuth("The key is refused.")]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await fakes.park_shown.wait()
        assert await decide(handle, "abandon") == "accepted"
        assert await handle.result() == Closed()
        stage = (await handle.describe()).typed_search_attributes.get(STAGE)
    assert fakes.calls[-4:] == ["park", "close", "discard_chunks", "discard_artifacts"]
    assert fakes.ends == [CloseIngestion(ref=ref, cancelled=False, code="provider_auth", message="The key is refused.")]
    assert stage == "failed"


async def test_updates_are_refused_unless_somebody_is_needed(temporal_env: WorkflowEnvironment) -> None:
    fakes, stall = FakeSteps(), Stall()
    fakes.script["extract"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await stall.reached.wait()
        assert "Nothing waits for retry" in await decide(handle, "retry")
        assert "Nothing waits for abandon" in await decide(handle, "abandon")
        stall.go.set()
        await handle.result()


async def test_whoever_sees_that_help_is_needed_is_not_refused(temporal_env: WorkflowEnvironment) -> None:
    fakes, stall = FakeSteps(), Stall()
    fakes.script["extract"] = [NoText("There is no text.")]
    fakes.script["park"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await stall.reached.wait()
        update = asyncio.create_task(decide(handle, "retry"))
        stall.go.set()
        assert await update == "accepted"
        assert await handle.result() == Closed(published=True)


async def test_a_shard_beside_a_failed_one_is_settled_before_a_person_is_asked(
    temporal_env: WorkflowEnvironment,
) -> None:
    fakes, stall = FakeSteps(shards=2), Stall()
    fakes.script["embed 0"] = [ProviderRejected("No.")]
    fakes.script["embed 1"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await stall.reached.wait()
        stall.go.set()
        await fakes.park_shown.wait()
        await decide(handle, "retry")
        await handle.result()
    assert fakes.calls.index("embed 1 ended") < fakes.calls.index("park")
    assert fakes.calls[-3:] == ["begin", "embed 0", "publish"]


@pytest.mark.parametrize(
    ("step", "undone"),
    [
        ("begin", ["close", "discard_artifacts"]),
        ("extract", ["close", "discard_artifacts"]),
        ("chunk", ["close", "discard_artifacts"]),
        ("embed 0", ["close", "discard_chunks", "discard_artifacts"]),
    ],
)
@pytest.mark.parametrize("deaf", [False, True], ids=["heard", "finished all the same"])
async def test_a_cancelled_run_undoes_when_the_step_has_ended(
    temporal_env: WorkflowEnvironment, step: str, undone: list[str], deaf: bool
) -> None:
    fakes, stall, ref = FakeSteps(), Stall(deaf=deaf), a_ref()
    fakes.script[step] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, ref)
        await stall.reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert isinstance(caught.value.cause, CancelledError)
    assert fakes.calls[fakes.calls.index(f"{step} ended") + 1 :] == undone
    assert [(end.cancelled, end.ref) for end in fakes.ends] == [(True, ref)]


async def test_a_parked_run_can_be_cancelled(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps()
    fakes.script["extract"] = [NoText("There is no text.")]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await fakes.park_shown.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).typed_search_attributes.get(STAGE) == "cancelled"
    assert fakes.calls[-3:] == ["park", "close", "discard_artifacts"]


async def test_a_cancellation_while_it_is_published_comes_too_late(temporal_env: WorkflowEnvironment) -> None:
    fakes, stall = FakeSteps(), Stall(deaf=True)
    fakes.script["publish"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref())
        await stall.reached.wait()
        await handle.cancel()
        stall.go.set()
        assert await handle.result() == Closed(published=True)
    assert not {"discard_chunks", "discard_artifacts"} & set(fakes.calls)


async def test_nothing_is_discarded_of_what_turns_out_to_be_published(temporal_env: WorkflowEnvironment) -> None:
    fakes = FakeSteps(published=True)
    fakes.script["publish"] = [IngestionClosed("It ended.")]
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, a_ref())).result() == Closed(published=True)
    assert fakes.calls == [*WHOLE, "close"]


@pytest.mark.parametrize("step", ["begin", "extract", "chunk", "embed 0", "publish"])
async def test_a_superseded_run_ends_quietly_and_goes_on_with_the_newer_version(
    temporal_env: WorkflowEnvironment, step: str
) -> None:
    newer = a_ref()
    fakes = FakeSteps(successor=newer)
    fakes.script[step] = [IngestionClosed("A newer version took its place.")]
    async with workers(temporal_env.client, fakes):
        assert await (await start(temporal_env.client, a_ref())).result() == Closed(published=True)
    assert fakes.parked == []
    assert fakes.calls[-5:] == WHOLE
    assert fakes.refs[-1] == newer


async def test_a_cancelled_run_goes_on_with_the_newer_version(dev_server: TemporalServer) -> None:
    # The time-skipping server never starts a run that continues a cancelled one; the real server does.
    client, newer, stall = await dev_server.client(), a_ref(), Stall()
    fakes = FakeSteps(successor=newer)
    fakes.script["embed 0"] = [stall]
    async with workers(client, fakes):
        handle = await start(client, a_ref())
        await stall.reached.wait()
        await handle.cancel()
        assert await handle.result() == Closed(published=True)
    assert fakes.calls[-8:] == ["close", "discard_chunks", "discard_artifacts", *WHOLE]
    assert fakes.refs[-1] == newer


async def test_a_later_epoch_discards_what_the_earlier_one_left(temporal_env: WorkflowEnvironment) -> None:
    fakes, stall = FakeSteps(), Stall()
    fakes.script["extract"] = [stall]
    async with workers(temporal_env.client, fakes):
        handle = await start(temporal_env.client, a_ref().model_copy(update={"epoch": 2}))
        await stall.reached.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert fakes.calls[-3:] == ["close", "discard_artifacts", "discard_chunks"]
