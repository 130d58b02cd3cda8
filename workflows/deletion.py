"""Deleting: cancel what runs, await it, purge, leave a receipt. Run again, it finds what is left."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.steps import PURGE_BOT, PURGE_DOCUMENT, STOP_INGESTION, DeletionRef, Purged
    from workflows.step import run_step


@workflow.defn(name=runs.DELETE_DOCUMENT)
class DeleteDocument:
    """Deletes one document with all its versions."""

    @workflow.run
    async def run(self, ref: DeletionRef) -> Purged:
        """Stop the ingestion first: a purge beside it would be safe, but would make it fail loudly."""
        await run_step(STOP_INGESTION, ref)
        return await run_step(PURGE_DOCUMENT, ref)


@workflow.defn(name=runs.DELETE_BOT)
class DeleteBot:
    """Deletes a bot: documents, conversations, then the bot itself."""

    @workflow.run
    async def run(self, ref: DeletionRef) -> Purged:
        """Purge until nothing is left; a bot of any size fits into bounded histories."""
        while True:
            purged = await run_step(PURGE_BOT, ref)
            workflow.set_current_details(f"**Deleted** {purged.documents} documents, {purged.chunks} chunks so far.")
            if not purged.more:
                return purged
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(ref)
