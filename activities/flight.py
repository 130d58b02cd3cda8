"""The flight record: what each step took, and why its attempts failed, seen while it is still being retried."""

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from adapters.postgres import flight, pack_flight, packs
from adapters.postgres.engine import transaction
from adapters.postgres.flight import Attempt, Failure
from domain.documents import IngestionRef
from domain.errors import DomainError, IngestionClosed
from domain.ingestion import attempt_sequence
from domain.steps import (
    CHUNK,
    EMBED,
    EMBED_PACK,
    EXTRACT,
    EXTRACT_PACK,
    PUBLISH,
    RECOGNIZE,
    RECOGNIZE_LOCALLY,
    EmbedPack,
    EmbedShard,
    PackRef,
    RecognizePages,
)

log = structlog.get_logger(__name__)

RECORDED = frozenset(
    step.name for step in (EXTRACT, RECOGNIZE, RECOGNIZE_LOCALLY, CHUNK, EMBED, PUBLISH, EXTRACT_PACK, EMBED_PACK)
)


def this_attempt(part: int = 0) -> Attempt:
    """Describe the attempt that runs now; a step records it in the transaction that completes it."""
    info = activity.info()
    sequence = attempt_sequence(info.scheduled_time, info.attempt)
    return Attempt(step=info.activity_type, part=part, sequence=sequence, started_at=info.started_time)


class FlightRecorder(Interceptor):
    """Writes down failed attempts of ingestion steps. Costs nothing where none fails."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002  (Temporal's name)
        return _Inbound(next, self)

    async def failed(self, given: object, error: Exception) -> None:
        """Record one failed attempt, as well as it goes: the failure itself must reach Temporal."""
        if isinstance(given, PackRef | EmbedPack):
            return await self._pack_failed(PackRef(ref=given.ref, pack=given.pack), error)
        part = _part(given)
        ref = given.ref if isinstance(given, EmbedShard | RecognizePages) else given
        if not isinstance(ref, IngestionRef) or isinstance(error, IngestionClosed):
            return None
        try:
            async with transaction(self._engine) as connection:
                await flight.record(connection, ref, this_attempt(part), now=self._now(), failure=_failure(error))
        except (SQLAlchemyError, OSError) as lost:
            log.warning("flight_record_lost", reason=type(lost).__name__)

    async def _pack_failed(self, pack: PackRef, error: Exception) -> None:
        try:
            async with transaction(self._engine) as connection:
                ids = [each.ref.ingestion_id for each in await packs.documents_of(connection, pack)]
                await pack_flight.record(connection, ids, this_attempt(), now=self._now(), failure=_failure(error))
        except (SQLAlchemyError, OSError) as lost:
            log.warning("flight_record_lost", reason=type(lost).__name__)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, recorder: FlightRecorder) -> None:  # noqa: A002  (Temporal's name)
        super().__init__(next)
        self._recorder = recorder

    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002  (Temporal's name)
        try:
            return await super().execute_activity(input)
        except Exception as error:
            if activity.info().activity_type in RECORDED:
                await self._recorder.failed(input.args[0], error)
            raise


def _part(given: object) -> int:
    if isinstance(given, EmbedShard):
        return given.shard
    return given.part if isinstance(given, RecognizePages) else 0


def _failure(error: Exception) -> Failure:
    if isinstance(error, DomainError):
        return Failure(error.code, error.message)
    if isinstance(error, ApplicationError):
        return Failure(error.type or "internal", error.message)
    return Failure("internal", f"The step failed unexpectedly ({type(error).__name__}). See the worker's log.")
