"""One log for all processes, each line behind its process' name."""

import threading

from rich.console import Console
from rich.text import Text

_COLOURS = {"postgres": "blue", "temporal": "magenta", "migrations": "cyan", "worker": "yellow", "api": "green"}
_OWN = "chatsphere"
_WIDTH = max(len(name) for name in (*_COLOURS, _OWN))


class Log:
    """Prints whole lines, whoever writes at the same time."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
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
            self._console.print(text)
