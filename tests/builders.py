"""Rows for tests, straight into the tables. Everything has a default; every builder answers ids."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from pgvector import HalfVector
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.ids import new_id
from adapters.postgres import keywords, messages
from adapters.postgres.tables import bots, chunk_keywords, chunks, conversations, documents, ingestions, turns, users
from domain import terms
from domain.conversation import After, Place, Role
from domain.ids import BotId, ConversationId, DocumentId, IngestionId, MessageId, TurnId, UserId, chunk_id
from domain.ports import Embedder
from domain.steps import TurnRef


async def a_user(engine: AsyncEngine, **values: Any) -> UserId:
    """An account with an address of its own, and a password that nothing matches."""
    user = UserId(new_id())
    row = {"id": user, "email": f"{user}@example.com", "password_hash": "!"} | values
    async with engine.begin() as connection:
        await connection.execute(insert(users).values(row))
    return user


async def a_bot(engine: AsyncEngine, owner: UserId | None = None, **values: Any) -> tuple[UserId, BotId]:
    """A bot with the default configuration; its owner is made where none is given."""
    owner = owner or await a_user(engine)
    bot = BotId(new_id())
    async with engine.begin() as connection:
        await connection.execute(insert(bots).values({"id": bot, "owner_id": owner, "name": "Helper"} | values))
    return owner, bot


async def a_conversation(engine: AsyncEngine, owner: UserId, bot: BotId, **values: Any) -> ConversationId:
    """An empty conversation."""
    conversation = ConversationId(new_id())
    row = {"id": conversation, "owner_id": owner, "bot_id": bot} | values
    async with engine.begin() as connection:
        await connection.execute(insert(conversations).values(row))
    return conversation


async def a_ready_document(
    engine: AsyncEngine,
    owner: UserId,
    bot: BotId,
    contents: Sequence[str],
    embedder: Embedder,
    *,
    name: str = "handbook.pdf",
    **values: Any,
) -> tuple[DocumentId, IngestionId]:
    """A published document with one chunk for each content, on pages 1, 2, 3, …"""
    document, ingestion = DocumentId(new_id()), IngestionId(new_id())
    vectors = list((await embedder.embed_documents(contents)).vectors) if contents else []
    starts = [0, *accumulate(len(content) + 2 for content in contents)]  # with a blank line between pages
    source = {"content_type": "application/pdf", "size_bytes": 1, "sha256": document.hex}
    version = {"id": ingestion, "document_id": document, "owner_id": owner, "bot_id": bot, "version": 1}
    row = source | {
        "id": document, "owner_id": owner, "bot_id": bot, "name": name, "source_type": "file",
        "current_ingestion_id": ingestion, "active_ingestion_id": ingestion, "embedding_model": embedder.model,
        "status": "ready", "chunk_count": len(contents),
    } | values  # fmt: skip
    async with engine.begin() as connection:
        await connection.execute(insert(documents).values(row))
        await connection.execute(insert(ingestions).values(version | source | {"status": "published", "format": "pdf"}))
        if contents:
            await connection.execute(
                insert(chunks),
                [
                    {
                        "ingestion_id": ingestion, "ordinal": ordinal, "id": chunk_id(ingestion, ordinal),
                        "owner_id": owner, "bot_id": bot, "document_id": document, "content": content,
                        "page_from": ordinal + 1, "page_to": ordinal + 1, "page_starts": [],
                        "char_start": starts[ordinal], "char_end": starts[ordinal] + len(content),
                        "heading_path": [], "embedding": HalfVector(vector),
                    }
                    for ordinal, (content, vector) in enumerate(zip(contents, vectors, strict=True))
                ],
            )  # fmt: skip
            words = [keywords.encode(terms.of_chunk(name, (), content).weights) for content in contents]
            await connection.execute(
                insert(chunk_keywords),
                [{"ingestion_id": ingestion, "ordinal": at, "keywords": each} for at, each in enumerate(words)],
            )
    return document, ingestion


async def a_question(
    engine: AsyncEngine,
    owner: UserId,
    bot: BotId,
    conversation: ConversationId | None = None,
    content: str = "Why?",
    after: After = Place.END,
    **values: Any,
) -> TurnRef:
    """A pending turn with its question; its conversation is made where none is given."""
    conversation = conversation or await a_conversation(engine, owner, bot)
    turn, question = TurnId(new_id()), MessageId(new_id())
    async with engine.begin() as connection:
        await connection.execute(
            insert(turns).values(
                {"id": turn, "owner_id": owner, "bot_id": bot, "conversation_id": conversation, "question_id": question}
                | values
            )
        )
        await messages.add(connection, conversation, turn, question, Role.USER, content, after=after)
    return TurnRef(owner_id=owner, bot_id=bot, conversation_id=conversation, turn_id=turn)
