"""Models whose every call takes its share of the deployment's budget first."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.models.budget import Purpose, SharedBudget
from adapters.models.providers import Models
from adapters.settings import Settings
from domain.budget import Limits
from domain.ports import (
    AnswerEvent,
    AnswerRequest,
    Completion,
    CompletionRequest,
    Embedder,
    Embeddings,
    Finished,
    Generator,
    RecognizedPage,
    TextRecognizer,
    Vectors,
)
from domain.providers import LOCAL

_CHARACTERS_A_TOKEN = 4
_PAGE_TOKENS = 3000  # of an image of A4 and a dense page of text


def budgeted(models: Models, engine: AsyncEngine, settings: Settings, now: Callable[[], datetime]) -> Models:
    """Put the budget around the models, where one of them is called over the network."""
    if settings.providers == {LOCAL}:
        return models
    configured = {
        Purpose.EMBEDDING: Limits(settings.embedding_requests_per_minute, settings.embedding_tokens_per_minute),
        Purpose.GENERATION: Limits(settings.generation_requests_per_minute, settings.generation_tokens_per_minute),
    }
    budget = SharedBudget(engine, settings.provider, configured, now)
    return replace(
        models,
        embedder=BudgetedEmbedder(models.embedder, budget),
        generator=BudgetedGenerator(models.generator, budget),
        recognizer=_budgeted_recognizer(models.recognizer, budget),
    )


class BudgetedEmbedder:
    """An `Embedder`; questions go before chunks."""

    def __init__(self, embedder: Embedder, budget: SharedBudget) -> None:
        self._embedder = embedder
        self._budget = budget

    @property
    def model(self) -> str:
        return self._embedder.model

    @property
    def width(self) -> int:
        return self._embedder.width

    @property
    def batch_size(self) -> int:
        return self._embedder.batch_size

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed in one call. Shape (texts, width)."""
        tokens = _tokens(texts)
        async with self._budget.share(self.model, Purpose.EMBEDDING, tokens=tokens, urgent=False) as usage:
            embeddings = await self._embedder.embed_documents(texts)
            usage.tokens = embeddings.tokens or tokens
            return embeddings

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question. Shape (width,)."""
        async with self._budget.share(self.model, Purpose.EMBEDDING, tokens=_tokens([text]), urgent=True):
            return await self._embedder.embed_query(text)

    def fluency(self, text: str) -> float:
        """Ask the model itself."""
        return self._embedder.fluency(text)


class BudgetedGenerator:
    """A `Generator`; whichever model a request names has its own budget."""

    def __init__(self, generator: Generator, budget: SharedBudget) -> None:
        self._generator = generator
        self._budget = budget

    @property
    def model(self) -> str:
        return self._generator.model

    @property
    def completes(self) -> bool:
        return self._generator.completes

    def completes_with(self, model: str | None) -> bool:
        """Ask the generator itself."""
        return self._generator.completes_with(model)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Write a short text; somebody waits for the answer that it is for."""
        model, tokens = request.model or self.model, _tokens([request.system, request.content])
        async with self._budget.share(model, Purpose.GENERATION, tokens=tokens, urgent=True) as usage:
            completion = await self._generator.complete(request)
            usage.tokens = completion.input_tokens + completion.output_tokens or tokens
            return completion

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerEvent]:
        """Yield events as they come, then one `Finished`."""
        model, finished = request.model or self.model, None
        tokens = _tokens(_texts(request))
        async with (
            self._budget.share(model, Purpose.GENERATION, tokens=tokens, urgent=True) as usage,
            _closing(self._generator.stream(request)) as stream,
        ):
            async for event in stream:
                if isinstance(event, Finished):
                    usage.tokens, finished = event.input_tokens + event.output_tokens or tokens, event
                else:
                    yield event
        if finished is not None:  # given when all is counted: who has it reads no further
            yield finished


class BudgetedRecognizer:
    """A `TextRecognizer` of the provider; its pages wait behind answers of the same model."""

    def __init__(self, recognizer: TextRecognizer, budget: SharedBudget) -> None:
        self._recognizer = recognizer
        self._budget = budget

    @property
    def model(self) -> str:
        return self._recognizer.model

    @property
    def is_provider(self) -> bool:
        return self._recognizer.is_provider

    @property
    def pages_at_once(self) -> int:
        return self._recognizer.pages_at_once

    @property
    def dots_per_inch(self) -> int:
        return self._recognizer.dots_per_inch

    async def recognize(self, image: Path) -> RecognizedPage:
        """Read one JPEG."""
        async with self._budget.share(self.model, Purpose.GENERATION, tokens=_PAGE_TOKENS, urgent=False) as usage:
            page = await self._recognizer.recognize(image)
            usage.tokens = page.tokens or _PAGE_TOKENS
            return page


def _budgeted_recognizer(recognizer: TextRecognizer | None, budget: SharedBudget) -> TextRecognizer | None:
    paid = recognizer is not None and recognizer.is_provider
    return BudgetedRecognizer(recognizer, budget) if recognizer is not None and paid else recognizer


@asynccontextmanager
async def _closing(stream: AsyncIterator[AnswerEvent]) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
    """Hang up on the provider on every way out."""
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _texts(request: AnswerRequest) -> list[str]:
    passages = [passage.content for passage in request.passages]
    given = [result.content for step in request.steps for result in step.results]
    history = [message.content for message in request.history]
    return [request.instructions, request.summary, request.question, *passages, *history, *given]


def _tokens(texts: Sequence[str]) -> int:
    return sum(len(text) // _CHARACTERS_A_TOKEN + 1 for text in texts)
