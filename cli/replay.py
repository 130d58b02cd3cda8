"""`chatsphere replay`: run recorded histories against this code, before it is deployed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from temporalio import workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Replayer

from activities.interceptor import ErrorInterceptor
from adapters.temporal.client import connect, data_converter
from cli.console import fail, out
from cli.deployment import use_embedded_stack
from domain.ids import DocumentId
from domain.runs import ingestion_run
from workflows.registry import WORKFLOWS
from workflows.sandbox import workflow_runner


def replay(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of workflows or of documents, or files with histories that the Web UI downloaded."),
    ] = None,
    all_open: Annotated[
        bool, typer.Option("--open", help="Every run that is open: do this before a deployment.")
    ] = False,
) -> None:
    """Replay histories: a run whose commands this code would not repeat is named, and the exit code is 1."""
    if bool(runs) == all_open:
        fail("Give workflows, documents or files, or --open.", code=2)
    use_embedded_stack()
    files = [Path(run) for run in runs or [] if Path(run).is_file()]
    kept = [WorkflowHistory.from_json(file.stem, file.read_text()) for file in files]
    named = [_workflow_id(run) for run in runs or [] if not Path(run).is_file()]
    failed = asyncio.run(_replay(kept, named, all_open=all_open))
    if failed:
        fail(
            f"{failed} would be stuck with this code. Put the change behind workflow.patched(), or deploy when they ended."
        )


async def _replay(kept: list[WorkflowHistory], named: list[str], *, all_open: bool) -> int:
    replayer = Replayer(
        workflows=list(WORKFLOWS),
        data_converter=data_converter(),
        interceptors=[ErrorInterceptor()],
        workflow_runner=workflow_runner(),
    )
    failed = seen = 0
    async for history in _histories(kept, named, all_open=all_open):
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        seen += 1
        if result.replay_failure is None:
            out.print(f"[green]ok[/]      {history.workflow_id}, {len(history.events)} events")
        else:
            failed += 1
            out.print(f"[red]differs[/] {history.workflow_id}: ", end="")
            out.print(str(result.replay_failure).split(" {", 1)[0][:300], markup=False)
    out.print(f"{seen} replayed, {failed} differ.")
    return failed


async def _histories(
    kept: list[WorkflowHistory], named: list[str], *, all_open: bool
) -> AsyncIterator[WorkflowHistory]:
    for history in kept:
        yield history
    if not named and not all_open:
        return
    client = await _connect()
    if all_open:
        known = " OR ".join(f"WorkflowType = '{name}'" for name in _names())
        named = [run.id async for run in client.list_workflows(f"ExecutionStatus = 'Running' AND ({known})")]
    for name in named:
        try:
            yield await client.get_workflow_handle(name).fetch_history()
        except RPCError as error:
            fail(f"{name}: {error.message}")


def _names() -> list[str]:
    return [str(workflow._Definition.must_from_class(known).name) for known in WORKFLOWS]


def _workflow_id(run: str) -> str:
    try:
        return ingestion_run(DocumentId(UUID(run)))
    except ValueError:
        return run


async def _connect() -> Client:
    try:
        return await connect()
    except RuntimeError as error:
        fail(f"Temporal does not answer: {error}. Start it, or set TEMPORAL_ADDRESS.")
