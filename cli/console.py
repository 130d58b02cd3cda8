"""What a person sees: one console, and one way to end with a sentence."""

from typing import NoReturn

import typer
from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(sentence: str, *, code: int = 1) -> NoReturn:
    """End the command: a sentence on stderr, and an exit code that scripts can read."""
    err.print(sentence, style="red", markup=False)
    raise typer.Exit(code)
