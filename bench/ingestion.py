"""Durable ingestion against the same pipeline with nothing around it, side by side on one database and double.

Bare: pypdfium2 in this process, the same splitter, the same google-genai client with as many calls in
flight, COPY. Durable: from the moment the upload is committed until the version is published, by the
database's own clock; the upload itself is not counted on either side.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import pypdfium2

from adapters.postgres import chunks
from adapters.postgres.engine import transaction
from bench.corpus import pdf
from bench.report import Row, median
from bench.rig import Rig
from domain.chunking import split
from domain.chunks import Page, PlannedChunk
from domain.documents import Format, IngestionRef
from domain.ids import BotId, DocumentId, IngestionId, UserId

_IN_FLIGHT = 6  # as many as these 300 pages have: two shards, three calls each
_LARGE, _SMALL = 300, 4
_UPLOADS_AT_ONCE = 16


async def measure(rig: Rig, *, rounds: int = 5, small_documents: int = 200) -> list[Row]:
    """Give the ingestion rows of the target table."""
    with TemporaryDirectory() as folder:
        at_once = await _pair(rig, Path(folder), pages=_LARGE, rounds=rounds, seed=1000)
        await rig.pace(embed_seconds=0.2)
        slow = await _pair(rig, Path(folder), pages=_LARGE, rounds=max(3, rounds // 2), seed=2000)
        await rig.pace(embed_seconds=0.0)
        one = await _pair(rig, Path(folder), pages=1, rounds=rounds * 4, seed=3000)
        bare_rate, durable_rate, bulk_rate = await _many(rig, Path(folder), small_documents, seed=10_000)
    return [
        _ratio_row("300 pages, embedder at once", *at_once, target=0.80),
        _ratio_row("300 pages, embedder 200 ms", *slow, target=0.90),
        Row(
            "one page, added by durability, p50",
            f"{1000 * (one[1] - one[0]):.0f} ms",
            f"bare {1000 * one[0]:.0f} ms",
            target="≤ 45 ms",
            met=one[1] - one[0] <= 0.045,
        ),
        Row(
            f"{small_documents} documents of {_SMALL} pages, a workflow each",
            f"{durable_rate:.1f} docs/s",
            f"bare {bare_rate:.1f} docs/s",
            f"{durable_rate / bare_rate:.2f}",
            "≥ 25 docs/s",
            durable_rate >= 25,
        ),
        Row(
            f"{small_documents} documents of {_SMALL} pages, one bulk import",
            f"{bulk_rate:.1f} docs/s",
            f"bare {bare_rate:.1f} docs/s",
            f"{bulk_rate / bare_rate:.2f}",
            "≥ 60 docs/s",
            bulk_rate >= 60,
        ),
    ]


def _ratio_row(name: str, bare: float, durable: float, *, target: float) -> Row:
    ratio = bare / durable
    return Row(
        name, f"{durable:.2f} s", f"bare {bare:.2f} s", f"{ratio:.2f} of bare", f"≥ {target:.2f}", ratio >= target
    )


async def _pair(rig: Rig, folder: Path, *, pages: int, rounds: int, seed: int) -> tuple[float, float]:
    """Medians of bare and durable seconds, taken in turns; the first round warms both up."""
    alone, around = [], []
    for number in range(rounds + 1):
        file = folder / f"{seed + number}.pdf"
        file.write_bytes(pdf(pages, seed=seed + number))
        alone.append((await bare(rig, file))[0])
        around.append(await durable(rig, [file]))
    return median(alone[1:]), median(around[1:])


async def _many(rig: Rig, folder: Path, count: int, *, seed: int) -> tuple[float, float, float]:
    """Documents a second: bare, with a workflow each, in one bulk import."""
    alone = sum([(await bare(rig, file))[0] for file in _small(folder, count, seed)])
    around = await durable(rig, _small(folder, count, seed + count))
    together = await bulk(rig, _small(folder, count, seed + 2 * count))
    return count / alone, count / around, count / together


def _small(folder: Path, count: int, seed: int) -> list[Path]:
    files = [folder / f"{number}.pdf" for number in range(seed, seed + count)]
    for number, file in enumerate(files, seed):
        file.write_bytes(pdf(_SMALL, seed=number))
    return files


async def bare(rig: Rig, file: Path) -> tuple[float, int]:
    """Give seconds and chunks of the pipeline with nothing around it; its rows are deleted again."""
    started = time.perf_counter()
    planned = list(split(_pages(file), format=Format.PDF))
    ref = IngestionRef(
        owner_id=UserId(rig.owner), bot_id=BotId(rig.bot), document_id=DocumentId(uuid4()), ingestion_id=IngestionId(uuid4())
    )  # fmt: skip
    size, gate = rig.models.embedder.batch_size, asyncio.Semaphore(_IN_FLIGHT)

    async def store(batch: list[PlannedChunk]) -> None:
        async with gate:
            embeddings = await rig.models.embedder.embed_documents([chunk.content for chunk in batch])
        async with transaction(rig.engine) as connection:
            await chunks.store(connection, ref, batch, embeddings.vectors)

    await asyncio.gather(*(store(planned[at : at + size]) for at in range(0, len(planned), size)))
    seconds = time.perf_counter() - started
    await rig.database.execute("delete from chunks where ingestion_id = $1", ref.ingestion_id)
    return seconds, len(planned)


def _pages(file: Path) -> Iterable[Page]:
    document = pypdfium2.PdfDocument(file)
    for number in range(len(document)):
        page = document[number]
        layer = page.get_textpage()
        yield Page(number + 1, layer.get_text_range().replace("\r\n", "\n"))
        layer.close()
        page.close()
    document.close()


async def durable(rig: Rig, files: Sequence[Path]) -> float:
    """Upload, and give the seconds from the first document's being accepted to the last one's being ready."""
    gate = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    async def upload(file: Path) -> UUID:
        async with gate:
            return await _upload(rig, file)

    documents = await asyncio.gather(*map(upload, files))
    await rig.ready(documents)
    seconds: float = await rig.database.fetchval(
        "select extract(epoch from max(ready_at) - min(created_at))::float8 from documents where id = any($1)",
        documents,
    )
    return seconds


async def bulk(rig: Rig, files: Sequence[Path]) -> float:
    """Send all in one import, and give the seconds from its being accepted to the last document's being ready."""
    parts = [("files", (file.name, file.read_bytes(), "application/pdf")) for file in files]
    answer = await rig.http.post(f"/api/v1/bots/{rig.bot}/imports", files=parts)
    import_id = UUID(answer.raise_for_status().json()["id"])
    taken = await rig.database.fetch(
        "select document_id from import_items where import_id = $1 and outcome = 'accepted'", import_id
    )
    documents = [row["document_id"] for row in taken]
    assert len(documents) == len(files)
    await rig.ready(documents)
    seconds: float = await rig.database.fetchval(
        "select extract(epoch from (select max(ready_at) from documents where id = any($2)) - created_at)::float8"
        " from imports where id = $1",
        import_id,
        documents,
    )
    return seconds


async def _upload(rig: Rig, file: Path) -> UUID:
    with file.open("rb") as content:
        answer = await rig.http.post(
            f"/api/v1/bots/{rig.bot}/documents", files={"file": (file.name, content, "application/pdf")}
        )
    return UUID(answer.raise_for_status().json()["id"])
