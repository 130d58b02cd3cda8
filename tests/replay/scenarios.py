"""Paths that are recorded: each drives a workflow, with faked steps, on a real server, to its end.

A module of this folder that is named `*_paths.py` lists its paths in `PATHS`, and in `UNORDERED` those whose commands
come in another order each time: their histories are replayed, and have no fingerprint.
"""

import importlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory

HERE = Path(__file__).parent
HISTORIES = HERE / "histories"
FINGERPRINTS = HERE / "fingerprints.json"

Path_ = Callable[[Client], Awaitable[list[WorkflowHistory]]]
"""Plays one path; answers the histories of its runs, in order."""

# What a workflow's code decided, as the server recorded it.
_COMMANDS: dict[int, Callable[[HistoryEvent], str]] = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: lambda e: (
        e.activity_task_scheduled_event_attributes.activity_type.name
    ),
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: lambda _: "cancel",
    EventType.EVENT_TYPE_MARKER_RECORDED: lambda e: _marker(e),
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: lambda e: (
        f"child {e.start_child_workflow_execution_initiated_event_attributes.workflow_type.name}"
    ),
    EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: lambda _: "cancel child",
    EventType.EVENT_TYPE_TIMER_STARTED: lambda _: "timer",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: lambda _: "search attributes",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: lambda _: "update",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: lambda _: "completed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: lambda _: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: lambda _: "cancelled",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: lambda _: "continued as new",
}


def paths() -> dict[str, Path_]:
    """Every path of every workflow whose commands have an order, by name."""
    return _listed("PATHS")


def unordered_paths() -> dict[str, Path_]:
    """Every other path."""
    return _listed("UNORDERED")


def _listed(name: str) -> dict[str, Path_]:
    found: dict[str, Path_] = {}
    for module in sorted(HERE.glob("*_paths.py")):
        found |= getattr(importlib.import_module(f"tests.replay.{module.stem}"), name, {})
    return found


def fingerprint(history: WorkflowHistory) -> list[str]:
    """Name the commands of a run, in order."""
    return [_COMMANDS[event.event_type](event) for event in history.events if event.event_type in _COMMANDS]


def recorded(name: str) -> list[WorkflowHistory]:
    """Read a path's golden histories."""
    return [
        WorkflowHistory.from_json(f"{path.stem}", path.read_text()) for path in sorted(HISTORIES.glob(f"{name}.*.json"))
    ]


def write(name: str, histories: list[WorkflowHistory]) -> None:
    """Store a path's golden histories."""
    HISTORIES.mkdir(exist_ok=True)
    for old in HISTORIES.glob(f"{name}.*.json"):
        old.unlink()
    for number, history in enumerate(histories, start=1):
        (HISTORIES / f"{name}.{number}.json").write_text(
            json.dumps(_without_machine(history.to_json_dict()), indent=1) + "\n"
        )


def _without_machine(value: object) -> object:
    """Drop what names the machine that recorded; no replay reads it."""
    if isinstance(value, dict):
        if value.get("kind") == "TASK_QUEUE_KIND_STICKY":  # named after the machine
            value = {**value, "name": ""}
        return {k: "" if k in ("identity", "stackTrace") else _without_machine(v) for k, v in value.items()}
    return [_without_machine(item) for item in value] if isinstance(value, list) else value


def _marker(event: HistoryEvent) -> str:
    attributes = event.marker_recorded_event_attributes
    details = {key: [MessageToDict(p) for p in value.payloads] for key, value in attributes.details.items()}
    data = attributes.details.get("data")
    if attributes.marker_name == "core_local_activity" and data and data.payloads:
        return f"local {json.loads(data.payloads[0].data)['activity_type']}"
    return f"{attributes.marker_name} {sorted(details)}"
