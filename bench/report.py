"""Medians, ratios, tables and JSON."""

import json
import platform
import statistics
from collections.abc import Iterable, Sequence
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
    for row in rows:
        mark = {True: "[green]met", False: "[red]missed", None: ""}[row.met]
        table.add_row(row.name, row.value, row.baseline, row.ratio, row.target, mark)
    Console(width=150).print(table)
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    document = {"machine": machine(), "taken_at": now.isoformat(), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(document, indent=2))
    print(f"Written to {path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else f"Written to {path}")
