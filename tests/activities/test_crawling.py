"""Crawling a site over real HTTP into a real Postgres: what is taken, what is left, and what a second attempt does."""

import asyncio
import gzip
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.crawling import Crawling
from adapters.blobs import FolderBlobStore
from adapters.clock import now
from adapters.postgres import crawl_requests, tables
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.runs import is_open
from adapters.web.fetcher import FetchLimits, WebFetcher
from adapters.web.robots import Robots
from domain.crawls import CrawlRef, CrawlStatus
from domain.errors import CrawlClosed, DomainError, NoSitemap, RobotsDisallowed, UrlBusy, UrlHttpError, UrlRefused
from domain.ids import CrawlId
from domain.runs import ingestion_run
from domain.steps import CloseCrawl, PagesFetched
from tests.rows import Home, a_crawl, a_home, count, row_of
from tests.servers import temporal_server
from tests.web_site import Site, running_site

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"),)
LIMIT = 200_000


@pytest_asyncio.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    """Of a server of its own: what is started stays open, and no other test's worker must take it up."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as site:
        yield site


@dataclass
class Crawler:
    """The steps, and what they work on."""

    engine: AsyncEngine
    home: Home
    steps: Crawling
    folder: Path

    async def begins(self, url: str, **values: Any) -> CrawlRef:
        ref = await a_crawl(self.engine, self.home, url, **values)
        await self.run(self.steps.begin_crawl, ref)
        return ref

    async def run(self, step: Any, given: Any) -> Any:
        return await ActivityEnvironment().run(step, given)

    async def goes_on(self, ref: CrawlRef) -> None:
        """From the survey to the end, as the workflow does."""
        await self.run(self.steps.survey_site, ref)
        fetched = PagesFetched(settled=0, waiting=1)
        while fetched.waiting:
            fetched = await self.run(self.steps.fetch_pages, ref)
        await self.run(self.steps.close_crawl, CloseCrawl(ref=ref, outcome=CrawlStatus.COMPLETE))

    async def crawls(self, url: str, **values: Any) -> CrawlRef:
        ref = await self.begins(url, **values)
        await self.goes_on(ref)
        return ref

    async def again(self, ref: CrawlRef) -> CrawlRef:
        async with self.engine.begin() as connection:
            row = await crawl_requests.refresh(connection, ref.owner_id, ref.crawl_id)
        ref = crawl_requests.ref_of(row)
        await self.run(self.steps.begin_crawl, ref)
        await self.goes_on(ref)
        return ref

    async def states(self, ref: CrawlRef, site: Site) -> dict[str, str]:
        """What became of each page, by its path; with the code where there is one."""
        pages = tables.crawl_pages
        async with self.engine.connect() as connection:
            rows = (await connection.execute(select(pages).where(pages.c.crawl_id == ref.crawl_id))).all()
        return {
            row.url.removeprefix(site.url): row.state + (f" {row.error_code}" if row.error_code else "") for row in rows
        }

    async def page(self, ref: CrawlRef, url: str) -> Any:
        pages = tables.crawl_pages
        async with self.engine.connect() as connection:
            query = select(pages).where(pages.c.crawl_id == ref.crawl_id, pages.c.url == url)
            return (await connection.execute(query)).one()

    def stored(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())


@pytest_asyncio.fixture
async def crawler(engine: AsyncEngine, client: Client, tmp_path: Path) -> AsyncIterator[Crawler]:
    fetcher = WebFetcher(FetchLimits(bytes=LIMIT, seconds=10), allowed=LOOPBACK)
    folder = tmp_path / "blobs"
    folder.mkdir()
    steps = Crawling(
        engine, FolderBlobStore(folder), fetcher, client, now,
        delay=timedelta(0), patience=(timedelta(0), timedelta(0)),
    )  # fmt: skip
    yield Crawler(engine, await a_home(engine), steps, folder)
    await fetcher.aclose()


def pages_of(site: Site, *paths: str) -> None:
    for path in paths:
        site.put(path, f"The page {path}.", etag=f'"{path}"')


def sitemap(*urls: str, kind: str = "url") -> str:
    outer = "urlset" if kind == "url" else "sitemapindex"
    entries = "".join(f"<{kind}><loc> {url} </loc><lastmod>2026-01-01</lastmod></{kind}>" for url in urls)
    return f'<?xml version="1.0"?><{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</{outer}>'


# Finding pages


async def test_links_are_followed_within_the_folder_and_each_page_is_taken_once(crawler: Crawler, site: Site) -> None:
    site.html(
        "/docs/", "a.md", "/docs/a.md#part", "b/", "/blog/x.md", "https://elsewhere.example/", "mailto:a@b.example"
    )
    site.html("/docs/b/", "../a.md", "c.md", "/docs/")
    pages_of(site, "/docs/a.md", "/docs/b/c.md", "/blog/x.md")

    ref = await crawler.crawls(f"{site.url}/docs/", mode="links")

    states = await crawler.states(ref, site)
    assert states.keys() == {"/docs/", "/docs/b/", "/docs/a.md", "/docs/b/c.md"}
    assert (states["/docs/a.md"], states["/docs/b/c.md"]) == ("fetched", "fetched")
    assert (site.count("/docs/a.md"), site.count("/blog/x.md")) == (1, 0)
    crawl = await row_of(crawler.engine, tables.crawls, ref.crawl_id)
    assert (crawl.status, crawl.error_code) == ("complete", None)


async def test_a_document_is_accepted_as_an_upload_is_and_its_run_is_started(
    crawler: Crawler, site: Site, client: Client
) -> None:
    url = site.put("/a.md", "# A page", etag='"1"')
    ref = await crawler.crawls(url, mode="links")
    page = await crawler.page(ref, url)
    document = await row_of(crawler.engine, tables.documents, page.document_id)
    assert (page.state, page.http_status, page.depth) == ("fetched", 200, 0)
    assert (document.source_type, document.source_url, document.etag, document.status) == ("url", url, '"1"', "pending")
    assert document.content_type == "text/markdown"
    assert crawler.stored() == [b"# A page"]
    assert await is_open(client, ingestion_run(document.id))


async def test_depth_and_number_of_pages_are_limits(crawler: Crawler, site: Site) -> None:
    site.html("/", "/1/", "/x.md", "/y.md")
    site.html("/1/", "/2/")
    site.html("/2/", "/3.md")
    pages_of(site, "/x.md", "/y.md", "/3.md")

    shallow = await crawler.crawls(f"{site.url}/", mode="links", max_depth=1)
    few = await crawler.crawls(f"{site.url}/", mode="links", max_pages=2)

    assert (await crawler.states(shallow, site)).keys() == {"/", "/1/", "/x.md", "/y.md"}
    assert len(await crawler.states(few, site)) == 2


async def test_a_sitemap_is_taken_where_there_is_one_also_packed_and_through_an_index(
    crawler: Crawler, site: Site
) -> None:
    site.html("/", "/only-linked.md")
    site.put("/robots.txt", f"User-agent: *\nSitemap: {site.url}/index.xml\nSitemap: http://10.0.0.1/evil.xml\n")
    site.put(
        "/index.xml", sitemap(f"{site.url}/one.xml", f"{site.url}/two.xml.gz", f"{site.url}/index.xml", kind="sitemap")
    )
    site.put("/one.xml", sitemap(f"{site.url}/a.md", "https://elsewhere.example/b.md", "not a url"))
    site.put("/two.xml.gz", gzip.compress(sitemap(f"{site.url}/c.md").encode()), content_type="application/gzip")
    pages_of(site, "/a.md", "/c.md", "/only-linked.md")

    ref = await crawler.crawls(f"{site.url}/", mode="auto")

    assert (await crawler.states(ref, site)).keys() == {"/", "/a.md", "/c.md"}
    assert site.count("/index.xml") == 1


async def test_a_sitemap_of_more_pages_than_a_crawl_may_have_is_cut(crawler: Crawler, site: Site) -> None:
    site.html("/")
    site.put("/sitemap.xml", sitemap(*(f"{site.url}/{number}.md" for number in range(10_500))))
    ref = await crawler.begins(f"{site.url}/", max_pages=10_000)
    surveyed = await crawler.run(crawler.steps.survey_site, ref)
    again = await crawler.run(crawler.steps.survey_site, ref)
    assert surveyed.pages == again.pages == await count(crawler.engine, tables.crawl_pages) == 10_000


async def test_without_a_sitemap_links_are_followed_unless_a_sitemap_was_asked_for(
    crawler: Crawler, site: Site
) -> None:
    site.html("/", "/a.md")
    pages_of(site, "/a.md")
    auto = await crawler.crawls(f"{site.url}/", mode="auto")
    assert (await crawler.states(auto, site))["/a.md"] == "fetched"
    with pytest.raises(NoSitemap):
        await crawler.crawls(f"{site.url}/", mode="sitemap")


async def test_a_sitemap_may_be_given_itself(crawler: Crawler, site: Site) -> None:
    site.put("/maps/site.xml", sitemap(f"{site.url}/a.md", f"{site.url}/b/c.md"), content_type="application/xml")
    pages_of(site, "/a.md", "/b/c.md")
    ref = await crawler.crawls(f"{site.url}/maps/site.xml", mode="sitemap")
    assert await crawler.states(ref, site) == {"/a.md": "fetched", "/b/c.md": "fetched"}


async def test_a_hostile_sitemap_reads_no_file_and_unpacks_no_bomb(
    crawler: Crawler, site: Site, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{site.url}/leaked")
    entities = (
        f'<!DOCTYPE urlset [<!ENTITY file SYSTEM "file://{secret}"><!ENTITY a "{"x" * 100}">'
        '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    )
    body = sitemap("&file;", f"{site.url}/&c;", f"{site.url}/a.md").replace('<?xml version="1.0"?>', entities)
    site.html("/")
    site.put("/robots.txt", f"Sitemap: {site.url}/evil.xml\nSitemap: {site.url}/bomb.xml.gz\n")
    site.put("/evil.xml", body)
    site.put("/bomb.xml.gz", gzip.compress(b"<urlset>" + b" " * (60 << 20)))
    pages_of(site, "/a.md")
    ref = await crawler.crawls(f"{site.url}/", mode="auto")
    assert (await crawler.states(ref, site)).keys() <= {"/", "/a.md"}
    assert site.count("/leaked") == 0


# What is not taken


async def test_what_robots_txt_forbids_is_refused_without_a_request_and_does_not_count(
    crawler: Crawler, site: Site
) -> None:
    site.put("/robots.txt", "User-agent: *\nDisallow: /\n\nUser-agent: ChatSphere\nDisallow: /private/*.md$\n")
    site.html("/", "/private/a.md", "/private/b.md", "/c.md")
    pages_of(site, "/private/a.md", "/private/b.md", "/c.md")
    ref = await crawler.crawls(f"{site.url}/", mode="links", max_pages=10)
    states = await crawler.states(ref, site)
    assert states["/private/a.md"] == "refused robots_disallowed"
    assert states["/c.md"] == "fetched"
    assert site.count("/private/a.md") + site.count("/private/b.md") == 0


@pytest.mark.parametrize(
    ("robots", "start", "error"),
    [
        ({"body": "User-agent: *\nDisallow: /\n"}, {}, RobotsDisallowed),
        ({"status": 503}, {}, UrlBusy),
        ({"status": 404}, {"status": 404}, UrlHttpError),
        ({"status": 404}, {"status": 302, "headers": {"Location": "http://192.168.0.1/"}}, UrlRefused),
    ],
)
async def test_a_site_that_cannot_be_begun_with_says_why(
    crawler: Crawler, site: Site, robots: Any, start: Any, error: type[DomainError]
) -> None:
    site.put("/robots.txt", **robots)
    site.put("/", **start)
    ref = await crawler.begins(f"{site.url}/", mode="links")
    with pytest.raises(error):
        await crawler.run(crawler.steps.survey_site, ref)
    if error is RobotsDisallowed:
        assert site.count("/") == 0


async def test_of_an_endless_robots_txt_the_beginning_counts(crawler: Crawler, site: Site) -> None:
    rules = "User-agent: *\nDisallow: /private/\n" + "# nothing\n" * 60_000
    site.put("/robots.txt", rules)
    assert len(rules) > 500 << 10
    site.html("/", "/private/a.md", "/b.md")
    pages_of(site, "/private/a.md", "/b.md")
    crawler.steps._fetcher = WebFetcher(FetchLimits(bytes=len(rules), seconds=10), allowed=LOOPBACK)
    ref = await crawler.crawls(f"{site.url}/", mode="links")
    await crawler.steps._fetcher.aclose()
    states = await crawler.states(ref, site)
    assert (states["/private/a.md"], states["/b.md"]) == ("refused robots_disallowed", "fetched")


def test_a_site_that_asks_for_a_slow_pace_gets_it_up_to_half_a_minute() -> None:
    assert Robots("User-agent: *\nCrawl-delay: 3\n").delay == timedelta(seconds=3)
    assert Robots("User-agent: *\nCrawl-delay: 3600\n").delay == timedelta(seconds=30)
    assert Robots("").delay == timedelta(0)


async def test_each_page_that_is_not_taken_says_why_and_stops_no_other(crawler: Crawler, site: Site) -> None:
    site.html("/", "/binary", "/large", "/empty", "/missing", "/broken", "/away", "/inside", "/moved", "/good.md")
    site.put("/binary", b"\x00\x01\x02" * 4000)
    site.put("/large", b"x" * (LIMIT + 1))
    site.put("/empty")
    site.put("/broken", status=500)
    site.redirect("/away", "https://elsewhere.example/")
    site.redirect("/inside", "http://169.254.169.254/latest/meta-data/")
    site.redirect("/moved", "/target.md")
    pages_of(site, "/target.md", "/good.md")

    ref = await crawler.crawls(f"{site.url}/", mode="links")

    states = await crawler.states(ref, site)
    states.pop("/")
    assert states == {
        "/binary": "refused unsupported_format",
        "/large": "refused url_too_large",
        "/empty": "refused empty_file",
        "/missing": "failed url_http_error",
        "/broken": "failed url_busy",
        "/away": "refused url_refused",  # a host that is not there, said in the words of a private one
        "/inside": "refused url_refused",
        "/moved": "moved",
        "/target.md": "fetched",
        "/good.md": "fetched",
    }
    assert site.count("/broken") == 3
    assert site.count("/missing") == 1
    assert (await crawler.page(ref, f"{site.url}/missing")).http_status == 404


async def test_a_redirect_to_another_site_is_not_followed_into(crawler: Crawler, site: Site) -> None:
    async with running_site() as other:
        target = other.put("/secret.md", "Another site's page.")
        site.html("/", "/away")
        site.redirect("/away", target)
        ref = await crawler.crawls(f"{site.url}/", mode="links")
    assert (await crawler.states(ref, site))["/away"] == "refused out_of_scope"
    assert b"Another site's page." not in crawler.stored()


async def test_the_same_bytes_at_two_urls_are_one_document(crawler: Crawler, site: Site) -> None:
    site.html("/", "/a.md", "/b.md")
    site.put("/a.md", "The same.")
    site.put("/b.md", "The same.")
    ref = await crawler.crawls(f"{site.url}/", mode="links")
    states = await crawler.states(ref, site)
    assert sorted((states["/a.md"], states["/b.md"])) == ["fetched", "unchanged"]
    documents = {(await crawler.page(ref, f"{site.url}/{name}.md")).document_id for name in "ab"}
    assert len(documents) == 1
    assert crawler.stored().count(b"The same.") == 1


# Again


async def test_a_refresh_asks_by_etag_and_tells_changed_unchanged_new_and_gone(crawler: Crawler, site: Site) -> None:
    site.html("/", "/same.md", "/changed.md", "/gone.md", etag='"index 1"')
    pages_of(site, "/same.md", "/changed.md", "/gone.md")
    ref = await crawler.crawls(f"{site.url}/", mode="links")
    asked = len(site.asked)
    site.html("/", "/same.md", "/changed.md", "/new.md", etag='"index 2"')
    site.put("/changed.md", "Changed.", etag='"2"')
    del site.pages["/gone.md"]
    pages_of(site, "/new.md")

    again = await crawler.again(ref)

    states = await crawler.states(again, site)
    states.pop("/")
    assert states == {
        "/same.md": "unchanged",
        "/changed.md": "fetched",
        "/gone.md": "gone url_http_error",
        "/new.md": "fetched",
    }
    conditional = {one.path: one.headers.get("if-none-match") for one in site.asked[asked:] if one.path.endswith(".md")}
    assert conditional["/same.md"] == '"/same.md"'
    gone = await crawler.page(again, f"{site.url}/gone.md")
    assert await row_of(crawler.engine, tables.documents, gone.document_id) is not None
    changed = await crawler.page(again, f"{site.url}/changed.md")
    assert (await row_of(crawler.engine, tables.documents, changed.document_id)).version == 2


async def test_a_second_crawl_finds_the_links_of_pages_that_the_bot_has_already(crawler: Crawler, site: Site) -> None:
    """A 304 has no links, so a page whose links are not known is asked for in full."""
    site.html("/", "/a.md", etag='"1"')
    pages_of(site, "/a.md")
    await crawler.crawls(f"{site.url}/", mode="links")
    second = await crawler.crawls(f"{site.url}/", mode="links")
    assert (await crawler.states(second, site))["/a.md"] == "unchanged"
    assert await count(crawler.engine, tables.documents, tables.documents.c.source_url == f"{site.url}/a.md") == 1


async def test_a_page_that_becomes_what_another_document_is_says_so(crawler: Crawler, site: Site) -> None:
    site.html("/", "/a.md", "/b.md")
    pages_of(site, "/a.md", "/b.md")
    ref = await crawler.crawls(f"{site.url}/", mode="links")
    site.put("/b.md", "The page /a.md.")
    again = await crawler.again(ref)
    assert (await crawler.states(again, site))["/b.md"] == "failed already_exists"
    first, second = [(await crawler.page(again, f"{site.url}/{name}.md")).document_id for name in "ab"]
    assert first == second


# Crashes and latecomers


async def test_a_step_that_dies_in_the_middle_goes_on_without_doubling(crawler: Crawler, site: Site) -> None:
    names = [f"/{number}.md" for number in range(30)]
    site.html("/", *names)
    pages_of(site, *names)
    gate = asyncio.Event()
    site.put("/20.md", "Late.", gate=gate)
    ref = await crawler.begins(f"{site.url}/", mode="links")
    await crawler.run(crawler.steps.survey_site, ref)
    dying = asyncio.create_task(crawler.run(crawler.steps.fetch_pages, ref))
    await asyncio.wait_for(site.reached.wait(), 60)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    gate.set()
    before = set((await crawler.states(ref, site)).items())
    settled = {path for path, state in before if state != "found"}
    asked = {path: site.count(path) for path in settled}

    await crawler.goes_on(ref)

    assert {path: site.count(path) for path in settled - {"/"}} == {path: asked[path] for path in settled - {"/"}}
    states = await crawler.states(ref, site)
    assert [path for path in names if states[path] != "fetched"] == []
    assert await count(crawler.engine, tables.documents, tables.documents.c.name.endswith(".md")) == 30
    assert await count(crawler.engine, tables.ingestions) == await count(crawler.engine, tables.documents)


async def test_two_attempts_beside_each_other_make_each_document_once(crawler: Crawler, site: Site) -> None:
    names = [f"/{number}.md" for number in range(20)]
    site.html("/", *names)
    pages_of(site, *names)
    ref = await crawler.begins(f"{site.url}/", mode="links")
    await crawler.run(crawler.steps.survey_site, ref)
    await asyncio.gather(*(crawler.run(crawler.steps.fetch_pages, ref) for _ in range(3)))
    states = await crawler.states(ref, site)
    assert [path for path in names if states[path] != "fetched"] == []
    assert await count(crawler.engine, tables.documents, tables.documents.c.name.endswith(".md")) == 20
    assert await count(crawler.engine, tables.ingestions) == await count(crawler.engine, tables.documents)
    assert len(crawler.stored()) == await count(crawler.engine, tables.documents)


@pytest.mark.parametrize("how", ["cancelled", "refreshed", "bot"])
async def test_a_page_that_comes_late_is_dropped(crawler: Crawler, site: Site, how: str) -> None:
    gate = asyncio.Event()
    site.html("/", "/a.md")
    site.put("/a.md", "Late.", gate=gate)
    ref = await crawler.begins(f"{site.url}/", mode="links")
    await crawler.run(crawler.steps.survey_site, ref)
    late = asyncio.create_task(crawler.run(crawler.steps.fetch_pages, ref))
    await asyncio.wait_for(site.reached.wait(), 60)
    async with crawler.engine.begin() as connection:
        mine = tables.crawls.c.id == ref.crawl_id
        if how == "bot":
            await connection.execute(update(tables.bots).values(deleting_at=now()))
        elif how == "cancelled":
            await connection.execute(update(tables.crawls).where(mine).values(status="cancelled"))
        else:
            await connection.execute(update(tables.crawls).where(mine).values(epoch=2))
    gate.set()
    with pytest.raises(CrawlClosed):
        await late
    assert b"Late." not in crawler.stored()
    assert await count(crawler.engine, tables.documents, tables.documents.c.name.endswith(".md")) == 0


async def test_an_end_is_written_once(crawler: Crawler) -> None:
    ref = await crawler.begins("http://site.example/")
    failed = CloseCrawl(ref=ref, outcome=CrawlStatus.FAILED, code="url_timeout", message="Late.")
    await crawler.run(crawler.steps.close_crawl, failed)
    await crawler.run(crawler.steps.close_crawl, CloseCrawl(ref=ref, outcome=CrawlStatus.COMPLETE))
    row = await row_of(crawler.engine, tables.crawls, CrawlId(ref.crawl_id))
    assert (row.status, row.error_code, row.finished_at is not None) == ("failed", "url_timeout", True)
