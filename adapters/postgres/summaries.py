"""Summaries of what was said from a branch's beginning to a message; each is made once, and stays."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.tables import summaries
from domain.ids import MessageId
from domain.ports import Completion


async def read(connection: AsyncConnection, until: MessageId | None) -> str:
    """Read the summary that ends with a message; empty where there is none."""
    if until is None:
        return ""
    query = select(summaries.c.content).where(summaries.c.message_id == until)
    return (await connection.execute(query)).scalar_one_or_none() or ""


async def add(connection: AsyncConnection, until: MessageId, text: str, completion: Completion) -> None:
    """Store a summary; the first one stays. The caller has locked the turn, so that the messages are there."""
    row = {
        "message_id": until,
        "content": text,
        "model": completion.model,
        "input_tokens": completion.input_tokens,
        "output_tokens": completion.output_tokens,
    }
    await connection.execute(insert(summaries).values(row).on_conflict_do_nothing(index_elements=["message_id"]))
