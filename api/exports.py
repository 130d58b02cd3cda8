"""A conversation as a file, streamed page by page: a long one is never in memory as a whole."""

from collections.abc import AsyncIterator
from enum import StrEnum
from urllib.parse import quote

from adapters.clock import now
from adapters.postgres import messages
from adapters.postgres.branches import Extent
from adapters.postgres.engine import transaction
from adapters.postgres.paging import Order, Window
from adapters.wiring import Adapters
from api.schemas.conversations import Conversation, ConversationExport
from domain.errors import NotFound
from domain.exports import markdown_head, markdown_message
from domain.ids import ConversationId
from domain.messages import Message

_PAGE = 100


class ExportFormat(StrEnum):
    """How a conversation is written down."""

    JSON = "json"
    MARKDOWN = "markdown"


MEDIA_TYPES = {ExportFormat.JSON: "application/json", ExportFormat.MARKDOWN: "text/markdown; charset=utf-8"}
_ENDINGS = {ExportFormat.JSON: "json", ExportFormat.MARKDOWN: "md"}


def export_headers(conversation: Conversation, form: ExportFormat) -> dict[str, str]:
    """Name the file after the conversation, and keep it from being shown in the page's own origin."""
    name = f"{conversation.title or 'conversation'}.{_ENDINGS[form]}".translate(str.maketrans("/\\\r\n", "----"))
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


async def json_export(adapters: Adapters, conversation: Conversation, extent: Extent) -> AsyncIterator[str]:
    """Yield a `ConversationExport`."""
    head = ConversationExport(exported_at=now(), conversation=conversation, message_count=extent.messages, messages=[])
    yield head.model_dump_json().removesuffix("]}")
    separator = ""
    async for page in _pages(adapters, conversation, extent):
        yield separator + ",".join(message.model_dump_json() for _, message in page)
        separator = ","
    yield "]}"


async def markdown_export(adapters: Adapters, conversation: Conversation, extent: Extent) -> AsyncIterator[str]:
    """Yield the document with one section a message."""
    yield markdown_head(conversation.title, conversation.created_at)
    async for page in _pages(adapters, conversation, extent):
        yield "".join(markdown_message(message, position) for position, message in page)


async def _pages(
    adapters: Adapters, conversation: Conversation, extent: Extent
) -> AsyncIterator[list[tuple[int, Message]]]:
    """Read as many messages as there were at the beginning, each page by itself: no transaction waits for a reader.

    Raises where the conversation is deleted meanwhile, so that the client sees the stream break off.
    """
    left, after = extent.messages, None
    while left > 0:
        window = Window(limit=min(_PAGE, left), order=Order.ASC, after=after)
        async with transaction(adapters.engine) as connection:
            rows = await messages.page(connection, ConversationId(conversation.id), window, branch=extent.branch)
        page = rows[: window.limit]
        if len(page) < window.limit:
            raise NotFound("The conversation was deleted while it was exported.")
        left, after = left - len(page), (str(page[-1][0]),)
        yield page
