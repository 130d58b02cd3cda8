"""`python -m bench [part …] [--quick] [--markdown PAGE]`: print a table, write JSON to bench/results."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import fairness, footprint, imports, ingestion, large_search, search, streams, turns, yardstick
from bench.report import Row, show, write_section
from bench.rig import Rig, rig
from bench.rivals import measure as rivals

Measure = Callable[[Rig], Awaitable[list[Row]]]

PARTS: Mapping[str, Measure] = {
    "yardstick": yardstick.measure,
    "ingestion": ingestion.measure,
    "fairness": fairness.measure,
    "imports": imports.measure,
    "footprint": footprint.measure,
    "turns": turns.measure,
    "streams": streams.measure,
    "search": search.measure,
    "large_search": large_search.measure,
    "rivals": rivals.measure,
}
QUICK: Mapping[str, Measure] = {
    **PARTS,
    "ingestion": partial(ingestion.measure, rounds=1, small_documents=20),
    "fairness": partial(fairness.measure, many=100),
    "imports": partial(imports.measure, documents=20, beside=100, rounds=1),
    "footprint": partial(footprint.measure, pages=300),
    "streams": partial(streams.measure, streams=20, tokens=100),
    "large_search": partial(large_search.measure, large=10_000, small=5_000, rounds=20),
    "rivals": partial(rivals.measure, rounds=1, small_documents=20),
}
BY_REQUEST = {"rivals"}
"""Needs an environment of its own: `make bench-rivals`."""


async def _run(parts: list[str], measures: Mapping[str, Measure]) -> dict[str, list[Row]]:
    rows = {}
    for part in parts:
        print(f"Measuring {part} …", flush=True)
        async with rig() as running:  # a fresh stack each, so that no part pays for another's data
            rows[part] = await measures[part](running)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures ChatSphere side by side with the same work done otherwise."
    )
    usual = [part for part in PARTS if part not in BY_REQUEST]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: {' '.join(usual)})")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and documents: to see that it runs")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="also replace the parts' sections of this page")
    given = parser.parse_args()
    parts = given.parts or usual
    if unknown := set(parts) - set(PARTS):
        parser.error(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    rows = asyncio.run(_run(parts, QUICK if given.quick else PARTS))
    show([row for part in parts for row in rows[part]])
    note = "One round only (`--quick`)." if given.quick else ""
    for part in parts if given.markdown else []:
        write_section(given.markdown, part, rows[part], now=datetime.now(UTC), note=note)


if __name__ == "__main__":
    main()
