"""Workflow names and ids, and the order of attempts. An id follows from what the run is for, so that none runs twice."""

from datetime import UTC, datetime, timedelta

from domain.ids import BotId, ConversationId, CrawlId, DocumentId, ImportId

INGEST_DOCUMENT = "IngestDocument"
ANSWER_TURN = "AnswerTurn"
DELETE_DOCUMENT = "DeleteDocument"
DELETE_BOT = "DeleteBot"
CRAWL_SITE = "CrawlSite"
IMPORT_DOCUMENTS = "ImportDocuments"
INDEX_BOT = "IndexBot"
HOUSEKEEPING = "Housekeeping"
HOUSEKEEPING_ID = "housekeeping"

RETRY_UPDATE = "retry"
ABANDON_UPDATE = "abandon"
KEEP_TEXT_PAGES_UPDATE = "keep_text_pages"
ADMIT_SIGNAL = "admit"
DECIDED_SIGNAL = "decided"

# Chat goes before ingestion on every queue that both use; 1 is the most urgent, 5 the least.
CHAT_PRIORITY = 1
DELETE_PRIORITY = 3
INGEST_PRIORITY = 4
IMPORT_PRIORITY = 5


_FAR = datetime(2090, 1, 1, tzinfo=UTC)
_FIRST_LOCAL = -(2**31)


def attempt_number(began: datetime) -> int:
    """Number an attempt at a step so that a later one is greater: in seconds, which fit 32 bits, and below zero.

    `began` is by the server's clock. Temporal's own number begins at 1 again where a person resets the step. Rows, and
    workers, of a release that kept that one are met during an upgrade: whatever is not below zero orders nothing.
    """
    return int((began - _FAR) / timedelta(seconds=1))


def local_attempt_number(attempt: int) -> int:
    """Number an attempt at a local step by Temporal's own count: before every other step's, whatever the worker's clock."""
    return _FIRST_LOCAL + attempt


def ingestion_run(document_id: DocumentId) -> str:
    """Name the one run that may ingest this document."""
    return f"ingest/{document_id}"


def turn_run(conversation_id: ConversationId) -> str:
    """Name the one run that may answer in this conversation."""
    return f"chat/{conversation_id}"


def crawl_run(crawl_id: CrawlId) -> str:
    """Name the one run that may crawl for this crawl."""
    return f"crawl/{crawl_id}"


def deletion_run(target: DocumentId | BotId) -> str:
    """Name the run that deletes a document or a bot."""
    return f"delete/{target}"


def import_run(import_id: ImportId) -> str:
    """Name the one run that may work on this import."""
    return f"import/{import_id}"


def index_run(bot_id: BotId) -> str:
    """Name the one run that may index this bot."""
    return f"index/{bot_id}"
