"""Answers without a language model: the sentences of the passages that fit the question, quoted."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import numpy as np

from adapters.models.local_embedding import LocalEmbedder
from adapters.models.spans import model_span, record_usage
from domain.conversation import estimate_tokens
from domain.errors import ProviderRejected
from domain.ports import AnswerEvent, AnswerRequest, Completion, CompletionRequest, Finished, TextDelta
from domain.prompts import NOTHING_FOUND
from domain.retrieval import Passage
from domain.sentences import sentence_spans, title_ends, tokens

MODEL = "local/extractive"
_MOST_QUOTES = 3
_MOST_SENTENCES = 64
_LONGEST_QUOTE = 400
_FIT = 0.36  # calibrated in docs/decisions/0005-local-model.md
_NEAR_BEST = 0.85
_LEXICAL = 0.5
_PAIRS = (('"', '"'), ("“", "”"), ("«", "»"), ("「", "」"))
_FOOTNOTE = re.compile(r"\[[\d ,;]+\]")
_STOP = frozenset(
    word
    for line in (
        "a an the of in on at to for from by with and or not is are was were be been do does did can could will would",
        "should may what which who whom whose when where why how many much that this these those it its as about there",
        "der die das ein eine einer einem einen und oder ist sind war waren wird werden wie was wer wo wann warum welche",
        "welcher welches viele von zu im in am auf mit für bei den dem des",
        "le la les un une des du de et ou est sont était que qui quoi quel quelle quels quelles comment pourquoi quand où",
        "combien dans sur pour par avec au aux",
        "el los las una unos unas y o es son era qué quién cuál cuáles cómo cuándo dónde cuánto cuántos por para con del",
        "il lo gli i e che chi quale quali come quando dove perché quanto quanti di da nel per sono",
    )
    for word in line.split()
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    passage: Passage
    text: str
    order: int
    weighed: str  # with the title right above it


class LocalGenerator:
    """Quotes one to three sentences, each with its marker, or says that nothing fits."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        self._embedder = embedder

    @property
    def model(self) -> str:
        return MODEL

    @property
    def completes(self) -> bool:
        return False

    def completes_with(self, model: str | None) -> bool:  # noqa: ARG002  (there is one)
        """Sentences are quoted, none is written."""
        return False

    async def complete(self, request: CompletionRequest) -> Completion:  # noqa: ARG002  (nothing is written)
        """Refuse: sentences are quoted here, none is written."""
        raise ProviderRejected("The local model only quotes and writes no text of its own. Choose another provider.")

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        """Yield the answer word by word, then `Finished` with estimated tokens. Tools are not asked for."""
        with model_span("chat", provider="chatsphere.local", model=MODEL) as span:
            answer = _compose(await self._choose(request))
            for piece in re.findall(r"\S+\s*", answer):
                yield TextDelta(piece)
                await asyncio.sleep(0)
            read = estimate_tokens(request.question) + sum(estimate_tokens(p.content) for p in request.passages)
            finished = Finished(MODEL, input_tokens=read, output_tokens=estimate_tokens(answer))
            record_usage(span, input_tokens=finished.input_tokens, output_tokens=finished.output_tokens)
            yield finished

    async def _choose(self, request: AnswerRequest) -> list[_Sentence]:
        sentences = _candidates(request.passages)[:_MOST_SENTENCES]
        if not sentences:
            return []
        vectors = await self._embedder.embed_sentences([request.question, *(s.weighed for s in sentences)])
        meaning = vectors[1:] @ vectors[0]
        wanted = _content_words(request.question)
        shared = np.array([_coverage(wanted, sentence.weighed) for sentence in sentences])
        return _best(sentences, list(map(float, (1 - _LEXICAL) * meaning + _LEXICAL * shared)))


def _candidates(passages: Sequence[Passage]) -> list[_Sentence]:
    """List the sentences that can be quoted, those of the best passages first, none twice."""
    found: dict[str, _Sentence] = {}
    for passage in sorted(passages, key=lambda p: -p.score):
        titles, title = set(title_ends(passage.content)), ""
        for start, end in sentence_spans(passage.content):
            written = passage.content[start:end]
            text = None if end in titles else _quotable(written)
            if text and text not in found:
                found[text] = _Sentence(passage, text, len(found), f"{title} {text}".lstrip())
            title = written if end in titles else ""
    return list(found.values())


def _quotable(sentence: str) -> str | None:
    """Write a sentence on one line; None for a fragment, or one that Markdown would read as code."""
    text = " ".join(_FOOTNOTE.sub("", sentence).lstrip("#>|*-• \t").split())
    if len(text) > _LONGEST_QUOTE:
        text = text[:_LONGEST_QUOTE].rsplit(" ", 1)[0]
    fragment = len(tokens(text)) < 3 or text.endswith(("?", "?", "؟"))
    return None if fragment or "`" in text or _marks(text) is None else text


def _marks(text: str) -> tuple[str, str] | None:
    return next((pair for pair in _PAIRS if pair[0] not in text and pair[1] not in text), None)


def _content_words(question: str) -> set[str]:
    words = set(tokens(question))
    return (words - _STOP) or words


def _coverage(wanted: set[str], sentence: str) -> float:
    """Tell which share of the question's words the sentence has; a shared stem of five letters counts half."""
    has = set(tokens(sentence))
    stems = {word[:5] for word in has if len(word) >= 5}
    hits = sum(1.0 if word in has else 0.5 if len(word) >= 5 and word[:5] in stems else 0.0 for word in wanted)
    return hits / len(wanted) if wanted else 0.0


def _best(sentences: Sequence[_Sentence], scores: Sequence[float]) -> list[_Sentence]:
    ranked = sorted(zip(scores, sentences, strict=True), key=lambda pair: (-pair[0], pair[1].order))
    top = ranked[0][0]
    return [s for score, s in ranked[:_MOST_QUOTES] if score >= _FIT and score >= _NEAR_BEST * top]


def _compose(sentences: Sequence[_Sentence]) -> str:
    if not sentences:
        return NOTHING_FOUND
    quotes = [_quote(sentence) for sentence in sentences]
    return f"The documents say: {'; also: '.join(quotes)}"


def _quote(sentence: _Sentence) -> str:
    opening, closing = _marks(sentence.text) or _PAIRS[0]
    return f"{opening}{sentence.text}{closing} [{sentence.passage.marker}]"
