"""A bulk import beside the same pipeline with nothing around it, and what a turn takes while one runs.

Imported: from the moment the import is committed until the last document is published, by the
database's own clock; unpacking is in it, the upload of the archive is not. Each document is a row of
its own with its own state, chunks and flight record, as if it had been uploaded alone.
"""

import asyncio
import io
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from bench.corpus import pdf, questions
from bench.ingestion import bare
from bench.report import Row, percentile
from bench.rig import Rig, import_ended

_PAGES = 4
_TURNS = 20


async def measure(rig: Rig, *, documents: int = 200, beside: int = 1000, rounds: int = 3) -> list[Row]:
    """Give the imports' rows of the target table."""
    await _import(rig, _archive(20, pages=_PAGES, seed=40_000))  # warms both sides up
    bare_rates, rates, calls = [], [], 0
    for number in range(rounds):
        seed = 50_000 + number * documents
        bare_rates.append(await _bare(rig, documents, seed=seed))
        before = await _calls(rig)
        rates.append(documents / await _import(rig, _archive(documents, pages=_PAGES, seed=seed)))
        calls = await _calls(rig) - before
    bare_rate, rate = percentile(bare_rates, 50), percentile(rates, 50)
    alone, during = await _turns_beside(rig, beside)
    return [
        Row(
            f"{documents} documents of {_PAGES} pages, one import",
            f"{rate:.1f} docs/s",
            f"bare {bare_rate:.1f} docs/s",
            f"{rate / bare_rate:.2f}",
            "≥ 60 docs/s",
            rate >= 60,
        ),
        Row("its calls of the embedding model", f"{calls}", f"bare {documents}"),
        Row(
            f"turn while {beside} documents are imported, p50",
            f"{1000 * during:.0f} ms",
            f"alone {1000 * alone:.0f} ms",
            f"{during / alone:.2f}",
        ),
    ]


async def _bare(rig: Rig, documents: int, *, seed: int) -> float:
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.pdf" for number in range(documents)]
        for number, file in enumerate(files):
            file.write_bytes(pdf(_PAGES, seed=seed + number))
        started = time.perf_counter()
        for file in files:
            await bare(rig, file)
        return documents / (time.perf_counter() - started)


def _archive(documents: int, *, pages: int, seed: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(documents):
            archive.writestr(f"{seed + number}.pdf", pdf(pages, seed=1_000_000 + seed + number))
    return packed.getvalue()


async def _import(rig: Rig, archive: bytes) -> float:
    import_id = await _start(rig, archive)
    ended = await import_ended(rig.http, import_id)
    if ended["status"] != "complete" or ended["counts"]["ready"] != ended["counts"]["files"]:
        raise RuntimeError(f"The import did not become ready: {ended['status']} {ended['counts']} {ended['error']}")
    seconds: float = await rig.database.fetchval(
        "select extract(epoch from max(d.ready_at) - min(i.created_at))::float8"
        " from documents d join imports i on i.id = d.import_id where i.id = $1",
        import_id,
    )
    return seconds


async def _start(rig: Rig, archive: bytes) -> UUID:
    files = {"archive": ("bench.zip", archive, "application/zip")}
    answer = await rig.http.post(f"/api/v1/bots/{rig.bot}/imports", files=files)
    return UUID(answer.raise_for_status().json()["id"])


async def _calls(rig: Rig) -> int:
    answer = await rig.double.get("/_calls")
    return int(answer.raise_for_status().json()["calls"].get("embed", 0))


async def _turns_beside(rig: Rig, documents: int) -> tuple[float, float]:
    """Medians of a turn's seconds before an import begins and while it runs."""
    asked = questions()
    alone = [await _turn(rig, next(asked)) for _ in range(_TURNS)]
    import_id = await _start(rig, _archive(documents, pages=1, seed=90_000))
    ended = asyncio.create_task(import_ended(rig.http, import_id))
    during: list[float] = []
    while not ended.done() and len(during) < 3 * _TURNS:
        during.append(await _turn(rig, next(asked)))
    await ended
    return percentile(alone, 50), percentile(during, 50)


async def _turn(rig: Rig, question: str) -> float:
    conversation = (await rig.http.post(f"/api/v1/bots/{rig.bot}/conversations")).raise_for_status().json()["id"]
    started = time.perf_counter()
    answer = await rig.http.post(f"/api/v1/conversations/{conversation}/messages", json={"content": question})
    answer.raise_for_status()
    return time.perf_counter() - started
