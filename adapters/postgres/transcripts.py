"""Conversations that are held elsewhere, stored with what was said before, so that a turn finds its history."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import bots
from adapters.postgres.tables import conversations, messages, turns
from domain.conversation import Origin, Role, TurnStatus
from domain.ids import BotId, ConversationId, UserId, answer_id
from domain.messages import MessageStatus
from domain.transcripts import Exchange


async def add(
    connection: AsyncConnection,
    owner: UserId,
    bot: BotId,
    conversation: ConversationId,
    told: Sequence[Exchange],
    *,
    origin: Origin,
    title: str,
) -> None:
    """Store a conversation and the exchanges that it began with. Raises `NotFound`."""
    await bots.hold(connection, owner, bot)
    row = {"id": conversation, "owner_id": owner, "bot_id": bot, "title": title, "origin": origin}
    await connection.execute(insert(conversations).values(row))
    if not told:
        return
    common = {"owner_id": owner, "bot_id": bot, "conversation_id": conversation, "status": TurnStatus.COMPLETE}
    await connection.execute(insert(turns).values([{**common, **_turn(each)} for each in told]))
    said = [message for each in told for message in _messages(each)]
    rows = [{"conversation_id": conversation, "position": at, **message} for at, message in enumerate(said, start=1)]
    await connection.execute(insert(messages), rows)


def _turn(each: Exchange) -> dict[str, Any]:
    answer = answer_id(each.turn_id) if each.answer else None
    question = each.question_id if each.question else answer
    return {"id": each.turn_id, "question_id": question, "answer_id": answer, "finished_at": func.now()}


def _messages(each: Exchange) -> list[dict[str, Any]]:
    said = []
    if each.question:
        said.append({"id": each.question_id, "role": Role.USER, "content": each.question})
    if each.answer:
        said.append({"id": answer_id(each.turn_id), "role": Role.ASSISTANT, "content": each.answer})
    return [{"turn_id": each.turn_id, "status": MessageStatus.COMPLETE, **message} for message in said]
