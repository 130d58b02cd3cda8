"""DeleteDocument and DeleteBot, with their activities faked by step name."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from adapters.ids import new_id
from domain import runs
from domain.ids import BotId, DocumentId, UserId
from domain.steps import PURGE_BOT, PURGE_DOCUMENT, STOP_INGESTION, DeletionRef, Done, Purged, Queue
from workflows.deletion import DeleteBot, DeleteDocument
from workflows.sandbox import workflow_runner


def a_ref(*, document: bool) -> DeletionRef:
    return DeletionRef(
        owner_id=UserId(new_id()), bot_id=BotId(new_id()), document_id=DocumentId(new_id()) if document else None
    )


@asynccontextmanager
async def a_worker(client: Client, *activities: Callable[..., Any]) -> AsyncIterator[None]:
    async with Worker(
        client,
        task_queue=Queue.CHAT,
        workflows=[DeleteDocument, DeleteBot],
        activities=activities,
        workflow_runner=workflow_runner(),
        max_cached_workflows=0,
    ):
        yield


async def test_a_document_is_purged_after_its_ingestion_was_stopped(temporal_env: WorkflowEnvironment) -> None:
    order = []

    @activity.defn(name=STOP_INGESTION.name)
    async def stop(_: DeletionRef) -> Done:
        order.append("stop")
        return Done()

    @activity.defn(name=PURGE_DOCUMENT.name)
    async def purge(_: DeletionRef) -> Purged:
        order.append("purge")
        return Purged(documents=1, chunks=7)

    ref = a_ref(document=True)
    async with a_worker(temporal_env.client, stop, purge):
        purged = await temporal_env.client.execute_workflow(
            DeleteDocument.run, ref, id=runs.deletion_run(ref.bot_id), task_queue=Queue.CHAT
        )
    assert purged == Purged(documents=1, chunks=7)
    assert order == ["stop", "purge"]


async def test_a_purge_that_fails_is_tried_until_it_succeeds(temporal_env: WorkflowEnvironment) -> None:
    attempts = 0

    @activity.defn(name=STOP_INGESTION.name)
    async def stop(_: DeletionRef) -> Done:
        return Done()

    @activity.defn(name=PURGE_DOCUMENT.name)
    async def purge(_: DeletionRef) -> Purged:
        nonlocal attempts
        attempts += 1
        if attempts < 5:
            raise ConnectionError
        return Purged(documents=1, chunks=0)

    ref = a_ref(document=True)
    async with a_worker(temporal_env.client, stop, purge):
        await temporal_env.client.execute_workflow(
            DeleteDocument.run, ref, id=runs.deletion_run(ref.bot_id), task_queue=Queue.CHAT
        )
    assert attempts == 5


async def test_a_bot_is_purged_until_nothing_is_left(temporal_env: WorkflowEnvironment) -> None:
    left = 3

    @activity.defn(name=PURGE_BOT.name)
    async def purge(_: DeletionRef) -> Purged:
        nonlocal left
        left -= 1
        return Purged(documents=3 - left, chunks=0, more=left > 0)

    ref = a_ref(document=False)
    async with a_worker(temporal_env.client, purge):
        purged = await temporal_env.client.execute_workflow(
            DeleteBot.run, ref, id=runs.deletion_run(ref.bot_id), task_queue=Queue.CHAT
        )
    assert (purged, left) == (Purged(documents=3, chunks=0), 0)
