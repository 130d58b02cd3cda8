"""The main job, as a client sees it: `make demo` against a running `make up`.

Registers, makes a bot, uploads a small PDF, shows how it becomes ready, asks two questions, and prints
the streamed answers with the citations that prove them. Nothing but HTTP.
"""

import argparse
import io
import os
import secrets
import sys
import textwrap

import httpx2
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from cli.ask import citations, stream_answer
from cli.console import err, out
from cli.session import Json, Refused, Session, client, events

QUESTIONS = ("How many books may a member borrow at the same time?", "What does a lost book cost?")
DOCUMENT = "library-handbook.pdf"
PAGES = (
    """The Harbour Street Library: a handbook for members

    Membership is free for everyone who lives or works in the harbour district. A member's card is made at the
    desk while you wait. It is valid for three years and can be renewed at any time.

    The library is open from Tuesday to Saturday, from 10 in the morning until 7 in the evening. On the first
    Sunday of each month the reading room opens at noon for the children's theatre.""",
    """Borrowing

    A member may borrow up to twelve books at the same time. Films and games are lent for one week, books for
    four weeks. A loan is extended twice by itself, unless somebody else has reserved the book.

    A reserved book waits for seven days on the shelf beside the desk. Nothing is charged for a reservation.""",
    """When something goes wrong

    A book that comes back late costs twenty cents for each day, and never more than five euros. A lost book costs
    its price in the shop and a handling fee of three euros. Tell the desk early: whoever reports a loss
    before the reminder is sent pays no handling fee.

    Water, coffee and dogs have damaged books before. Do not repair a page with tape; bring it to the bindery on
    the second floor.""",
)


class DemoFailed(Exception):
    """The demo cannot go on. The message is for a person."""


def main() -> int:
    """Answer the exit code: 1 with a sentence where something did not go as it should."""
    parser = argparse.ArgumentParser(description="Shows ChatSphere's main job against a running `make up`.")
    default = f"http://127.0.0.1:{os.environ.get('CHATSPHERE_API_PORT', '8000')}"
    parser.add_argument("--url", default=default, help=f"where the API is (default {default})")
    url = parser.parse_args().url.rstrip("/")
    try:
        with client(url) as http:
            show(http)
    except httpx2.ConnectError:
        return complain(f"No API answers at {url}. Start it first in another terminal: make up")
    except (httpx2.HTTPError, Refused, DemoFailed) as error:
        return complain(str(error) or type(error).__name__)
    except typer.Exit as ended:  # the answer failed, and the reason has been printed
        return ended.exit_code
    return 0


def complain(sentence: str) -> int:
    err.print(sentence, style="red", markup=False)
    return 1


def show(http: httpx2.Client) -> None:
    """Go through the whole story."""
    session = Session(http)
    say("Registered", sign_in(http, session))
    bot = session.post("/bots", json={"name": "Librarian", "description": "Knows the library's handbook."})
    say("Made a bot", bot["name"])
    file = (DOCUMENT, io.BytesIO(make_pdf(PAGES)), "application/pdf")
    document = session.post(f"/bots/{bot['id']}/documents", files={"file": file})
    say("Uploaded", f"{document['name']}, {document['size_bytes']:,} bytes")
    document = watch(http, session, document)
    say("Ready", f"{document['page_count']} pages, {document['chunk_count']} chunks")
    conversation = session.post(f"/bots/{bot['id']}/conversations", json={})
    for question in QUESTIONS:
        out.print(f"\n[bold cyan]You[/]  {question}")
        out.print("[bold green]Bot[/]  ", end="")
        out.print(citations(stream_answer(session, conversation["id"], question)))


def sign_in(http: httpx2.Client, session: Session) -> str:
    """Register somebody new, so that the demo can be shown again and again."""
    email, password = f"demo-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
    session.post("/auth/register", json={"email": email, "password": password})
    token = session.post("/auth/token", data={"username": email, "password": password})
    http.headers["Authorization"] = f"Bearer {token['access_token']}"
    return email


def watch(http: httpx2.Client, session: Session, document: Json) -> Json:
    """Show the progress events until the document is in a final state."""
    path = f"/documents/{document['id']}"
    columns = SpinnerColumn(), TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task(document["status"], total=None)
        with http.stream("GET", f"{path}/events", headers={"Accept": "text/event-stream"}) as response:
            for _, data in events(response):
                done = data.get("progress") or {}
                progress.update(
                    task,
                    description=data.get("stage") or data.get("status") or "",
                    completed=done.get("chunks_done") or 0,
                    total=done.get("chunks_total"),
                )
    document = session.get(path)
    if document["status"] != "ready":
        error = document["last_error"] or {"code": document["status"], "message": "no reason was given"}
        raise DemoFailed(f"The document is {document['status']}: {error['message']} ({error['code']})")
    return document


def say(what: str, detail: str) -> None:
    out.print(f"[bold]{what:<11}[/] {detail}")


def make_pdf(pages: tuple[str, ...]) -> bytes:
    """Set plain text on A4 pages in Helvetica; the smallest PDF that every reader opens."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {count} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, page in enumerate(pages):
        content = typeset(page)
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            b"/Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (5 + 2 * index),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    file, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, part in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(file))
    return bytes(file) + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def typeset(page: str) -> bytes:
    lines = []
    for paragraph in page.split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), 88), ""]
    escaped = (line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines)
    shown = "\n".join(f"({line}) Tj T*" for line in escaped)
    return f"BT /F1 12 Tf 16 TL 60 780 Td\n{shown}\nET".encode("cp1252")


if __name__ == "__main__":
    sys.exit(main())
