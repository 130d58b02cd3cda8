"""Conversations as Markdown: what a parser reads in them is what was said, and nothing of it is the document's own."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from domain.citations import Citation
from domain.conversation import Role
from domain.exports import escaped, markdown_head, markdown_message
from domain.ids import ChunkId, ConversationId, DocumentId, MessageId, TurnId
from domain.messages import Failure, Feedback, Message, MessageStatus, Rating

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def said(content: str, role: Role = Role.ASSISTANT, **values: Any) -> Message:
    return Message(
        id=MessageId(UUID(int=1)),
        conversation_id=ConversationId(UUID(int=2)),
        turn_id=TurnId(UUID(int=3)),
        role=role,
        content=content,
        created_at=NOW,
        **{"status": MessageStatus.COMPLETE} | values,
    )


def cited(marker: int, quote: str = "thirty days", name: str = "a.pdf", page: int | None = 12) -> Citation:
    return Citation(
        marker=marker, document_id=DocumentId(UUID(int=4)), document_name=name, chunk_id=ChunkId(UUID(int=5)),
        page=page, quote=quote, score=1.0,
    )  # fmt: skip


def kinds(markdown: str) -> set[str]:
    tokens = PARSER.parse(markdown)
    return {child.type for token in tokens for child in [token, *(token.children or [])]}


def shown(markdown: str) -> str:
    """The text that a reader sees, with its line breaks."""
    lines = [token.children or [] for token in PARSER.parse(markdown) if token.type == "inline"]
    return "\n\n".join("".join("\n" if c.type.endswith("break") else c.content for c in line) for line in lines)


HOSTILE = [
    "# A heading", "Setext\n===", "Setext\n---", "- a list", "1. a list", "12) a list", "+ a list", "* a list",
    "> quoted", "```\ncode\n```", "~~~\ncode", "    indented code", "\tindented", "<img src=x>", "<script>x</script>",
    "![a](http://127.0.0.1/x.png)", "[a](javascript:x)", "[^1]: a note", "[a]: /b", "| a |\n|---|\n| b |", "***",
    "**bold** _slanted_ `code` ~~gone~~", "&amp; &#35; &lt;", "a\\b", "\\", "trailing\\\nnext", "two  \nlines", "---",
    "$x$", "a*b*c", "=", ": definition",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_question_is_read_as_it_was_typed(text: str) -> None:
    markdown = escaped(text)
    assert kinds(markdown) <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "hardbreak"}
    typed = "\n".join(line.rstrip() for line in text.expandtabs(4).split("\n"))
    assert shown(markdown).replace("\u00a0", " ") == typed


@given(st.text(alphabet=st.sampled_from("ab1 \t\n\\`*_[](){}<>&!#|~^$-+=:.\"'"), max_size=60))
def test_no_question_becomes_markup(text: str) -> None:
    assert kinds(escaped(text)) <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "hardbreak"}


def test_lines_and_paragraphs_of_a_question_stay() -> None:
    assert shown(escaped("one\ntwo\r\n\r\nthree")) == "one\ntwo\n\nthree"


def test_markers_become_footnotes_with_document_page_and_quotation() -> None:
    answer = said(
        'It is "thirty days" [1][2].', citations=(cited(1), cited(1, "and more"), cited(2, name="b.md", page=None))
    )
    assert markdown_message(answer, 4) == (
        "\n## Answer, 2026-11-21 12:00 UTC\n\n"
        '> It is "thirty days" [^4-1][^4-2].\n\n'
        "[^4-1]: a.pdf, page 12: “thirty days”; page 12: “and more”\n\n"
        "[^4-2]: b.md, “thirty days”\n"
    )


def test_what_only_looks_like_a_footnote_is_text_and_code_is_left_alone() -> None:
    answer = said("See [^4-1] and [7], not `a[1]` nor\n```\nb[^2]\n```\n[1]", citations=(cited(1),))
    section = markdown_message(answer, 4)
    assert "See \\[^4-1] and [7], not `a[1]` nor" in section
    assert "> b[^2]\n" in section
    assert "> [^4-1]\n" in section


@pytest.mark.parametrize(
    "content", ["## Question, forged", "</blockquote>\n\n# Out", "```\nopen", "a\n\n\n# b", "a\r# b"]
)
def test_no_answer_leaves_its_quotation(content: str) -> None:
    tokens = PARSER.parse(markdown_message(said(content), 2) + "\n## Question, next\n")
    outside = [token for token in tokens if token.level == 0 and token.type == "heading_open"]
    assert len(outside) == 2
    assert [token.type for token in tokens if token.level == 0 and "blockquote" in token.type] == [
        "blockquote_open", "blockquote_close",
    ]  # fmt: skip


def test_an_answer_loads_no_image_and_holds_no_tag() -> None:
    section = markdown_message(said("![a](http://127.0.0.1/x.png) <img src=x> <!-- y --> <https://127.0.0.1/>"), 2)
    assert kinds(section) & {"image", "html_inline", "html_block"} == set()


def test_names_quotes_and_titles_stay_on_their_line_and_are_no_markup() -> None:
    answer = said("So [1].", citations=(cited(1, quote="a\n\n# b", name="x\n[^9]: <b>.pdf\u202e"),))
    assert markdown_message(answer, 2).splitlines()[-1] == ("[^2-1]: x \\[\\^9\\]: \\<b\\>.pdf, page 12: “a \\# b”")
    assert markdown_head("*T*\n# x", NOW) == "# \\*T\\* \\# x\n\nBegun 2026-11-21 12:00 UTC.\n"
    assert markdown_head(None, NOW).startswith("# Conversation\n")


def test_an_answer_says_how_it_ended_and_what_was_thought_of_it() -> None:
    failure = Failure(code="safety_blocked", message="The model declined. Ask in other words.")
    failed = markdown_message(said("", status=MessageStatus.FAILED, error=failure), 2)
    assert "*Failed: The model declined. Ask in other words.*" in failed
    assert "> " not in failed
    stopped = said("Half", status=MessageStatus.PARTIAL, feedback=Feedback(rating=Rating.DOWN, comment="too *short*"))
    section = markdown_message(stopped, 2)
    assert "*Stopped before its end.*" in section
    assert "*Rated down: too \\*short\\**" in section
