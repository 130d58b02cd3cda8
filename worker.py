"""The worker: reads settings, opens adapters, serves any subset of the task queues until it is told to stop."""

import argparse
import asyncio
from contextlib import AsyncExitStack

import structlog
from temporalio.worker import Worker

from activities.registry import activities_of, interceptors_of
from adapters.ending import run_process, told_to_stop
from adapters.logs import configure_logs
from adapters.settings import Settings
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import ensure_housekeeping
from adapters.temporal.tuning import worker_options
from adapters.wiring import Adapters, open_adapters
from domain.steps import Queue
from workflows.registry import WORKFLOWS
from workflows.sandbox import workflow_runner


def build_worker(adapters: Adapters, queue: Queue) -> Worker:
    """Serve one queue; `chat` also runs the workflows and their local steps."""
    return Worker(
        adapters.temporal,
        task_queue=queue,
        workflows=WORKFLOWS if queue is Queue.CHAT else (),
        activities=activities_of(adapters, queue),
        interceptors=interceptors_of(adapters),
        workflow_runner=workflow_runner(),
        **worker_options(adapters.settings, queue),
    )


async def run(settings: Settings, queues: list[Queue]) -> None:
    """Serve until SIGINT or SIGTERM, then let running steps finish within the grace."""
    stop = told_to_stop(settings.graceful_shutdown)
    async with AsyncExitStack() as stack:
        adapters = await stack.enter_async_context(open_adapters(settings, service="worker"))
        await ensure_search_attributes(adapters.temporal)
        if Queue.CHAT in queues:
            every, grace = settings.housekeeping_interval, settings.housekeeping_grace
            await ensure_housekeeping(adapters.temporal, every=every, grace=grace)
        workers = [await stack.enter_async_context(build_worker(adapters, queue)) for queue in queues]
        structlog.get_logger(__name__).info("worker_ready", queues=[q.value for q in queues])
        await stop.wait()
        await asyncio.gather(*(worker.shutdown() for worker in workers))  # one grace for all of them


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Runs ChatSphere's workflows and activities.")
    parser.add_argument("--queues", help=f"some of {','.join(Queue)} (default: CHATSPHERE_WORKER_QUEUES, at first all)")
    chosen, settings = parser.parse_args().queues, Settings()
    configure_logs(level=settings.log_level, style=settings.log_format, service="worker")
    run_process(run(settings, [Queue(name.strip()) for name in (chosen or settings.worker_queues).split(",")]))
