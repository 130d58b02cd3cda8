"""A conversation as a Markdown document: what was said, word by word, with its citations as footnotes.

Nothing that was said can pass for the document's own: a question is escaped letter by letter, an answer, which is
Markdown itself, stands in a block quotation, and neither loads an image nor holds a tag.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import regex

from domain.citations import Citation
from domain.conversation import Role
from domain.lines import on_one_line
from domain.links import without_images_and_tags
from domain.markers import MARKER, CodeSpans, numbers_of
from domain.messages import Message, MessageStatus

_SPECIAL = regex.compile(r"[\\`*_\[\]<>&!#|~^$]")
_LINE_START = regex.compile(r"^(?P<number>\d{1,9})?(?P<mark>[-+=:.)])")
_LINES = regex.compile(r"\r\n?|\n")
_INDENT = "&nbsp;"
_NOTE_OR_MARKER = regex.compile(rf"(?P<note>\[\^)|{MARKER.pattern}")


def markdown_head(title: str | None, begun: datetime) -> str:
    """Begin the document."""
    return f"# {_label(title or 'Conversation')}\n\nBegun {_time(begun)}.\n"


def markdown_message(message: Message, number: int) -> str:
    """Give the section of a message; `number` tells it from the document's others."""
    if message.role is Role.USER:
        return f"\n## Question, {_time(message.created_at)}\n\n{escaped(message.content)}\n"
    parts = [f"\n## Answer, {_time(message.created_at)}\n"]
    if message.content:
        parts.append(_quoted(_noted(without_images_and_tags(message.content), message.citations, number)))
    parts += [f"*{remark}*\n" for remark in _remarks(message)]
    notes = _notes(message.citations, number)
    return "\n".join([*parts, *([notes] if notes else [])])


def escaped(text: str) -> str:
    """Write plain text so that a reader of Markdown shows it as it is, line by line."""
    lines = [_escaped_line(line) for line in _LINES.split(text)]
    # A backslash at its end keeps a line from being joined with the next; an empty line ends a paragraph.
    last = [not line or not following for line, following in zip(lines, [*lines[1:], ""], strict=True)]
    return "\n".join(line if ends else f"{line}\\" for line, ends in zip(lines, last, strict=True))


def _escaped_line(line: str) -> str:
    bare = line.expandtabs(4).lstrip(" ")
    indent = _INDENT * (len(line.expandtabs(4)) - len(bare)) if bare else ""
    safe = _SPECIAL.sub(lambda match: f"\\{match.group()}", bare.rstrip())
    return indent + _LINE_START.sub(lambda match: f"{match['number'] or ''}\\{match['mark']}", safe)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in _LINES.split(text)) + "\n"


def _noted(text: str, citations: Iterable[Citation], number: int) -> str:
    """Turn the markers of what is cited into references, and whatever looks like one into text."""
    cited = {citation.marker for citation in citations}
    code = CodeSpans()
    in_code = [code.feed(char) for char in text]

    def replaced(match: "regex.Match[str]") -> str:
        if in_code[match.start()]:
            return match.group()
        if match["note"]:
            return "\\[^"
        numbers = numbers_of(match.group())
        return "".join(f"[^{number}-{n}]" for n in numbers) if cited.issuperset(numbers) else match.group()

    return _NOTE_OR_MARKER.sub(replaced, text)


def _remarks(message: Message) -> Iterable[str]:
    if message.status is MessageStatus.PARTIAL:
        yield "Stopped before its end."
    if message.error is not None:
        yield f"Failed: {_label(message.error.message)}"
    if message.feedback is not None:
        comment = f": {_label(message.feedback.comment)}" if message.feedback.comment else ""
        yield f"Rated {message.feedback.rating.value}{comment}"


def _notes(citations: Sequence[Citation], number: int) -> str:
    notes = []
    for marker in dict.fromkeys(citation.marker for citation in citations):
        of_marker = [citation for citation in citations if citation.marker == marker]
        places = "; ".join(_place(citation) for citation in of_marker)
        notes.append(f"[^{number}-{marker}]: {_label(of_marker[0].document_name)}{places and ', '}{places}\n")
    return "\n".join(notes)


def _place(citation: Citation) -> str:
    page = f"page {citation.page}: " if citation.page is not None else ""
    return f"{page}“{_label(citation.quote)}”"


def _label(text: str) -> str:
    """Keep a stranger's text on its line."""
    return _escaped_line(on_one_line(text))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
