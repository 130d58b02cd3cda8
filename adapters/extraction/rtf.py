"""Reads Rich Text Format. Its text and tables survive; it has no headings, only fonts."""

from pathlib import Path

from striprtf.striprtf import rtf_to_text

from adapters.extraction.cleaning import clean_piece
from adapters.extraction.markdown import paragraph, tidy
from adapters.extraction.messages import NO_TEXT_IN_DOCUMENT
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import NoText


def read(source: Path, output: PageWriter, order: Order) -> None:  # noqa: ARG001  (every reader is called so)
    """Write the text. The file is ASCII that names its code page; strays are read as Western."""
    data = source.read_bytes().decode("cp1252", "replace")
    text = str(rtf_to_text(data, encoding="cp1252", errors="replace"))  # type: ignore[no-untyped-call]  # it has no types
    lines = [f"| {line.rstrip('|').replace('|', ' | ')} |" if "|" in line else line for line in text.splitlines()]
    text = tidy(clean_piece("\n\n".join(map(paragraph, lines)).replace("|\n\n|", "|\n|")))
    if not text.strip():
        raise NoText(NO_TEXT_IN_DOCUMENT)
    output.write_text(text)
