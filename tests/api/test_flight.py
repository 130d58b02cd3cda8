"""What the flight record makes of the database's rows and the workflow engine's word of what is under way."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from adapters.temporal.ingestions import PendingActivity
from api.flight import Links, steps_of
from api.schemas.ingestions import StepRecord

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LINKS = Links("history", "pending")


def an_ingestion(**values: Any) -> Any:
    return SimpleNamespace(
        **{"status": "running", "shards": 3, "planned_chunks": 1100, "batch_size": 100, "import_id": None} | values
    )


def a_row(step: str, part: int = 0, **values: Any) -> Any:
    row = {
        "step": step, "part": part, "state": "completed", "attempts": 1, "seconds": 1.0, "error_code": None,
        "error_message": None, "activity_id": None, "model_calls": 0, "model_calls_needed": None, "model_tokens": 0,
        "first_started_at": NOW, "finished_at": NOW,
    } | values  # fmt: skip
    return SimpleNamespace(**row)


def an_activity(id_: str, step: str = "embed", **values: Any) -> PendingActivity:
    given: dict[str, Any] = {"attempt": 1, "running": True, "started_at": NOW, "next_retry_at": None, "error": None}
    return PendingActivity(id=id_, step=step, **given | values)


def shown(ingestion: Any, rows: list[Any], pending: list[PendingActivity]) -> dict[tuple[str, int], StepRecord]:
    records = steps_of(ingestion, rows, pending, LINKS, now=NOW)
    assert len({(each.step, each.part) for each in records}) == len(records)
    return {(each.step, each.part): each for each in records}


def test_shards_stand_in_their_order_with_the_calls_that_they_need() -> None:
    steps = shown(an_ingestion(), [a_row("extract"), a_row("chunk")], [an_activity("3")])
    assert list(steps) == [("extract", 0), ("chunk", 0), ("embed", 0), ("embed", 1), ("embed", 2)]
    assert [steps["embed", part].state for part in range(3)] == ["running", "waiting", "waiting"]
    calls = [steps["embed", part].model_calls for part in range(3)]
    assert [(each.made, each.needed) for each in calls if each] == [(0, 5), (0, 5), (0, 1)]
    assert steps["extract", 0].model_calls is None
    assert (steps["extract", 0].url, steps["embed", 0].url) == ("history", "pending")


def test_a_shard_is_told_from_another_by_what_it_wrote_down() -> None:
    due = NOW + timedelta(seconds=21)
    rows = [
        a_row("embed", 0, state="running", attempts=0, activity_id="3"),
        a_row("embed", 1, state="failed", attempts=2, activity_id="4", model_calls=3, model_calls_needed=5),
        a_row("embed", 2, activity_id="5"),
    ]
    waits = an_activity("4", attempt=3, running=False, next_retry_at=due, error=("provider_rate_limited", "Slow down."))
    steps = shown(an_ingestion(), rows, [waits, an_activity("3", started_at=NOW - timedelta(seconds=4))])
    first, second, third = (steps["embed", part] for part in range(3))
    assert (first.state, first.attempts, first.seconds, first.next_retry_at) == ("running", 1, 5.0, None)
    assert (second.state, second.attempts, second.next_retry_at) == ("waiting", 2, due)
    assert second.last_error is not None
    assert second.last_error.code == "provider_rate_limited"
    assert second.model_calls is not None
    assert (second.model_calls.made, second.model_calls.needed) == (3, 5)
    assert (third.state, third.attempts) == ("completed", 1)


def test_an_activity_that_wrote_nothing_yet_is_the_next_shard_that_is_not_done() -> None:
    rows = [a_row("embed", 0, activity_id="3"), a_row("embed", 1, state="failed", activity_id="4")]
    steps = shown(an_ingestion(), rows, [an_activity("12"), an_activity("9")])
    assert [steps["embed", part].state for part in range(3)] == ["completed", "running", "running"]


def test_a_worker_that_died_unrecorded_counts_with_the_attempt_that_runs() -> None:
    steps = shown(an_ingestion(shards=None, planned_chunks=None), [], [an_activity("1", "extract", attempt=3)])
    assert (steps["extract", 0].attempts, steps["extract", 0].started_at) == (3, None)


def test_a_step_whose_run_ended_under_it_has_failed() -> None:
    rows = [a_row("embed", 0, state="running", attempts=0)]
    steps = shown(an_ingestion(status="failed"), rows, [])
    assert list(steps) == [("embed", 0)]
    assert steps["embed", 0].state == "failed"


def test_a_document_of_an_import_tells_its_own_rows_only() -> None:
    pending = [an_activity("3"), an_activity("4", "embed_pack"), an_activity("5", "embed_pack")]
    assert list(shown(an_ingestion(import_id="an import"), [a_row("extract")], pending)) == [("extract", 0)]


def test_without_the_workflow_engine_the_rows_stand_on_their_own() -> None:
    steps = shown(an_ingestion(shards=1), [a_row("embed", 0, state="running", attempts=0)], [])
    assert steps["embed", 0].state == "running"
