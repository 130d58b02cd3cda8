"""`chatsphere retry`: take up again what waits for a person."""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer
from rich.progress import track

from cli.bots import find_bot
from cli.console import err, fail, out
from cli.session import Json, Refused, Session, open_session

_AT_ONCE = 4


def retry(
    context: typer.Context,
    documents: Annotated[list[str] | None, typer.Argument(help="Ids of documents.")] = None,
    all_parked: Annotated[bool, typer.Option("--all-parked", help="Every document that needs attention.")] = False,
    all_failed: Annotated[bool, typer.Option("--all-failed", help="Every document that failed.")] = False,
    bot: Annotated[str | None, typer.Option(help="Of this bot only.")] = None,
    code: Annotated[str | None, typer.Option(help="Only those with this error code.")] = None,
) -> None:
    """Run the failed step again. What succeeded before is kept and not paid for again."""
    statuses = [name for name, chosen in (("needs_attention", all_parked), ("failed", all_failed)) if chosen]
    if bool(documents) == bool(statuses):
        fail("Give the ids of documents, or --all-parked, --all-failed or both.", code=2)
    session = open_session(context.obj)
    chosen = documents or [
        document["id"]
        for document in _in_status(session, bot, statuses)
        if code is None or (document["last_error"] or {}).get("code") == code
    ]
    if not chosen:
        out.print("Nothing waits for a retry.")
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        results = list(
            track(
                pool.map(lambda each: _retry(session, each), chosen),
                description="Retrying", total=len(chosen), console=out, transient=True,
            )
        )  # fmt: skip
    refused = [sentence for sentence in results if sentence]
    for sentence in refused:
        err.print(sentence, style="red", markup=False)
    out.print(f"{len(chosen) - len(refused)} of {len(chosen)} taken up again. See: chatsphere status")
    if refused:
        raise typer.Exit(1)


def _in_status(session: Session, bot: str | None, statuses: list[str]) -> list[Json]:
    bots = [find_bot(session, bot)] if bot else list(session.all("/bots"))
    return [
        document
        for each in bots
        for status in statuses
        for document in session.all(f"/bots/{each['id']}/documents", status=status)
    ]


def _retry(session: Session, document: str) -> str | None:
    """Give what the API said against it."""
    try:
        session.post(f"/documents/{document}/retry")
    except Refused as refused:
        return f"{document}: {refused} ({refused.code})"
    return None
