"""Reads e-mails: who, when and about what, the best body part, and the text of what is attached."""

from email import message_from_binary_file
from email.message import EmailMessage, MIMEPart
from email.policy import default
from pathlib import Path

from adapters.extraction.cleaning import clean_piece
from adapters.extraction.encoding import decoded
from adapters.extraction.markdown import from_html, heading, paragraph, tidy
from adapters.extraction.messages import NO_TEXT_IN_DOCUMENT
from adapters.extraction.order import Order
from adapters.extraction.output import PageWriter
from domain.errors import NoText

_HEADERS = ("From", "To", "Cc", "Date")
_DEEPEST = 5  # forwarded in forwarded


def read(source: Path, output: PageWriter, order: Order) -> None:  # noqa: ARG001  (every reader is called so)
    """Write the message; its subject is its heading. Attachments are named, and read where they are text."""
    with source.open("rb") as file:
        message = message_from_binary_file(file, policy=default)
    text = tidy(clean_piece(_message(message, 1)))
    if not text.strip():
        raise NoText(NO_TEXT_IN_DOCUMENT)
    output.write_text(text)


def _message(message: EmailMessage, level: int) -> str:
    title = heading(level, str(message.get("Subject", "")))
    lines = [f"{name}: {' '.join(str(message[name]).split())}" for name in _HEADERS if message[name]]
    body = message.get_body(("plain", "html"))
    html = message.get_body(("html",))
    if html is not None and (body is None or not _content(body).strip()):
        body = html
    parts = [title + "  \n".join(lines), _body(body) if body is not None else ""]
    parts += [_attachment(part, level + 1) for part in message.iter_attachments()]
    return "\n\n".join(part for part in parts if part.strip())


def _body(part: MIMEPart) -> str:
    text = _content(part)
    return from_html(text) if part.get_content_type() == "text/html" else paragraph(text)


def _attachment(part: MIMEPart, level: int) -> str:
    if part.get_content_type() == "message/rfc822" and level < _DEEPEST:
        inner = part.get_content()
        return _message(inner, level) if isinstance(inner, EmailMessage) else ""
    title = heading(level, f"Attachment: {part.get_filename() or part.get_content_type()}")
    return title + (_body(part) if part.get_content_maintype() == "text" else "")


def _content(part: MIMEPart) -> str:
    """Give a text part. Its charset is declared, wrong or unknown."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    try:
        return data.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return decoded(data)
