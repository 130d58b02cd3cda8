"""Search in the database: one bot among many, by the number of its chunks. Medians of the whole round trip.

Vectors and texts are drawn with a fixed seed; questions have the words of the corpus, so that the
keyword arm ranks most chunks, as a common word of a real question does.
"""

import random
import time
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector

from adapters.ids import new_id
from adapters.postgres import keywords
from adapters.postgres.engine import copy_rows, transaction
from adapters.postgres.search import search
from bench.corpus import questions
from bench.report import Row, median, percentile
from bench.rig import Rig
from domain import terms
from domain.ids import BotId, IngestionId, UserId, chunk_id
from domain.retrieval import SearchMode

_MODEL = "bench/drawn"
_SIZES = (100, 1_000, 10_000)
_DOCUMENTS = 10  # a bot's chunks come from several documents, as a rule
_NEIGHBOURS = 20  # other bots of 1,000 chunks each
_TARGETS = {(1_000, SearchMode.VECTOR): 0.002, (1_000, SearchMode.HYBRID): 0.008}
_COLUMNS = [
    "ingestion_id", "ordinal", "id", "owner_id", "bot_id", "document_id", "content", "page_from", "page_to", "page_starts",
    "char_start", "char_end", "heading_path", "embedding",
]  # fmt: skip


async def measure(rig: Rig, *, rounds: int = 60) -> list[Row]:
    """Give the search rows of the target table."""
    dice = np.random.default_rng(7)
    for _ in range(_NEIGHBOURS):
        await _a_bot(rig, 1_000, dice)
    bots = {size: await _a_bot(rig, size, dice) for size in _SIZES}
    await rig.database.execute("analyze chunks; analyze chunk_keywords; analyze documents")
    rows = []
    for size, bot in bots.items():
        times = {mode: await _times(rig, bot, mode, rounds, dice) for mode in (SearchMode.VECTOR, SearchMode.HYBRID)}
        rows += [_row(size, mode, seconds) for mode, seconds in times.items()]
    return rows


def _row(size: int, mode: SearchMode, seconds: list[float]) -> Row:
    target = _TARGETS.get((size, mode))
    return Row(
        f"search, {mode}, {size:,} chunks, p50",
        f"{1000 * median(seconds):.1f} ms",
        f"p95 {1000 * percentile(seconds, 95):.1f} ms",
        target="" if target is None else f"≤ {1000 * target:.0f} ms",
        met=None if target is None else median(seconds) <= target,
    )


async def _times(rig: Rig, bot: BotId, mode: SearchMode, rounds: int, dice: np.random.Generator) -> list[float]:
    """Time searches on a connection that is open, the first few left out."""
    asked, seconds = questions(), []
    async with rig.engine.connect() as connection:
        for _ in range(rounds + 5):
            question, (vector,) = next(asked), _vectors(1, rig.settings.embedding_width, dice)
            started = time.perf_counter()
            hits = await search(
                connection, UserId(rig.owner), bot, question, vector, embedding_model=_MODEL, mode=mode, limit=20
            )
            seconds.append(time.perf_counter() - started)
            assert len(hits) == 20
    return seconds[5:]


async def _a_bot(rig: Rig, count: int, dice: np.random.Generator) -> BotId:
    answer = await rig.http.post("/api/v1/bots", json={"name": f"{count} chunks"})
    bot = BotId(UUID(answer.raise_for_status().json()["id"]))
    for part in np.array_split(np.arange(count), _DOCUMENTS):
        await _a_document(rig, bot, len(part), dice)
    return bot


async def _a_document(rig: Rig, bot: BotId, count: int, dice: np.random.Generator) -> None:
    document, ingestion = new_id(), IngestionId(new_id())
    async with transaction(rig.engine) as connection:
        await connection.exec_driver_sql(
            "insert into documents (id, owner_id, bot_id, name, source_type, content_type, size_bytes, sha256,"
            " current_ingestion_id, active_ingestion_id, embedding_model, status)"
            " values ($1, $2, $3, 'bench.txt', 'text', 'text/plain', 1, $4, $5, $5, $6, 'ready')",
            (document, rig.owner, bot, document.hex, ingestion, _MODEL),
        )
        texts = _texts(count, seed=int(dice.integers(1 << 30)))
        vectors = _vectors(count, rig.settings.embedding_width, dice)
        await copy_rows(
            connection, "chunks", _COLUMNS,
            [
                (ingestion, at, chunk_id(ingestion, at), rig.owner, bot, document, text, 1, 1, [], 0, len(text), [],
                 HalfVector(vector))
                for at, (text, vector) in enumerate(zip(texts, vectors, strict=True))
            ],
        )  # fmt: skip
        await copy_rows(
            connection, "chunk_keywords", ["ingestion_id", "ordinal", "keywords"],
            [(ingestion, at, keywords.encode(terms.of_chunk("bench.txt", (), text).weights)) for at, text in enumerate(texts)],
        )  # fmt: skip


def _texts(count: int, *, seed: int) -> list[str]:
    dice, asked = random.Random(seed), questions()
    words = sorted({word for _ in range(60) for word in next(asked).split()})
    return [" ".join(dice.choices(words, k=150)) for _ in range(count)]


def _vectors(count: int, width: int, dice: np.random.Generator) -> NDArray[np.float32]:
    drawn = dice.standard_normal((count, width), dtype=np.float32)
    unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit
