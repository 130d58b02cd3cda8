"""Slots and timeouts of a worker, per queue."""

from datetime import timedelta
from typing import TypedDict

from adapters.settings import Settings
from domain.steps import Queue


class WorkerOptions(TypedDict):
    """The part of `temporalio.worker.Worker`'s arguments that settings decide."""

    max_concurrent_activities: int
    max_heartbeat_throttle_interval: timedelta
    default_heartbeat_throttle_interval: timedelta
    sticky_queue_schedule_to_start_timeout: timedelta
    graceful_shutdown_timeout: timedelta


def worker_options(settings: Settings, queue: Queue) -> WorkerOptions:
    """Give a queue's options. What a provider may be asked for is no matter of slots: see `adapters/models/budget.py`."""
    slots = {
        Queue.CHAT: settings.worker_database_slots,
        Queue.INGEST_CPU: settings.worker_cpu_slots,
        Queue.MODELS: settings.worker_model_slots,
        Queue.WEB: settings.worker_web_slots,
    }
    return WorkerOptions(
        max_concurrent_activities=slots[queue],
        # A cancellation reaches an activity with its heartbeats: half a second, not most of a timeout.
        max_heartbeat_throttle_interval=timedelta(seconds=0.5),
        default_heartbeat_throttle_interval=timedelta(seconds=0.5),
        # After a crash a turn waits this long for the dead worker's cache; the default is 10 s.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=settings.graceful_shutdown,
    )
