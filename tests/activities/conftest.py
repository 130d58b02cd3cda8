"""Fixtures of the ingestion's steps."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncTransaction

from adapters.blobs import FolderBlobStore
from tests.activities.ingestion_steps import BATCH, Bench, Crash, CrashAfter, PageExtractor
from tests.fakes import WordEmbedder
from tests.rows import a_document, a_home


@pytest.fixture
async def bench(engine: AsyncEngine, tmp_path: Path) -> Bench:
    """A pending document of 12 pages, some 20 chunks."""
    home = await a_home(engine)
    ref = await a_document(engine, home, status="pending", ingestion="pending")
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM ingestion_steps"))
    store = FolderBlobStore(tmp_path / "blobs")
    pages = [f"Page {n} speaks of topic{n}. It says a little more about it, and then it ends here." for n in range(12)]
    made = Bench(engine, store, PageExtractor(pages), WordEmbedder(batch_size=BATCH), ref)
    await made.put_source(ref)
    return made


@pytest.fixture
def crash_after(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> CrashAfter:
    """Run a step in a process that dies right after its n-th commit, before anything else is done."""

    async def run(commits: int, step: Callable[..., Any], given: Any) -> None:
        left = commits
        leave = AsyncTransaction.__aexit__

        async def leave_or_die(transaction: AsyncTransaction, kind: Any, error: Any, trace: Any) -> None:
            nonlocal left
            if left <= 0 and kind is None:
                await transaction.rollback()
                raise Crash
            await leave(transaction, kind, error, trace)
            left -= kind is None
            if left == 0:
                raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(AsyncTransaction, "__aexit__", leave_or_die)
            with pytest.raises(Crash):
                await bench.run(step, given)
            lanes = [task for task in asyncio.all_tasks() if "lane" in repr(task.get_coro())]
            await asyncio.gather(*lanes, return_exceptions=True)

    return run
