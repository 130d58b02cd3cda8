"""Medians, ratios, tables and JSON."""

import json
import platform
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, against what, and the target."""

    name: str
    value: str
    baseline: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    group: str = ""
    """Rows of one group follow each other under its name."""


def percentile(values: Iterable[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def machine() -> str:
    """Name the machine a figure was taken on."""
    memory = round(psutil.virtual_memory().total / (1 << 30))
    return f"{psutil.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def show(rows: Sequence[Row]) -> None:
    """Print the table, and write it as JSON beside the earlier ones."""
    table = Table(title=f"ChatSphere bench: {machine()}", title_justify="left")
    for column in ("what", "measured", "against", "ratio", "target", ""):
        table.add_column(column)
    for row, opens in _with_groups(rows):
        if opens:
            table.add_section()
            table.add_row(f"[bold]{row.group}")
        mark = {True: "[green]met", False: "[red]missed", None: ""}[row.met]
        table.add_row(row.name, row.value, row.baseline, row.ratio, row.target, mark)
    Console(width=150).print(table)
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    document = {"machine": machine(), "taken_at": now.isoformat(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(document, indent=2))
    print(f"Written to {path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else f"Written to {path}")


def write_section(page: Path, part: str, rows: Sequence[Row], *, now: datetime, note: str = "") -> None:
    """Put the part's rows between `<!-- bench <part> -->` and `<!-- /bench <part> -->` of a Markdown page."""
    busy = psutil.getloadavg()[0]
    taken = f"Taken on {now:%Y-%m-%d} on {machine()}; load average at the end {busy:.1f}. {note}".rstrip()
    replace_section(page, f"bench {part}", f"{taken}\n\n{markdown(rows)}")


def replace_section(page: Path, name: str, content: str) -> None:
    """Put the content between `<!-- <name> -->` and `<!-- /<name> -->` of a Markdown page."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} has no section {begin} … {end}.")
    page.write_text(f"{before}{begin}\n{content}\n{end}{after}")


def markdown(rows: Sequence[Row]) -> str:
    """Write the table as Markdown."""
    lines = ["| what | measured | against | ratio | target | |", "|---|---|---|---|---|---|"]
    for row, opens in _with_groups(rows):
        if opens:
            lines.append(f"| **{row.group}** | | | | | |")
        mark = {True: "met", False: "missed", None: ""}[row.met]
        lines.append("| " + " | ".join((row.name, row.value, row.baseline, row.ratio, row.target, mark)) + " |")
    return "\n".join(line.replace("|  |", "| |").rstrip() for line in lines)


def _with_groups(rows: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    """Give each row, and whether it is the first of a group."""
    group = ""
    for row in rows:
        yield row, bool(row.group) and row.group != group
        group = row.group
