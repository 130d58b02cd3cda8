"""`chatsphere ask`: a question to a bot, the answer as it is written, and what it stands on."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from cli.bots import find_bot
from cli.console import fail, out
from cli.session import Json, Session, open_session


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    bot: Annotated[str | None, typer.Option(help="The bot's name or id; not needed where there is one.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Go on in this conversation.")] = None,
) -> None:
    """Ask a bot; the answer comes with its citations."""
    session = open_session(context.obj)
    if conversation is None:
        conversation = session.post(f"/bots/{find_bot(session, bot)['id']}/conversations", json={})["id"]
    message = stream_answer(session, conversation, question)
    out.print(citations(message))
    out.print(f"Go on with: chatsphere ask --conversation {conversation} …", style="dim")


def stream_answer(session: Session, conversation: str, question: str) -> Json:
    """Print the answer as it comes; give the stored message."""
    message: Json | None = None
    for kind, data in session.stream(f"/conversations/{conversation}/messages", {"content": question, "stream": True}):
        match kind:
            case "message.delta":
                out.print(data["text"], end="", markup=False, soft_wrap=True)
            case "message.reset":
                out.print("\n[dim](the answer is begun anew)[/]")
            case "message.completed":
                message = data["message"]
            case "turn.failed":
                fail(f"{data['error']['message']} ({data['error']['code']})")
            case "turn.cancelled":
                fail("The answer was stopped.")
            case _:
                pass
    out.print()
    if message is None:
        fail(f"The stream ended early; the answer is in the conversation {conversation}.")
    return message


def citations(message: Json) -> Table | Text:
    """Show what the answer stands on."""
    if not message["citations"]:
        return Text("no citations", style="dim")
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", "document", "page", "quote"):
        table.add_column(name)
    for citation in message["citations"]:
        marker, quote = str(citation["marker"]).strip("[]"), " ".join(citation["quote"].split())
        page = "" if citation["page"] is None else str(citation["page"])
        table.add_row(Text(f"[{marker}]"), Text(citation["document_name"]), page, Text(f"“{quote}”"))
    return table
