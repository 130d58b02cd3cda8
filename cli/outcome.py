"""How an ingestion of files went."""

from dataclasses import dataclass, field

from rich import box
from rich.table import Table
from rich.text import Text

from cli.console import out
from cli.session import Json


@dataclass(frozen=True, slots=True)
class Outcome:
    """Documents that the files became, those that are ready, those that are not and why, and files that were refused."""

    documents: int = 0
    ready: int = 0
    chunks: int = 0
    unready: list[Json] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.documents + other.documents,
            self.ready + other.ready,
            self.chunks + other.chunks,
            self.unready + other.unready,
            self.refused + other.refused,
        )

    def show(self, *, waited: bool) -> bool:
        """Print it; tell whether all went well."""
        if waited:
            out.print(f"{self.ready} of {self.documents} documents are ready, {self.chunks} chunks.")
            if self.unready:
                out.print(_table(self.unready))
        else:
            out.print(f"{self.documents} documents are accepted. See: chatsphere status")
        for sentence in self.refused:
            out.print(Text(f"refused: {sentence}", style="red"))
        return not self.refused and not (waited and self.unready)


def _table(documents: list[Json]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("document", "status", "why, and what to do", "id"):
        table.add_column(name, no_wrap=name == "id", overflow="fold")
    for each in documents:
        error = each["last_error"] or {"code": each["status"], "message": ""}
        table.add_row(Text(each["name"]), each["status"], Text(f"{error['code']}: {error['message']}"), each["id"])
    return table
