"""`chatsphere doctor`: checks every dependency and says what to mend."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

import typer
from pydantic import ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from adapters.embedded.settings import sentences
from adapters.settings import Settings
from cli import checks
from cli.checks import Finding
from cli.console import fail, out
from cli.deployment import use_embedded_stack
from cli.session import Target

_STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False
) -> None:
    """Check every dependency and say what to mend. The exit code is 1 where something failed."""
    target: Target = context.obj
    try:
        use_embedded_stack()
        settings = Settings()
    except ValidationError as error:
        fail("\n".join(sentences(error)), code=2)
    findings = asyncio.run(_all(settings, target.url))
    if as_json:
        out.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        out.print(_table(findings))
    failed = [finding.what for finding in findings if finding.mark == "failed"]
    if failed:
        fail(f"To mend: {', '.join(failed)}.")
    if not as_json:
        out.print("Everything that ChatSphere needs is there.", style="green")


async def _all(settings: Settings, url: str) -> list[Finding]:
    return [finding async for finding in _findings(settings, url)]


async def _findings(settings: Settings, url: str) -> AsyncIterator[Finding]:
    yield checks.python()
    yield checks.packages()
    async for finding in checks.database(settings):
        yield finding
    async for finding in checks.temporal(settings):
        yield finding
    yield checks.storage(settings)
    yield await checks.extraction()
    async for finding in checks.models(settings):
        yield finding
    yield await checks.api(url)


def _table(findings: list[Finding]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", "what", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        mark = Text(finding.mark, style=_STYLES[finding.mark])
        table.add_row(mark, finding.what, Text(finding.detail), Text(finding.advice))
    return table
