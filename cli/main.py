"""The commands, and how what goes wrong is told."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import httpx2
import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from adapters.embedded.settings import StackSettings, sentences
from cli import account, ask, doctor, ingest, replay, retry, status, up
from cli.console import fail
from cli.session import Refused, Target


def _embedded_url() -> str:
    try:
        return StackSettings().api_url
    except ValidationError as error:
        fail("\n".join(sentences(error)), code=2)


class _Commands(TyperGroup):
    """Turns what the API or the network refuses into a sentence and an exit code."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # Typer's context is click's
        try:
            return super().invoke(ctx)
        except Refused as refused:
            hint = " Run: chatsphere login" if refused.status == 401 else ""
            fail(f"{refused} ({refused.code}){hint}")
        except httpx2.ConnectError:
            fail("No API answers. Start it with `chatsphere up`, or say where it is with --url or CHATSPHERE_URL.")
        except httpx2.HTTPError as error:
            fail(f"The connection to the API failed ({type(error).__name__}). Try again; nothing is stored twice.")


app = typer.Typer(
    name="chatsphere",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="ChatSphere: chatbots that answer from your documents, and nothing accepted is ever lost.",
    epilog="Settings: CHATSPHERE_URL and CHATSPHERE_KEY, or `chatsphere login`.",
)


@app.callback()
def main(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(envvar="CHATSPHERE_URL", help="Where the API is. [default: that of `chatsphere up`]"),
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="CHATSPHERE_KEY", help="An API key, instead of `chatsphere login`.")
    ] = None,
) -> None:
    """Keep what all commands share."""
    context.obj = Target((url or _embedded_url()).rstrip("/"), key)


@app.command("version")
def show_version() -> None:
    """Print the versions that matter in a report."""
    for package in ("temporalio", "fastapi", "sqlalchemy", "pypdfium2", "google-genai"):
        try:
            typer.echo(f"{package} {version(package)}")
        except PackageNotFoundError:
            typer.echo(f"{package} is not installed")


app.command()(up.up)
app.command()(account.login)
app.command()(account.logout)
app.command()(ingest.ingest)
app.command()(status.status)
app.command()(retry.retry)
app.command()(ask.ask)
app.command()(replay.replay)
app.command()(doctor.doctor)
