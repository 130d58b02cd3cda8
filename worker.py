"""The worker: reads settings, opens adapters, serves any subset of the task queues until it is told to stop."""

import argparse
import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog
from temporalio.worker import Worker

from activities.interceptor import ErrorInterceptor
from activities.registry import activities_of
from adapters.logs import configure_logs
from adapters.settings import Settings
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import ensure_housekeeping
from adapters.wiring import Adapters, open_adapters
from domain.steps import Queue
from workflows import WORKFLOWS
from workflows.sandbox import workflow_runner


def build_worker(adapters: Adapters, queue: Queue) -> Worker:
    """Serve one queue; `chat` also runs the workflows and their local steps."""
    settings = adapters.settings
    slots = {Queue.CHAT: settings.worker_database_slots, Queue.INGEST_CPU: settings.worker_cpu_slots}
    return Worker(
        adapters.temporal,
        task_queue=queue,
        workflows=WORKFLOWS if queue is Queue.CHAT else [],
        activities=activities_of(adapters, queue),
        interceptors=[ErrorInterceptor()],
        workflow_runner=workflow_runner(),
        max_concurrent_activities=slots.get(queue, settings.worker_model_slots),
        max_task_queue_activities_per_second=settings.models_per_second if queue is Queue.MODELS else None,
        # A cancellation reaches an activity with its heartbeats: half a second, not most of a timeout.
        max_heartbeat_throttle_interval=timedelta(seconds=0.5),
        default_heartbeat_throttle_interval=timedelta(seconds=0.5),
        # After a crash a turn waits this long for the dead worker's cache; the default is 10 s.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=settings.graceful_shutdown,
    )


async def run(settings: Settings, queues: list[Queue]) -> None:
    """Serve until SIGINT or SIGTERM, then let running steps finish within the grace."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        adapters = await stack.enter_async_context(open_adapters(settings, service="worker"))
        await ensure_search_attributes(adapters.temporal)
        if Queue.CHAT in queues:
            await ensure_housekeeping(
                adapters.temporal, every=settings.housekeeping_interval, grace=settings.housekeeping_grace
            )
        for queue in queues:
            await stack.enter_async_context(build_worker(adapters, queue))
        structlog.get_logger(__name__).info("worker_ready", queues=[q.value for q in queues])
        await stop.wait()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Runs ChatSphere's workflows and activities.")
    parser.add_argument("--queues", help="comma-separated subset of: " + ", ".join(Queue), default=None)
    arguments = parser.parse_args()
    settings = Settings()
    configure_logs(level=settings.log_level, style=settings.log_format, service="worker")
    asyncio.run(
        run(settings, [Queue(name.strip()) for name in (arguments.queues or settings.worker_queues).split(",")])
    )


if __name__ == "__main__":
    main()
