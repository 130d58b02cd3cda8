"""Citations as annotations of OpenAI's."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from adapters.postgres import files
from adapters.postgres.turn_events import Event
from adapters.wiring import Adapters
from api.openai.schemas.chat import ChatAnnotation, CompletionUsage, UrlCitation
from api.openai.schemas.responses import FileCitation, ResponseUsage
from domain.annotations import Annotation, annotate
from domain.messages import Message

Names = Mapping[UUID, UUID]
"""Of documents that a file became: the file's id."""


async def names_in(adapters: Adapters, those: Iterable[UUID]) -> Names:
    """Find the files that documents were made of."""
    wanted = set(those)
    if not wanted:
        return {}
    async with adapters.engine.connect() as connection:
        return await files.names(connection, wanted)


async def names_of(adapters: Adapters, event: Event) -> Names:
    """Find the files that an answer cites, where the event tells an answer."""
    citations = event.data.get("message", {}).get("citations", ())
    return await names_in(adapters, (UUID(each["document_id"]) for each in citations))


def chat_annotations(answer: Message, site: str, names: Names) -> list[ChatAnnotation]:
    """Show where each statement comes from; `site` is this server's own address."""
    return [
        ChatAnnotation(
            url_citation=UrlCitation(
                title=each.citation.document_name, url=f"{site}{_path(each)}", **_cited(each, names)
            )
        )
        for each in annotate(answer.content, answer.citations)
    ]


def file_citations(answer: Message, names: Names) -> list[FileCitation]:
    """Show where each statement comes from."""
    return [FileCitation(**_cited(each, names)) for each in annotate(answer.content, answer.citations)]


def _path(each: Annotation) -> str:
    page = "" if each.citation.page is None else f"#page={each.citation.page}"
    return f"/api/v1/documents/{each.citation.document_id}/content{page}"


def _cited(each: Annotation, names: Names) -> dict[str, Any]:
    cited = each.citation
    return {
        "start_index": each.start,
        "end_index": each.end,
        "file_id": str(names.get(cited.document_id, cited.document_id)),
        "filename": cited.document_name,
        "index": each.start,
        "document_id": str(cited.document_id),
        "chunk_id": str(cited.chunk_id),
        "marker": cited.marker,
        "page": cited.page,
        "char_start": cited.char_start,
        "char_end": cited.char_end,
        "quote": cited.quote,
        "score": cited.score,
    }


def usage_of(answer: Message) -> CompletionUsage:
    """Count what the answer took."""
    read, written = _tokens(answer)
    return CompletionUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def response_usage_of(answer: Message) -> ResponseUsage:
    """Count what the answer took."""
    read, written = _tokens(answer)
    return ResponseUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _tokens(answer: Message) -> tuple[int, int]:
    return (answer.usage.input_tokens, answer.usage.output_tokens) if answer.usage else (0, 0)
