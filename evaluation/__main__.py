"""`python -m evaluation FOLDER [--model PROVIDER]`: print tables, write JSON to evaluation/results."""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from adapters.settings import Settings
from bench.report import machine, replace_section
from evaluation.grounding import MODES, Judged, calibration_table, grounding_table, judge
from evaluation.metrics import Metrics, mean, measure
from evaluation.passages import Given, given_passages, passages_table
from evaluation.product import Filled, Product, product
from evaluation.sets import EvaluationSet, read_sets
from evaluation.writing import writing_table, written

PROVIDERS = ("gemini", "openai", "anthropic")  # that write; the local model only quotes
RESULTS = Path(__file__).parent / "results"
Scores = dict[str, dict[str, Metrics]]
"""By set and mode."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured, by set and mode."""

    retrieval: Scores
    grounding: dict[str, dict[str, Judged]]
    passages: dict[str, dict[str, Given]]


async def evaluate(wanted: Sequence[EvaluationSet]) -> Evaluation:
    """Fill a bot with each set, ask all its queries in every mode, and then queries that it cannot answer."""
    scores: Scores = {}
    sets: dict[str, EvaluationSet] = {}
    filled: dict[str, Filled] = {}
    async with product() as running:
        for given in wanted:
            print(f"{given.name}: {len(given.documents)} documents, {len(given.queries)} queries …", flush=True)
            sets[given.name], filled[given.name] = given, await running.fill(given)
            scores[given.name] = await _scores(running, given, filled[given.name])
            print(table({given.name: scores[given.name]}), flush=True)
        judged = await judge(running, sets, filled)
        return Evaluation(scores, judged, await given_passages(running, sets, filled))


async def _scores(running: Product, given: EvaluationSet, filled: Filled) -> dict[str, Metrics]:
    return {
        mode.value: mean([measure(await running.rank(filled, query, mode), query.grades) for query in given.queries])
        for mode in MODES
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
    parser.add_argument(
        "--model",
        choices=PROVIDERS,
        help="measure what this provider's model adds, instead; its settings are the usual ones",
    )
    parser.add_argument("--questions", type=int, default=50, metavar="N", help="of each set, with --model (50)")
    given = parser.parse_args()
    try:
        # A `~` comes as it is from `make eval DATA=~/sets`, where the shell finds it in quotes.
        sets = read_sets(given.folder.expanduser(), given.only or ())
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        parser.error(str(error))
    if given.model:
        _with_a_model(parser, given, sets)
        return
    found = asyncio.run(evaluate(sets))
    tables = {"evaluation": table(found.retrieval), "grounding": grounding_table(found.grounding)}
    tables["calibration"] = calibration_table(found.grounding)
    tables["passages"] = passages_table(found.passages)
    print(*tables.values(), sep="\n\n")
    _keep(asdict(found), tables, page=given.markdown)


def _with_a_model(parser: argparse.ArgumentParser, given: argparse.Namespace, sets: Sequence[EvaluationSet]) -> None:
    try:
        settings = Settings(provider=given.model, embedding_provider="local")
    except ValidationError as error:
        parser.error(error.errors()[0]["msg"])
    if given.questions < 1:
        parser.error("--questions is 1 or more.")
    found = asyncio.run(written(sets, settings, questions=given.questions))
    kept = {name: {setting: asdict(one) for setting, one in every.items()} for name, every in found.items()}
    model = settings.generation_models[given.model]
    _keep(
        {"model": model, "writing": kept},
        {"writing": f"Model: {model}.\n\n{writing_table(found)}"},
        page=given.markdown,
    )


def _keep(found: Mapping[str, object], tables: Mapping[str, str], *, page: Path | None) -> None:
    """Write JSON, and put the tables into their sections of the page."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%S}.json"
    path.write_text(json.dumps({"machine": machine(), "taken_at": now.isoformat(), **found}, indent=2))
    print(f"Written to {path}")
    if page is not None:
        for section, rows in tables.items():
            replace_section(page, section, f"Taken on {now:%Y-%m-%d}.\n\n{rows}")


if __name__ == "__main__":
    main()
