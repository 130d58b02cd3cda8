"""Crawls by REST: beginning, looking, cancelling, refreshing. No worker runs: what a run does is tested elsewhere."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from httpx2 import Response
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.postgres import tables
from adapters.temporal.runs import is_open
from domain.ids import BotId, CrawlId, crawl_page_id
from tests.api.conftest import Caller
from tests.api.test_bots import make_bot
from tests.rows import Home, a_document, count

URL = "http://site.example/docs/"


@pytest_asyncio.fixture
async def bot(owner: Caller) -> str:
    return str((await make_bot(owner))["id"])


async def begin(owner: Caller, bot: str, key: str | None = None, **body: Any) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await owner.http.post(f"/api/v1/bots/{bot}/crawls", json={"url": URL} | body, headers=headers)


async def set_crawl(engine: AsyncEngine, crawl: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(update(tables.crawls).where(tables.crawls.c.id == crawl).values(values))


async def a_page(engine: AsyncEngine, crawl: str, path: str, **values: Any) -> None:
    url = f"{URL}{path}"
    row = {"id": crawl_page_id(CrawlId(UUID(crawl)), url), "crawl_id": crawl, "url": url, "depth": 1, "epoch": 1}
    async with engine.begin() as connection:
        await connection.execute(insert(tables.crawl_pages).values(row | values))


async def test_a_crawl_is_accepted_and_started(owner: Caller, bot: str, temporal: Client) -> None:
    response = await begin(owner, bot, url="HTTP://Site.example/docs/#top", max_pages=7)
    assert response.status_code == 202, response.text
    crawl = response.json()
    assert response.headers["Location"] == f"/api/v1/crawls/{crawl['id']}"
    assert (crawl["url"], crawl["mode"], crawl["max_pages"], crawl["max_depth"]) == (URL, "auto", 7, 3)
    assert (crawl["status"], crawl["runs"], crawl["last_error"]) == ("pending", 1, None)
    assert set(crawl["progress"].values()) == {0}
    assert await is_open(temporal, f"crawl/{crawl['id']}")
    assert (await owner.http.get(f"/api/v1/crawls/{crawl['id']}")).json() == crawl
    assert (await owner.http.get(f"/api/v1/bots/{bot}/crawls")).json()["data"] == [crawl]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "ftp://site.example/"}, "url"),
        ({"url": "http://a:b@site.example/"}, "url"),
        ({"max_pages": 0}, "max_pages"),
        ({"max_pages": 10_001}, "max_pages"),
        ({"max_depth": -1}, "max_depth"),
        ({"mode": "everything"}, "mode"),
    ],
)
async def test_a_crawl_that_makes_no_sense_is_refused(owner: Caller, bot: str, body: Any, param: str) -> None:
    response = await begin(owner, bot, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)


async def test_a_repeated_key_begins_one_crawl(owner: Caller, bot: str, engine: AsyncEngine) -> None:
    first, again = await begin(owner, bot, key="k"), await begin(owner, bot, key="k")
    other = await begin(owner, bot, key="k", max_pages=5)
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert await count(engine, tables.crawls) == 1


async def test_progress_counts_pages_by_what_became_of_them_and_documents_by_status(
    owner: Caller, bot: str, engine: AsyncEngine
) -> None:
    crawl = (await begin(owner, bot)).json()["id"]
    home = Home(owner.id, BotId(UUID(bot)))
    ready, failed = [await a_document(engine, home, status=status) for status in ("ready", "failed")]
    await a_page(engine, crawl, "1", state="fetched", document_id=ready.document_id, http_status=200)
    await a_page(engine, crawl, "2", state="unchanged", document_id=ready.document_id)
    await a_page(engine, crawl, "3", state="fetched", document_id=failed.document_id)
    await a_page(engine, crawl, "4", state="refused", error_code="robots_disallowed", error_message="Forbidden.")
    await a_page(engine, crawl, "5", epoch=0)

    seen = (await owner.http.get(f"/api/v1/crawls/{crawl}")).json()
    pages = (await owner.http.get(f"/api/v1/crawls/{crawl}/pages", params={"order": "asc", "limit": 3})).json()
    rest = (
        await owner.http.get(f"/api/v1/crawls/{crawl}/pages", params={"order": "asc", "after": pages["next"]})
    ).json()
    refused = (await owner.http.get(f"/api/v1/crawls/{crawl}/pages", params={"state": "refused"})).json()

    assert seen["progress"] == {
        "found": 5, "waiting": 1, "fetched": 2, "unchanged": 1, "moved": 0, "refused": 1, "failed": 0, "gone": 0,
    }  # fmt: skip
    assert seen["documents"] == {"ready": 1, "failed": 1}
    assert [page["url"] for page in pages["data"] + rest["data"]] == [f"{URL}{number}" for number in range(1, 6)]
    assert pages["data"][0]["document_id"] == str(ready.document_id)
    assert [page["last_error"] for page in refused["data"]] == [{"code": "robots_disallowed", "message": "Forbidden."}]


async def test_what_nobody_took_up_is_cancelled_at_once(owner: Caller, bot: str) -> None:
    crawl = (await begin(owner, bot)).json()["id"]
    cancelled = await owner.http.post(f"/api/v1/crawls/{crawl}/cancel")
    again = await owner.http.post(f"/api/v1/crawls/{crawl}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert cancelled.json()["finished_at"] is not None
    assert (again.status_code, again.json()["error"]["code"]) == (409, "invalid_state")


async def test_a_running_crawl_is_told_to_stop_and_remembers_it(owner: Caller, bot: str, engine: AsyncEngine) -> None:
    crawl = (await begin(owner, bot)).json()["id"]
    await set_crawl(engine, crawl, status="running")
    response = await owner.http.post(f"/api/v1/crawls/{crawl}/cancel")
    assert (response.status_code, response.json()["status"]) == (202, "running")
    assert await count(engine, tables.crawls, tables.crawls.c.cancel_requested_at.is_not(None)) == 1


async def test_a_refresh_runs_again_over_all_pages_once(owner: Caller, bot: str, engine: AsyncEngine) -> None:
    crawl = (await begin(owner, bot)).json()["id"]
    await a_page(engine, crawl, "1", state="fetched")
    running = await owner.http.post(f"/api/v1/crawls/{crawl}/refresh")
    await set_crawl(
        engine,
        crawl,
        status="failed",
        error_code="url_timeout",
        error_message="Late.",
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    refreshed = await owner.http.post(f"/api/v1/crawls/{crawl}/refresh", headers={"Idempotency-Key": "k"})
    again = await owner.http.post(f"/api/v1/crawls/{crawl}/refresh", headers={"Idempotency-Key": "k"})

    assert (running.status_code, running.json()["error"]["code"]) == (409, "invalid_state")
    seen = refreshed.json()
    assert (refreshed.status_code, seen["status"], seen["runs"]) == (202, "pending", 2)
    assert (seen["last_error"], seen["finished_at"], seen["progress"]["waiting"]) == (None, None, 1)
    assert again.json() == seen
