"""Fakes that keep the contracts of `domain/ports.py`: an embedder of words, a generator that follows a script."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np

from domain.errors import ProviderRejected
from domain.ports import (
    AnswerEvent,
    AnswerRequest,
    Completion,
    CompletionRequest,
    Embeddings,
    Finished,
    TextDelta,
    ToolCall,
    Vectors,
)
from domain.sentences import tokens

Piece = str | ToolCall | BaseException | asyncio.Event | Callable[[], None] | Finished
"""Text is a delta, a call is given out, an exception is raised, an event is waited for, anything else is called."""


class WordEmbedder:
    """Texts that share words are near each other; no word is near another."""

    def __init__(self, *, model: str = "fake/words", width: int = 768, batch_size: int = 32) -> None:
        self.model = model
        self.width = width
        self.batch_size = batch_size
        self.calls = 0
        self.fail: list[BaseException] = []

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        self._count()
        return Embeddings(np.stack([self._embed(text) for text in texts]), tokens=len(texts))

    async def embed_query(self, text: str) -> Vectors:
        self._count()
        return self._embed(text)

    def fluency(self, text: str) -> float:  # noqa: ARG002  (as the port has it)
        return 1.0

    def _count(self) -> None:
        self.calls += 1
        if self.fail:
            raise self.fail.pop(0)

    def _embed(self, text: str) -> Vectors:
        vector = np.zeros(self.width, dtype=np.float32)
        for word in tokens(text) or [""]:
            vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % self.width] += 1
        return vector / np.float32(np.linalg.norm(vector))


class ScriptedGenerator:
    """Plays one script a call, the last one again and again; remembers what it was asked.

    `completions` are played the same way by `complete`; without them it only quotes, as `local` does.
    """

    def __init__(
        self,
        *scripts: Sequence[Piece],
        model: str = "fake/script",
        completions: Sequence[str | BaseException] = (),
    ) -> None:
        self.model = model
        self.scripts = list(scripts)
        self.requests: list[AnswerRequest] = []
        self.completes = bool(completions)
        self.completions = list(completions)
        self.completed: list[CompletionRequest] = []
        self.quoting: set[str] = set()  # models that only quote
        self.started = asyncio.Event()
        self.closed = asyncio.Event()  # the last stream was closed before its end

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerEvent]:
        self.requests.append(request)
        self.started.set()
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for piece in script:
                if isinstance(piece, str):
                    yield TextDelta(piece)
                elif isinstance(piece, ToolCall):
                    yield piece
                elif isinstance(piece, Finished):
                    yield piece
                    return
                else:
                    await _play(piece)
        except (asyncio.CancelledError, GeneratorExit):
            self.closed.set()
            raise
        yield Finished(self.model, input_tokens=11, output_tokens=7)

    def completes_with(self, model: str | None) -> bool:
        return self.completes and model not in self.quoting

    async def complete(self, request: CompletionRequest) -> Completion:
        if not self.completes:
            raise ProviderRejected("This one only quotes.")
        self.completed.append(request)
        piece = self.completions.pop(0) if len(self.completions) > 1 else self.completions[0]
        if isinstance(piece, BaseException):
            raise piece
        return Completion(piece, self.model, input_tokens=5, output_tokens=3)


async def _play(piece: BaseException | asyncio.Event | Callable[[], None]) -> None:
    if isinstance(piece, BaseException):
        raise piece
    if isinstance(piece, asyncio.Event):
        await piece.wait()
    else:
        piece()
