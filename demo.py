"""The main job, as a client sees it: `make demo` against a running `make up`.

Registers, makes a bot, uploads a small PDF, shows how it becomes ready, asks two questions, and prints
the streamed answers with the citations that prove them. Nothing but HTTP.
"""

import argparse
import json
import os
import secrets
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx2
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

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

console = Console(highlight=False)


class DemoFailed(Exception):
    """The demo cannot go on. The message is for a person."""


def main() -> int:
    """Answer the exit code: 1 with a sentence where something did not go as it should."""
    parser = argparse.ArgumentParser(description="Shows ChatSphere's main job against a running `make up`.")
    default = f"http://127.0.0.1:{os.environ.get('CHATSPHERE_API_PORT', '8000')}"
    parser.add_argument("--url", default=default, help=f"where the API is (default {default})")
    url = parser.parse_args().url.rstrip("/")
    try:
        with httpx2.Client(base_url=f"{url}/api/v1", timeout=60, trust_env=False) as http:
            show(http)
    except httpx2.ConnectError:
        return complain(f"No API answers at {url}. Start it first in another terminal: make up")
    except (httpx2.HTTPError, DemoFailed) as error:
        return complain(str(error) or type(error).__name__)
    return 0


def complain(sentence: str) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, style="red", markup=False)
    return 1


def show(http: httpx2.Client) -> None:
    """Go through the whole story."""
    email = sign_in(http)
    say("Registered", email)
    bot = call(http, "POST", "/bots", json={"name": "Librarian", "description": "Knows the library's handbook."})
    say("Made a bot", bot["name"])
    document = call(
        http, "POST", f"/bots/{bot['id']}/documents", files={"file": (DOCUMENT, make_pdf(PAGES), "application/pdf")}
    )
    say("Uploaded", f"{document['name']}, {document['size_bytes']:,} bytes")
    document = watch(http, document)
    say("Ready", f"{document['page_count']} pages, {document['chunk_count']} chunks")
    conversation = call(http, "POST", f"/bots/{bot['id']}/conversations", json={})
    for question in QUESTIONS:
        ask(http, conversation["id"], question)


def sign_in(http: httpx2.Client) -> str:
    """Register somebody new, so that the demo can be shown again and again."""
    email, password = f"demo-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
    call(http, "POST", "/auth/register", json={"email": email, "password": password})
    token = call(http, "POST", "/auth/token", data={"username": email, "password": password})
    http.headers["Authorization"] = f"Bearer {token['access_token']}"
    return email


def watch(http: httpx2.Client, document: dict[str, Any]) -> dict[str, Any]:
    """Show the progress events until the document is in a final state."""
    path = f"/documents/{document['id']}"
    columns = SpinnerColumn(), TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True) as progress:
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
    document = call(http, "GET", path)
    if document["status"] != "ready":
        error = document["last_error"] or {"code": document["status"], "message": "no reason was given"}
        raise DemoFailed(f"The document is {document['status']}: {error['message']} ({error['code']})")
    return document


def ask(http: httpx2.Client, conversation: str, question: str) -> None:
    """Print the answer as it is written, then what it stands on."""
    console.print(f"\n[bold cyan]You[/]  {question}")
    console.print("[bold green]Bot[/]  ", end="")
    message: dict[str, Any] | None = None
    body = {"content": question, "stream": True}
    with http.stream("POST", f"/conversations/{conversation}/messages", json=body) as response:
        for kind, data in events(response):
            match kind:
                case "message.delta":
                    console.print(data["text"], end="", markup=False, soft_wrap=True)
                case "message.reset":
                    console.print("\n[dim](the generation starts again)[/]\n     ", end="")
                case "message.completed":
                    message = data["message"]
                case "turn.failed":
                    raise DemoFailed(data["error"]["message"])
                case _:
                    pass
    console.print()
    if message is None:
        raise DemoFailed("The stream ended without an answer.")
    console.print(citations(message))


def citations(message: dict[str, Any]) -> Table | Text:
    if not message["citations"]:
        return Text("     no citations", style="dim")
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", "document", "page", "quote"):
        table.add_column(name)
    for citation in message["citations"]:
        marker, quote = str(citation["marker"]).strip("[]"), " ".join(citation["quote"].split())
        table.add_row(Text(f"[{marker}]"), Text(citation["document_name"]), str(citation["page"]), Text(f"“{quote}”"))
    return table


def events(response: httpx2.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read server-sent events: their type and their JSON."""
    refuse(response)
    kind, data = "message", ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            kind = value
        elif field == "data":
            data += value
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "message", ""


def call(http: httpx2.Client, method: str, path: str, **body: Any) -> dict[str, Any]:
    response = http.request(method, path, **body)
    refuse(response)
    answer: dict[str, Any] = response.json()
    return answer


def refuse(response: httpx2.Response) -> None:
    """Say the API's own sentence where it refuses."""
    if not response.is_error:
        return
    response.read()
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = "the answer is not ChatSphere's; does something else listen there?"
    raise DemoFailed(f"{response.request.method} {response.request.url.path}: {response.status_code}, {message}")


def say(what: str, detail: str) -> None:
    console.print(f"[bold]{what:<11}[/] {detail}")


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
