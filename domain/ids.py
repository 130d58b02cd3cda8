"""Distinct ids are distinct types; all are UUIDs, minted as UUIDv7 at the edges."""

from typing import NewType
from uuid import UUID, uuid5

UserId = NewType("UserId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
BotId = NewType("BotId", UUID)
DocumentId = NewType("DocumentId", UUID)
IngestionId = NewType("IngestionId", UUID)
ChunkId = NewType("ChunkId", UUID)
ConversationId = NewType("ConversationId", UUID)
MessageId = NewType("MessageId", UUID)
TurnId = NewType("TurnId", UUID)
CrawlId = NewType("CrawlId", UUID)
CrawlPageId = NewType("CrawlPageId", UUID)
ImportId = NewType("ImportId", UUID)
FileId = NewType("FileId", UUID)
FileBatchId = NewType("FileBatchId", UUID)
CallId = NewType("CallId", UUID)
ConnectionId = NewType("ConnectionId", UUID)


def chunk_id(ingestion_id: IngestionId, ordinal: int) -> ChunkId:
    """Name a chunk by what it is, so that a second attempt writes the same row."""
    return ChunkId(uuid5(ingestion_id, str(ordinal)))


def crawl_page_id(crawl_id: CrawlId, url: str) -> CrawlPageId:
    """Name a page of a crawl by its normalised URL, so that finding it again writes the same row."""
    return CrawlPageId(uuid5(crawl_id, url))


def answer_id(turn_id: TurnId) -> MessageId:
    """Name a turn's answer, so that a second attempt to persist it finds the first."""
    return MessageId(uuid5(turn_id, "answer"))


def consultation(call: CallId) -> tuple[ConversationId, TurnId, MessageId]:
    """Name the conversation, turn and question in which another bot is asked, so that it is asked once."""
    return (
        ConversationId(uuid5(call, "conversation")), TurnId(uuid5(call, "turn")), MessageId(uuid5(call, "question")),
    )  # fmt: skip


def call_id(turn_id: TurnId, step: int, number: int) -> CallId:
    """Name an agent's tool call by its place, so that a second attempt to plan it writes the same row."""
    return CallId(uuid5(turn_id, f"call {step} {number}"))
