"""`python -m evaluation FOLDER [--markdown PAGE]`: print a table, write JSON to evaluation/results."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.report import machine, replace_section
from domain.retrieval import SearchMode
from evaluation.metrics import Metrics, mean, measure
from evaluation.product import Product, product
from evaluation.sets import EvaluationSet, find_sets, read_set

RESULTS = Path(__file__).parent / "results"
Scores = dict[str, dict[str, Metrics]]
"""By set and mode."""


async def evaluate(folders: Sequence[Path]) -> Scores:
    """Fill a bot with each set and ask all its queries in every mode."""
    scores: Scores = {}
    async with product() as running:
        for folder in folders:
            given = read_set(folder)
            print(f"{given.name}: {len(given.documents)} documents, {len(given.queries)} queries …", flush=True)
            scores[given.name] = await _scores(running, given)
            print(table({given.name: scores[given.name]}), flush=True)
    return scores


async def _scores(running: Product, given: EvaluationSet) -> dict[str, Metrics]:
    filled = await running.fill(given)
    return {
        mode.value: mean([measure(await running.rank(filled, query, mode), query.grades) for query in given.queries])
        for mode in (SearchMode.KEYWORD, SearchMode.VECTOR, SearchMode.HYBRID)
    }


def table(scores: Scores) -> str:
    """Write Markdown: a row for each set and mode, and what hybrid gains over the better arm."""
    lines = [
        "| set | mode | nDCG@10 | recall@5 | recall@10 | recall@50 | beside the better arm |",
        "|---|---|---|---|---|---|---|",
    ]
    gains = []
    for name, modes in scores.items():
        better = max(modes[arm].ndcg_10 for arm in ("keyword", "vector"))
        gains.append(modes["hybrid"].ndcg_10 - better)
        for mode, metrics in modes.items():
            cells = " | ".join(f"{value:.3f}" for value in asdict(metrics).values())
            lines.append(f"| {name} | {mode} | {cells} | {f'{gains[-1]:+.3f}' if mode == 'hybrid' else ''} |")
    lines.append(f"| mean | hybrid | | | | | {sum(gains) / len(gains):+.3f} |")
    return "\n".join(line.replace("|  |", "| |") for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation", description="Measures retrieval through the product, with the local models."
    )
    parser.add_argument("folder", type=Path, help="a set in BEIR's layout, or a folder of such sets")
    parser.add_argument("--only", action="append", metavar="SET", help="the set of this name; may be given again")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="also replace the table of this page")
    given = parser.parse_args()
    folders = [folder for folder in find_sets(given.folder) if not given.only or folder.name in given.only]
    if not folders:
        parser.error(f"{given.folder} holds no set: corpus.jsonl, queries.jsonl and qrels.tsv are wanted.")
    scores = asyncio.run(evaluate(folders))
    print(table(scores))
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    plain = {name: {mode: asdict(metrics) for mode, metrics in modes.items()} for name, modes in scores.items()}
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps({"machine": machine(), "taken_at": now.isoformat(), "sets": plain}, indent=2))
    print(f"Written to {path}")
    if given.markdown:
        replace_section(given.markdown, "evaluation", f"Taken on {now:%Y-%m-%d}.\n\n{table(scores)}")


if __name__ == "__main__":
    main()
