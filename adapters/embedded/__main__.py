"""`python -m adapters.embedded`: the whole of ChatSphere on this machine, until Ctrl-C."""

import argparse
import asyncio
import os
import sys

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.console import Console

from adapters.embedded.console import Log
from adapters.embedded.errors import StackError
from adapters.embedded.settings import StackSettings, sentences
from adapters.embedded.state import StateFolder
from adapters.embedded.supervisor import Supervisor


def _help() -> str:
    own = StackSettings.model_fields.keys() - StackSettings.__mro__[1].__annotations__.keys() | {"api_port", "api_host"}
    lines = [_setting(name, StackSettings.model_fields[name]) for name in StackSettings.model_fields if name in own]
    return "\n".join(
        [
            "Settings are environment variables, or lines in .env:\n",
            *lines,
            "\nWhat answers: CHATSPHERE_PROVIDER is local, or gemini with CHATSPHERE_GEMINI_API_KEY.",
        ]
    )


def _setting(name: str, field: FieldInfo) -> str:
    return f"  CHATSPHERE_{name.upper():<20} default {field.default}"


async def _run(settings: StackSettings, log: Log) -> None:
    state = StateFolder(settings.state_dir)
    state.create()
    with state.locked():
        await Supervisor(settings, state, log).run()


def main() -> int:
    """Answer the exit code: 0 after a stop that was asked for, 1 where the stack did not start, 2 for bad settings."""
    parser = argparse.ArgumentParser(
        prog="python -m adapters.embedded",
        description="Starts Postgres with pgvector, Temporal with its Web UI, migrations, a worker and the API.",
        epilog=_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    errors = Console(stderr=True, highlight=False, soft_wrap=True, style="red")
    try:
        settings = StackSettings()
    except ValidationError as error:
        for sentence in sentences(error):
            errors.print(sentence, markup=False)
        return 2
    os.umask(0o077)  # what the stack keeps is for its owner
    try:
        asyncio.run(_run(settings, Log()))
    except StackError as error:
        errors.print(str(error), markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
