"""What the model is given, with and without the settings that choose passages: how much of what answers is among it.

One set, the smallest, is also asked with each of its documents there twice, once as a draft that is cut short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from domain.bots import RetrievalConfiguration
from domain.conversation import estimate_tokens
from domain.passages import diverse, pick_passages
from domain.prompts import PASSAGE_BUDGET
from domain.retrieval import Hit, SearchMode
from evaluation.product import Filled, Product
from evaluation.sets import EvaluationSet, Query

_CANDIDATES = 50  # as a turn looks at
PLAIN = RetrievalConfiguration(merge_neighbours=False, diversity=0.0)
VARIANTS: Mapping[str, RetrievalConfiguration] = {
    "as ranked": PLAIN,
    "neighbours merged": PLAIN.model_copy(update={"merge_neighbours": True}),
    "diversity 0.05": PLAIN.model_copy(update={"diversity": 0.05}),
    "diversity 0.3": PLAIN.model_copy(update={"diversity": 0.3}),
    "both, as is the default": RetrievalConfiguration(),
}


@dataclass(frozen=True, slots=True)
class Given:
    """Means over the questions: the share of the documents that answer, and the tokens of all passages."""

    recall: float
    tokens: float


async def given_passages(
    running: Product, sets: Mapping[str, EvaluationSet], filled: Mapping[str, Filled]
) -> dict[str, dict[str, Given]]:
    """Choose passages by every variant, for all questions of all sets."""
    found = {name: await _given(running, sets[name].queries, filled[name]) for name in sets}
    smallest = min(sets.values(), key=lambda each: len(each.documents))
    copied = with_copies(smallest)
    found[copied.name] = await _given(running, copied.queries, await running.fill(copied))
    return found


async def _given(running: Product, queries: Sequence[Query], bot: Filled) -> dict[str, Given]:
    judged: dict[str, list[Given]] = {name: [] for name in VARIANTS}
    for query in queries:
        hits, _ = await running.search(bot, query.text, SearchMode.HYBRID, limit=_CANDIDATES)
        for name, wanted in VARIANTS.items():
            judged[name].append(_judge(bot, query, hits, wanted))
    return {
        name: Given(fmean(each.recall for each in every), fmean(each.tokens for each in every))
        for name, every in judged.items()
    }


def _judge(bot: Filled, query: Query, hits: Sequence[Hit], wanted: RetrievalConfiguration) -> Given:
    passages = pick_passages(
        diverse(hits, diversity=wanted.diversity, top_k=wanted.top_k),
        top_k=wanted.top_k,
        budget=PASSAGE_BUDGET,
        merge_neighbours=wanted.merge_neighbours,
    )
    has = {row for passage in passages for row in bot.rows.get(passage.document_id, ())}
    return Given(
        len(query.answers & has) / len(query.answers), sum(estimate_tokens(passage.content) for passage in passages)
    )


def with_copies(given: EvaluationSet) -> EvaluationSet:
    """Add a draft of each document, which counts as the document itself."""
    drafts = (replace(each, text=f"Draft. {each.text[: len(each.text) * 19 // 20]}") for each in given.documents)
    return EvaluationSet(f"{given.name}, twice", (*given.documents, *drafts), given.queries)


def passages_table(found: Mapping[str, Mapping[str, Given]]) -> str:
    """Write Markdown: a row for each set, recall and tokens for each variant."""
    lines = [f"| set | {' | '.join(VARIANTS)} |", "|---" * (len(VARIANTS) + 1) + "|"]
    for name, variants in found.items():
        cells = (f"{variants[each].recall:.3f}, {variants[each].tokens:,.0f} tokens" for each in VARIANTS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
