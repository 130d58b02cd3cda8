"""Embeddings of all-MiniLM-L6-v2 on this machine's CPU: no key, no network, no torch."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
import regex
from tokenizers import Encoding, Tokenizer

from adapters.models.minilm_graph import WIDTH, build_graph, model_folder, read_weights
from adapters.models.spans import model_span, record_usage
from domain.ports import Embeddings, Vectors

MODEL = "local/all-MiniLM-L6-v2"
_MAX_TOKENS = 256  # what sentence-transformers cuts at
_BATCH = 32  # a call of 200-token texts takes two to three seconds of CPU, then its vectors are safe
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_MICRO_BATCH = 8  # larger ones were not faster, and a cancelled call is left after this many


@dataclass(frozen=True, slots=True)
class _Loaded:
    tokenizer: Tokenizer
    session: onnxruntime.InferenceSession


class LocalEmbedder:
    """Embeds on the CPU, in threads, so that the event loop stays free. Safe to share.

    Documents go one call at a time, in small batches of like length; a question does not queue
    behind them. Vectors are padded with zeros to `width`, which changes no cosine.
    """

    def __init__(self, *, width: int, threads: int = 0) -> None:
        self._width = width
        self._threads = threads
        self._loaded: _Loaded | None = None
        self._loading = threading.Lock()
        self._one_at_a_time = asyncio.Lock()

    @property
    def model(self) -> str:
        return MODEL

    @property
    def width(self) -> int:
        return self._width

    @property
    def batch_size(self) -> int:
        return _BATCH

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed `batch_size` texts at most. Shape (texts, width)."""
        if len(texts) > _BATCH:
            raise ValueError(f"{len(texts)} texts in one call; {_BATCH} at most")
        async with self._one_at_a_time:
            return await self._embed(texts)

    async def embed_query(self, text: str) -> Vectors:
        """Embed one question. Shape (width,)."""
        vector: Vectors = (await self._embed([text])).vectors[0]
        return vector

    async def embed_sentences(self, texts: Sequence[str]) -> Vectors:
        """Embed any number of short texts for a person who waits. Shape (texts, width)."""
        return (await self._embed(texts)).vectors

    def fluency(self, text: str) -> float:
        """Give the share of the words that the vocabulary has whole: 0.7 to 1 of English, 0.1 to 0.7 of German."""
        words = _WORD.findall(text.lower())
        if not words:
            return 1.0
        number_of = self._load().tokenizer.token_to_id
        return sum(number_of(word) is not None for word in words) / len(words)

    async def _embed(self, texts: Sequence[str]) -> Embeddings:
        vectors = np.zeros((len(texts), self._width), np.float32)
        if not texts:
            return Embeddings(vectors)
        with model_span("embeddings", provider="chatsphere.local", model=MODEL) as span:
            encodings = await asyncio.to_thread(self._tokenise, texts)
            order = sorted(range(len(texts)), key=lambda i: len(encodings[i]))
            for start in range(0, len(order), _MICRO_BATCH):
                rows = order[start : start + _MICRO_BATCH]
                vectors[rows, :WIDTH] = await asyncio.to_thread(self._run, [encodings[i] for i in rows])
            tokens = sum(len(encoding) for encoding in encodings)
            record_usage(span, input_tokens=tokens)
            return Embeddings(vectors, tokens)

    def _tokenise(self, texts: Sequence[str]) -> list[Encoding]:
        # The tokenizer takes UTF-8 only; half a surrogate pair becomes the replacement character.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        encodings: list[Encoding] = self._load().tokenizer.encode_batch(clean)
        return encodings

    def _run(self, encodings: Sequence[Encoding]) -> Vectors:
        longest = max(len(encoding) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), np.int32)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        pooled: Vectors = self._load().session.run(["pooled"], {"ids": ids, "mask": mask})[0]
        unit: Vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def _load(self) -> _Loaded:
        with self._loading:
            if self._loaded is None:
                self._loaded = _load(self._threads)
            return self._loaded


def _load(threads: int) -> _Loaded:
    folder = model_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin for work take the cores from Postgres and Temporal on the same machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        build_graph(read_weights(folder / "model.safetensors")), options, providers=["CPUExecutionProvider"]
    )
    return _Loaded(tokenizer, session)
