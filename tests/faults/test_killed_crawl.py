"""A worker dies in the middle of a site. Another one goes on, and no page is lost or taken twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio

from domain import policy
from domain.ids import CrawlId
from domain.runs import crawl_run
from tests.gemini_double import GeminiDouble
from tests.person import Person
from tests.processes import Deployment, Worker
from tests.web_site import Site, running_site

PAGES = 30


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as site:
        yield site


async def ended(person: Person, crawl: str, seconds: float) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            seen = await person.get(f"/crawls/{crawl}")
            if seen["status"] not in ("pending", "running"):
                return seen
            await asyncio.sleep(0.2)


async def test_a_crawl_goes_on_where_the_killed_worker_stopped_and_every_page_becomes_ready(
    deployed: Deployment, double: GeminiDouble, worker: Worker, person: Person, site: Site
) -> None:
    names = [f"/docs/{number}.md" for number in range(PAGES)]
    site.html("/docs/", *names, text="The index of all pages, with a sentence of its own.")
    for name in names:
        site.put(name, f"# Page {name}\n\nThe key of {name} lies under the mat.", etag=f'"{name}"')
    gate = asyncio.Event()
    site.pages[names[20]].gate = gate
    crawl = await person.post(f"/bots/{person.bot}/crawls", json={"url": f"{site.url}/docs/", "mode": "links"})
    await asyncio.wait_for(site.reached.wait(), 60)
    settled = (await person.get(f"/crawls/{crawl['id']}"))["progress"]
    assert settled["waiting"] > 0
    await worker.kill()
    before = {page["url"]: page for page in await person.all(f"/crawls/{crawl['id']}/pages") if page["http_status"]}
    asked = {name: site.count(name) for name in names if f"{site.url}{name}" in before}
    gate.set()
    await deployed.worker()

    assert policy.FETCH.heartbeat is not None
    seen = await ended(person, crawl["id"], policy.FETCH.heartbeat.total_seconds() + 120)
    assert (seen["status"], seen["last_error"]) == ("complete", None)
    assert (seen["progress"]["found"], seen["progress"]["fetched"], seen["progress"]["waiting"]) == (
        PAGES + 1,
        PAGES + 1,
        0,
    )
    assert {name: site.count(name) for name in asked} == asked, "a page that was settled was fetched again"
    documents = await person.all(f"/bots/{person.bot}/documents")
    assert sorted(one["source_url"].removeprefix(site.url) for one in documents) == sorted(["/docs/", *names])
    for one in documents:
        assert (await person.ready(one["id"]))["version"] == 1
    found = await person.post(f"/bots/{person.bot}/search", json={"query": "index of all pages", "limit": 3})
    assert found["data"]

    history = await (await deployed.client()).get_workflow_handle(crawl_run(CrawlId(UUID(crawl["id"])))).fetch_history()
    assert site.url not in json.dumps(history.to_json_dict()), "a URL is content: it stays out of histories"
    assert len(history.events) <= 40

    await person.post(f"/crawls/{crawl['id']}/refresh")
    again = await ended(person, crawl["id"], 60)
    assert (again["runs"], again["progress"]["unchanged"], again["progress"]["fetched"]) == (2, PAGES + 1, 0)
    assert again["documents"] == {"ready": PAGES + 1}
