"""Cancelling runs, and the Schedule, on a real Temporal server."""

from datetime import timedelta

from temporalio import workflow
from temporalio.client import ScheduleActionStartWorkflow

from adapters.ids import new_id
from adapters.temporal.runs import cancel_run, ensure_housekeeping, is_open
from domain.runs import HOUSEKEEPING_ID
from domain.steps import HousekeepingTick
from tests.servers import TemporalServer


@workflow.defn(name="Endless")
class Endless:
    """Stands for a run that is open; no worker is needed for that."""

    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(timedelta(days=1))


async def test_a_closed_run_takes_a_cancel_in_silence_and_its_successor_does_not_get_it(
    dev_server: TemporalServer,
) -> None:
    client, id_ = await dev_server.client(), f"run/{new_id()}"
    first = await client.start_workflow(Endless.run, id=id_, task_queue="nobody")
    await first.terminate()
    second = await client.start_workflow(Endless.run, id=id_, task_queue="nobody")
    assert await cancel_run(client, id_, run_id=first.first_execution_run_id)
    assert await is_open(client, id_)
    events = (await second.fetch_history()).events
    assert not any(event.HasField("workflow_execution_cancel_requested_event_attributes") for event in events)


async def test_a_run_that_never_was_takes_no_cancel(dev_server: TemporalServer) -> None:
    client = await dev_server.client()
    assert not await cancel_run(client, f"run/{new_id()}", run_id=str(new_id()))
    assert not await cancel_run(client, f"run/{new_id()}", run_id=None)


async def test_the_schedule_is_as_the_settings_say_and_stays_paused_where_a_person_paused_it(
    dev_server: TemporalServer,
) -> None:
    client = await dev_server.client()
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    schedule = client.get_schedule_handle(HOUSEKEEPING_ID)
    await ensure_housekeeping(client, every=hour, grace=minute)
    await schedule.pause(note="The database moves.")
    for every, grace in ((hour, hour), (minute, hour)):
        await ensure_housekeeping(client, every=every, grace=grace)
        present = (await schedule.describe()).schedule
        assert isinstance(present.action, ScheduleActionStartWorkflow)
        ticks = await client.data_converter.decode(present.action.args, [HousekeepingTick])
        assert ([each.every for each in present.spec.intervals], ticks) == ([every], [HousekeepingTick(grace=grace)])
        assert (present.state.paused, present.state.note) == (True, "The database moves.")
