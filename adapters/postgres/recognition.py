"""Which pages of an ingestion are still to be recognised, and what that took. Nothing here commits."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.flight import Attempt, Failure
from adapters.postgres.ingestions import hold_running, show
from adapters.postgres.tables import ingestion_steps, ingestions
from domain.documents import IngestionRef, Stage
from domain.recognition import ReadPage
from domain.steps import Recognized


def pages_to_recognize(row: Row[Any]) -> list[int]:
    """Give the pages that are left. A document without any text has nothing else to be kept."""
    kept = row.keep_text_pages and row.characters
    return [] if kept else list(row.pages_without_text or ())


async def store(
    connection: AsyncConnection, ref: IngestionRef, read: Sequence[ReadPage], *, now: datetime
) -> tuple[Recognized, list[ReadPage]]:
    """Record that pages are read and stored; gives what is left, and the pages that were not counted before."""
    row = await hold_running(connection, ref)
    listed = list(row.pages_without_text or ())
    counted = [page for page in read if page.page in listed]
    done = {page.page for page in counted}
    left = [number for number in listed if number not in done]
    characters = row.characters + sum(len(page.text) for page in counted)
    values = {
        "pages_without_text": left,
        "pages_recognized": row.pages_recognized + len(counted),
        "characters": characters,
        "model_calls": row.model_calls + sum(page.calls for page in counted),
        "model_tokens": row.model_tokens + sum(page.tokens for page in counted),
        "updated_at": now,
    }
    await connection.execute(update(ingestions).where(ingestions.c.id == ref.ingestion_id).values(values))
    stage = Stage.EXTRACTING if left else Stage.CHUNKING
    shown = {"pages_done": row.pages - len(left), "pages_total": row.pages, "stage": stage, "updated_at": now}
    await show(connection, ref, shown)
    return Recognized(pages_left=len(left), characters=characters), counted


async def count_calls(
    connection: AsyncConnection, ref: IngestionRef, attempt: Attempt, counted: Sequence[ReadPage], note: Failure | None
) -> None:
    """Add the calls of a recorded attempt to its step, and what of it was given up, if anything."""
    table = ingestion_steps.c
    calls = sum(page.calls for page in counted)
    values: dict[str, Any] = {
        "model_calls": table.model_calls + calls,
        "model_calls_needed": func.coalesce(table.model_calls_needed, 0) + calls,
        "model_tokens": table.model_tokens + sum(page.tokens for page in counted),
    }
    if note is not None:
        values |= {"error_code": note.code, "error_message": note.message}
    mine = (table.ingestion_id == ref.ingestion_id) & (table.step == attempt.step) & (table.part == attempt.part)
    await connection.execute(update(ingestion_steps).where(mine).values(values))


async def keep_text_pages(connection: AsyncConnection, ref: IngestionRef, *, now: datetime) -> None:
    """Write down that the ingestion goes on with the pages that have text."""
    await hold_running(connection, ref)
    kept = {"keep_text_pages": True, "updated_at": now}
    await connection.execute(update(ingestions).where(ingestions.c.id == ref.ingestion_id).values(kept))
