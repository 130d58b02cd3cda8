"""The paths of `DeleteDocument` and `DeleteBot`."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from adapters.temporal.runs import start_deletion
from domain import runs
from domain.ids import BotId, DocumentId, UserId
from domain.steps import PURGE_BOT, PURGE_DOCUMENT, STOP_INGESTION, DeletionRef, Done, Purged, Queue
from tests.replay.runs import await_end, histories_of
from workflows.deletion import DeleteBot, DeleteDocument
from workflows.sandbox import workflow_runner

OWNER, BOT = UserId(UUID(int=1)), BotId(UUID(int=2))


@activity.defn(name=STOP_INGESTION.name)
async def stop(_: DeletionRef) -> Done:
    return Done()


@activity.defn(name=PURGE_DOCUMENT.name)
async def purge(_: DeletionRef) -> Purged:
    if activity.info().attempt == 1:
        raise ApplicationError("The database does not answer.", type="unavailable")
    return Purged(documents=1, chunks=7)


@activity.defn(name=PURGE_BOT.name)
async def purge_bot(_: DeletionRef) -> Purged:
    # The second purge of a run finds nothing more: its id tells it from the first.
    return Purged(documents=3, chunks=21, more=activity.info().activity_id == "1")


async def _played(client: Client, ref: DeletionRef, run: str, *activities: Callable[..., Any]) -> list[WorkflowHistory]:
    async with Worker(
        client,
        task_queue=Queue.CHAT,
        workflows=[DeleteDocument, DeleteBot],
        activities=activities,
        workflow_runner=workflow_runner(),
    ):
        assert await start_deletion(client, ref)
        return await histories_of(client, await await_end(client.get_workflow_handle(run)))


async def document(client: Client) -> list[WorkflowHistory]:
    """A document, with a purge that fails once."""
    ref = DeletionRef(owner_id=OWNER, bot_id=BOT, document_id=DocumentId(UUID(int=40)))
    return await _played(client, ref, runs.deletion_run(DocumentId(UUID(int=40))), stop, purge)


async def bot(client: Client) -> list[WorkflowHistory]:
    """A bot that takes two purges."""
    ref = DeletionRef(owner_id=OWNER, bot_id=BotId(UUID(int=41)))
    return await _played(client, ref, runs.deletion_run(BotId(UUID(int=41))), purge_bot)


PATHS = {"delete_document": document, "delete_bot": bot}
