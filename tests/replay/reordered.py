"""A change that nobody may make to runs that are open: chunking before extraction."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain import runs
    from domain.documents import IngestionRef
    from domain.steps import BEGIN_INGESTION, CHUNK, EMBED, EXTRACT, PUBLISH, Closed, EmbedShard
    from workflows.step import run_step, run_to_end


@workflow.defn(name=runs.INGEST_DOCUMENT)
class ReorderedIngestion:
    """Chunks before it extracts."""

    @workflow.run
    async def run(self, ref: IngestionRef) -> Closed:
        await run_step(BEGIN_INGESTION, ref)
        await run_step(CHUNK, ref)
        await run_step(EXTRACT, ref)
        await run_step(EMBED, EmbedShard(ref=ref, shard=0))
        return await run_to_end(PUBLISH, ref)
