"""One log for all processes, each line behind its process' name."""

import contextlib
import errno
import os
import threading

from rich.console import Console
from rich.text import Text

_COLOURS = {"postgres": "blue", "temporal": "magenta", "migrations": "cyan", "worker": "yellow", "api": "green"}
_OWN = "chatsphere"
_WIDTH = max(len(name) for name in (*_COLOURS, _OWN))


class _Output(Console):
    """Rich ends the process where nobody reads its output any more."""

    def on_broken_pipe(self) -> None:
        """Let it be told as any other output that is gone."""
        raise OSError(errno.EPIPE, "nobody reads")


class Log:
    """Prints whole lines, whoever writes at the same time; nothing any more once nobody reads.

    Who reads may end before what is to be stopped: `tee` does on Ctrl-C, a terminal that is closed.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Output(highlight=False, soft_wrap=True)
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        """A line of the process `name`; colours in it are kept."""
        prefix = Text(f"{name:<{_WIDTH}} │ ", style=_COLOURS.get(name, "bold"))
        self._print(prefix + Text.from_ansi(text))

    def say(self, text: str, *, style: str = "") -> None:
        """A sentence of our own."""
        self._print(Text(f"{_OWN:<{_WIDTH}} │ ", style="bold") + Text(text, style=style))

    def banner(self, title: str, rows: list[tuple[str, str]]) -> None:
        """A title and what a person needs to know next."""
        width = max(len(name) for name, _ in rows)
        lines = [Text(), Text(f"  {title}", style="bold green"), Text()]
        lines += [Text(f"  {name:<{width}}   ", style="bold") + Text(value) for name, value in rows]
        self._print(Text("\n").join([*lines, Text()]))

    def _print(self, text: Text) -> None:
        with self._lock:
            try:
                self._console.print(text)
            except OSError:
                self._console.quiet = True
                with contextlib.suppress(OSError):
                    # What is still buffered would be tried again at the end of the process.
                    os.dup2(os.open(os.devnull, os.O_WRONLY), self._console.file.fileno())
