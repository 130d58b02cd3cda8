"""What the calls of a model that writes do for a ranking, with and without each: `queries`, `rerank` and `condense`.

A set has no conversations, so `condense` is tried where the answer is known all the same: a follow-up that only asks
for more is to find the documents of the question before it, and a question that stands by itself is to find its own,
whatever was said before.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import TypeVar
from uuid import UUID

from adapters.models.providers import open_models
from adapters.settings import Settings
from domain.bots import RetrievalConfiguration
from domain.conversation import ChatMessage, Role
from domain.errors import ProviderError, ProviderQuotaExhausted, ProviderRateLimited, SafetyBlocked
from domain.ids import MessageId
from domain.passages import diverse, pick_passages
from domain.ports import CompletionRequest, Generator
from domain.prompts import PASSAGE_BUDGET
from domain.reranking import CANDIDATES, read_order, reranked, reranking_request
from domain.retrieval import Hit, SearchMode, combine
from domain.understanding import read_queries, understanding_request
from evaluation.grounding import some
from evaluation.metrics import measure
from evaluation.product import Filled, Product, product
from evaluation.sets import EvaluationSet, Query

T = TypeVar("T")

FOLLOW_UP = "What else is known about that?"
QUERIES = 3
_CANDIDATES = 50  # as a turn looks at
_PAUSES = 10  # that the provider may ask for before one call
_PAUSE = 5.0  # seconds, where it does not say how long
_NOBODYS = MessageId(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Written:
    """What one setting did: mean nDCG@10 over the questions without and with it, and what all its calls used."""

    questions: int
    without: float
    ndcg_10: float
    calls: int
    useless: int
    """Calls that failed, or wrote something else than was asked for; the search then goes on without."""
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what it finds as it is, and what was said before it."""

    query: Query
    hits: list[Hit]
    said: tuple[ChatMessage, ...] = ()

    def then_said(self) -> tuple[ChatMessage, ...]:
        """Give the question, and what it finds as its answer."""
        answer = self.hits[0].content if self.hits else "I do not know."
        return ChatMessage(_NOBODYS, Role.USER, self.query.text), ChatMessage(_NOBODYS, Role.ASSISTANT, answer)


class Writer:
    """Asks a model as the product does, and counts."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.calls = self.useless = self.input_tokens = self.output_tokens = 0

    async def ask(self, request: CompletionRequest, read: Callable[[str], T | None]) -> T | None:
        """Read what the model writes; None where it is of no use. Raises what every other call would meet too."""
        self.calls += 1
        text = await self._write(request)
        found = None if text is None else read(text)
        self.useless += found is None
        return found

    async def _write(self, request: CompletionRequest, pauses: int = _PAUSES) -> str | None:
        try:
            completion = await self._generator.complete(request)
        except ProviderRateLimited as limited:
            if not pauses or isinstance(limited, ProviderQuotaExhausted):
                raise
            await asyncio.sleep(_PAUSE if limited.retry_after is None else limited.retry_after.total_seconds())
            return await self._write(request, pauses - 1)
        except ProviderError as error:
            if not error.retryable and not isinstance(error, SafetyBlocked):
                raise
            return None
        self.input_tokens += completion.input_tokens
        self.output_tokens += completion.output_tokens
        return completion.text


@dataclass(frozen=True, slots=True)
class Trial:
    """A bot, and the model that is tried with it. Each method gives what a question finds with a setting."""

    running: Product
    bot: Filled
    writer: Writer

    async def find(self, question: str) -> list[Hit]:
        """Search as a turn does that asks no model."""
        hits, _ = await self.running.search(self.bot, question, SearchMode.HYBRID, limit=_CANDIDATES)
        return hits

    async def condense(self, asked: Asked, *, queries: int = 1) -> list[Hit]:
        """Let the model say what to search for."""
        question = asked.query.text
        request = understanding_request(
            question, asked.said, queries=queries, boundary=secrets.token_hex(8), model=None
        )
        found = await self.writer.ask(request, partial(read_queries, question=question, queries=queries))
        return combine([await self.find(each) for each in found or [question]])

    async def rerank(self, asked: Asked) -> list[Hit]:
        """Let the model put what was found in order; what it was not shown comes behind."""
        wanted, budget = RetrievalConfiguration(), CANDIDATES * PASSAGE_BUDGET
        hits = diverse(asked.hits, diversity=wanted.diversity, top_k=CANDIDATES)
        shown = pick_passages(hits, top_k=CANDIDATES, budget=budget, merge_neighbours=wanted.merge_neighbours)
        request = reranking_request(asked.query.text, shown, boundary=secrets.token_hex(8), model=None)
        order = await self.writer.ask(request, partial(read_order, count=len(shown))) if len(shown) > 1 else None
        by_chunk = {hit.chunk_id: hit for hit in hits}
        first = [by_chunk[each.chunk_id] for each in reranked(shown, order or (), top_k=CANDIDATES, budget=budget)]
        return [*first, *asked.hits]


Setting = Callable[[Trial, Asked], Awaitable[list[Hit]]]


async def written(
    sets: Sequence[EvaluationSet], settings: Settings, *, questions: int
) -> dict[str, dict[str, Written]]:
    """Fill a bot with each set, and ask so many of its questions by every setting, of these settings' provider."""
    found: dict[str, dict[str, Written]] = {}
    async with product() as running, open_models(settings) as models:
        for given in sets:
            print(f"{given.name}: {min(questions, len(given.queries))} of {len(given.queries)} queries …", flush=True)
            found[given.name] = await _written(running, given, models.generator, questions)
            print(writing_table({given.name: found[given.name]}), flush=True)
    return found


async def _written(running: Product, given: EvaluationSet, generator: Generator, questions: int) -> dict[str, Written]:
    bot = await running.fill(given)
    plain = Trial(running, bot, Writer(generator))
    vague = await plain.find(FOLLOW_UP)
    asked = [Asked(query, await plain.find(query.text)) for query in some(given.queries, questions)]
    followed = [Asked(replace(each.query, text=FOLLOW_UP), vague, each.then_said()) for each in asked]
    apart = [replace(each, said=before.then_said()) for each, before in zip(asked, asked[1:] + asked[:1], strict=True)]
    trials: dict[str, tuple[Setting, list[Asked]]] = {
        f"`queries: {QUERIES}`": (partial(Trial.condense, queries=QUERIES), asked),
        "`rerank`": (Trial.rerank, asked),
        "`condense`, a follow-up": (Trial.condense, followed),
        "`condense`, a question that stands by itself": (Trial.condense, apart),
    }
    return {
        name: await _tried(Trial(running, bot, Writer(generator)), setting, every)
        for name, (setting, every) in trials.items()
    }


async def _tried(trial: Trial, setting: Setting, every: Sequence[Asked]) -> Written:
    without, with_it = [], []
    for asked in every:
        without.append(_judge(trial.bot, asked.query, asked.hits))
        with_it.append(_judge(trial.bot, asked.query, await setting(trial, asked)))
    writer = trial.writer
    return Written(
        len(every), fmean(without), fmean(with_it),
        writer.calls, writer.useless, writer.input_tokens, writer.output_tokens,
    )  # fmt: skip


def _judge(bot: Filled, query: Query, hits: Sequence[Hit]) -> float:
    return measure(bot.ranked(query, (hit.document_id for hit in hits)), query.grades).ndcg_10


def writing_table(found: Mapping[str, Mapping[str, Written]]) -> str:
    """Write Markdown: a row for each set and setting; tokens are of a call."""
    lines = [
        "| set | setting | nDCG@10 without | with | calls | of no use | tokens read | tokens written |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, settings in found.items():
        for setting, one in settings.items():
            used = (round(tokens / max(1, one.calls)) for tokens in (one.input_tokens, one.output_tokens))
            cells = (
                f"{one.without:.3f}",
                f"{one.ndcg_10:.3f}",
                one.calls,
                one.useless,
                *(f"{each:,}" for each in used),
            )
            lines.append(f"| {name} | {setting} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
