"""Ends and histories of runs, for recording."""

from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory


async def await_end(handle: WorkflowHandle[Any, Any]) -> str:
    """Wait for the end of a run and of those that continue it, whatever it is; answers the workflow's id."""
    try:
        await handle.result()
    except WorkflowFailureError:
        return handle.id
    return handle.id


async def histories_of(client: Client, workflow_id: str) -> list[WorkflowHistory]:
    """Fetch all runs under an id, the first one first."""
    found: list[WorkflowHistory] = []
    run: str | None = None
    while True:
        history = await client.get_workflow_handle(workflow_id, run_id=run).fetch_history()
        found.insert(0, history)
        run = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id or None
        if run is None:
            return found
