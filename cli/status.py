"""`chatsphere status`: what is ready, what runs, what waits for a person and why."""

import json
from collections import Counter
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from cli.bots import find_bot
from cli.console import out
from cli.session import Json, Session, open_session

_STYLES = {"ready": "green", "processing": "cyan", "pending": "cyan", "needs_attention": "yellow", "failed": "red"}
_STATUSES = ("ready", "processing", "pending", "needs_attention", "failed", "cancelled", "deleting")
_SHOWN = 20


def status(
    context: typer.Context,
    document: Annotated[str | None, typer.Argument(help="A document's id: show its flight record.")] = None,
    bot: Annotated[str | None, typer.Option(help="Of this bot only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show bots and their documents by status, and what needs attention; or one document's flight record."""
    session = open_session(context.obj)
    if document is not None:
        _one(session, document, as_json=as_json)
        return
    bots = [find_bot(session, bot)] if bot else list(session.all("/bots"))
    found = {each["id"]: list(session.all(f"/bots/{each['id']}/documents")) for each in bots}
    if as_json:
        out.print_json(json.dumps([{"bot": each, "documents": found[each["id"]]} for each in bots]))
        return
    out.print(_overview(bots, found))
    waiting = [each for documents in found.values() for each in documents if each["last_error"]]
    if waiting:
        out.print(_waiting(waiting[:_SHOWN]))
        if len(waiting) > _SHOWN:
            out.print(f"… and {len(waiting) - _SHOWN} more; --json lists them all.", style="dim")
        out.print("Put the cause right, then: chatsphere retry --all-parked", style="yellow")


def _overview(bots: list[Json], found: dict[str, list[Json]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("bot")
    for name in _STATUSES:
        table.add_column(name.replace("_", " "), justify="right", style=_STYLES.get(name, ""))
    for bot in bots:
        counts = Counter(document["status"] for document in found[bot["id"]])
        table.add_row(Text(bot["name"]), *(str(counts[name] or "") for name in _STATUSES))
    return table


def _waiting(documents: list[Json]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_lines=False)
    for name in ("document", "status", "why, and what to do", "id"):
        table.add_column(name, no_wrap=name == "id", overflow="fold")
    for document in documents:
        error = document["last_error"]
        style = _STYLES.get(document["status"], "")
        table.add_row(
            Text(document["name"]), Text(document["status"], style=style),
            Text(f"{error['code']}: {error['message']}"), Text(document["id"]),
        )  # fmt: skip
    return table


def _one(session: Session, document: str, *, as_json: bool) -> None:
    shown, flight = session.get(f"/documents/{document}"), session.get(f"/documents/{document}/ingestion")
    if as_json:
        out.print_json(json.dumps({"document": shown, "ingestion": flight}))
        return
    progress = shown["progress"]
    chunks = f"{progress['chunks_done']} of {progress['chunks_total'] or '?'} chunks"
    if progress.get("estimated_seconds_left") is not None:
        chunks += f", {progress['per_second']:g} a second, some {progress['estimated_seconds_left']} s left"
    out.print(Text(f"{shown['name']}  {shown['status']}  {shown['stage'] or ''}  {chunks}", style="bold"))
    if shown["last_error"]:
        out.print(Text(f"{shown['last_error']['code']}: {shown['last_error']['message']}", style="yellow"))
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("step", "part", "state", "attempts", "seconds", "last error"):
        table.add_column(name, justify="right" if name in ("part", "attempts", "seconds") else "left")
    for step in flight["steps"]:
        error = step["last_error"]
        table.add_row(
            step["step"], str(step["part"]), step["state"], str(step["attempts"]), f"{step['seconds']:.2f}",
            Text(f"{error['code']}: {error['message']}" if error else ""),
        )  # fmt: skip
    out.print(table)
    calls = flight["model_calls"]
    out.print(f"model calls: {calls['made']} of {calls['needed'] or '?'}, {flight['model_tokens']} tokens")
    if flight["next_retry_at"]:
        out.print(f"next attempt: {flight['next_retry_at']}")
    if flight["workflow"]["url"]:
        out.print(f"workflow: {flight['workflow']['url']}", soft_wrap=True)
