"""Markdown out of HTML and of tables; every reader that is not for plain text ends here."""

import html as entities
import re
from collections.abc import Iterable, Sequence

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

from adapters.extraction.messages import TOO_DEEP
from domain.errors import CorruptFile

# What stands round the content of a page, by element, role and the names that frameworks agree on.
_BOILERPLATE = [
    "nav", "footer", "aside", "dialog", "menu", "script", "style", "template", "noscript", "iframe", "object", "svg",
    "button", "select", "textarea", "input", "datalist",
    "[role=navigation]", "[role=banner]", "[role=contentinfo]", "[role=search]", "[role=menu]", "[role=menubar]",
    "[role=dialog]", "[role=alertdialog]", "[aria-hidden=true]", "[hidden]",
    ".navbar", ".breadcrumb", ".breadcrumbs", ".cookie-banner", ".cookie-consent", ".site-header", ".site-footer",
    ".skip-link", ".advertisement", ".social-share",
]  # fmt: skip
_NEVER = ["script", "style", "template", "noscript", "iframe", "object"]
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,500})</title>", re.IGNORECASE)
_MARKED = re.compile(r"^(\s{0,3})(?=#{1,6}(?:\s|$)|=+\s*$|-+\s*$|```|~~~)")
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+;=-]+,[A-Za-z0-9+/=%\s]{64,}")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n){2,}")


def from_html(html: str, *, page: bool = False) -> str:
    """Convert HTML. Of a `page` of the web what stands round its content is dropped. Raises `CorruptFile`."""
    html = _DATA_URI.sub("", html)
    text = _convert(html, page=page)
    if page and not text.strip():
        text = _convert(html, page=False)  # nothing but boilerplate, by its marks: then it is the content
    title = _TITLE.search(html) if page else None
    if title and not re.search(r"^# ", text, re.MULTILINE):
        text = heading(1, entities.unescape(title[1])) + text
    return text


def tidy(text: str) -> str:
    """Bring converted Markdown to a form: one blank line at most, no rule at its start, which is front matter."""
    text = _BLANK_LINES.sub("\n\n", text).strip("\n")
    while text.startswith("---"):
        text = text[3:].lstrip("-").lstrip()
    return text


def heading(level: int, title: str) -> str:
    """Give a heading's line; none for a blank title."""
    title = " ".join(title.split())
    return f"{'#' * min(level, 6)} {title}\n\n" if title else ""


def paragraph(text: str) -> str:
    """Give lines of plain text, those escaped that would make a heading, a fence or front matter of it."""
    return "\n".join(_MARKED.sub(r"\1\\", line) for line in text.splitlines())


def row(cells: Iterable[str]) -> str:
    """Give a table's row."""
    return "| " + " | ".join(map(_cell, cells)) + " |\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Give a small table whose first row is its header."""
    width = max(map(len, rows), default=0)
    if not width:
        return ""
    first, *others = [[*cells, *[""] * (width - len(cells))] for cells in rows]
    return row(first) + rule(width) + "".join(map(row, others)) + "\n"


def rule(width: int) -> str:
    """Give the line under a table's header."""
    return "|" + " --- |" * width + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _convert(html: str, *, page: bool) -> str:
    options = ConversionOptions(
        extract_metadata=False,
        skip_images=True,
        compact_tables=True,
        bullets="-",
        exclude_selectors=_BOILERPLATE if page else _NEVER,
        preprocessing=PreprocessingOptions(enabled=page, remove_forms=False),
    )
    result = convert(html, options)
    if any(str(warning.kind) == "depth_limit_exceeded" for warning in result.warnings):
        raise CorruptFile(TOO_DEEP)
    return result.content or ""
