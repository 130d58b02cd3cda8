"""`python -m bench [yardstick] [ingestion] [turns] [search]`: print a table, write JSON to bench/results."""

import argparse
import asyncio

from bench import ingestion, search, turns, yardstick
from bench.report import Row, show
from bench.rig import rig

PARTS = {
    "yardstick": yardstick.measure,
    "ingestion": ingestion.measure,
    "turns": turns.measure,
    "search": search.measure,
}


async def _run(parts: list[str]) -> list[Row]:
    rows: list[Row] = []
    for part in parts:
        print(f"Measuring {part} …", flush=True)
        async with rig() as running:  # a fresh stack each, so that no part pays for another's data
            rows += await PARTS[part](running)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures ChatSphere side by side with the same work done bare."
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)} (default: all of them)")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}.")
    show(asyncio.run(_run(parts)))


if __name__ == "__main__":
    main()
