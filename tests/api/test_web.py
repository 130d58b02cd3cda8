"""A page by its URL: fetched, accepted as an upload is, and asked for again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from httpx2 import Response
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.postgres.tables import documents, idempotency_keys, ingestions
from adapters.settings import Settings
from tests.api.conftest import UPLOAD_LIMIT, Caller
from tests.api.test_bots import make_bot
from tests.pdf_files import a_pdf
from tests.web_site import Site, running_site


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as site:
        yield site


@pytest_asyncio.fixture
async def bot(owner: Caller) -> str:
    return str((await make_bot(owner))["id"])


@pytest.fixture
def blobs(settings: Settings) -> Path:
    return settings.blob_dir


async def add(owner: Caller, bot: str, url: str, key: str | None = None, **body: Any) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await owner.http.post(f"/api/v1/bots/{bot}/documents/url", json={"url": url, **body}, headers=headers)


async def refresh(owner: Caller, document: str, key: str | None = None) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await owner.http.post(f"/api/v1/documents/{document}/refresh", headers=headers)


def stored(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


async def count(engine: AsyncEngine, table: Any) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_page_becomes_a_document_that_is_started(
    owner: Caller, bot: str, site: Site, blobs: Path, temporal: Client
) -> None:
    url = site.put("/guide/leave.md", "# Leave\n\nEveryone has 30 days.", etag='"1"')

    response = await add(owner, bot, f"{url}#days")

    assert response.status_code == 202, response.text
    document = response.json()
    assert response.headers["Location"] == f"/api/v1/documents/{document['id']}"
    assert (document["source_type"], document["source_url"]) == ("url", url)
    assert (document["name"], document["content_type"]) == (url.removeprefix("http://"), "text/markdown")
    assert (document["status"], document["version"]) == ("pending", 1)
    assert document["fetched_at"] is not None
    assert stored(blobs) == [b"# Leave\n\nEveryone has 30 days."]
    run = await temporal.get_workflow_handle(f"ingest/{document['id']}").describe()
    assert run.workflow_type == "IngestDocument"


async def test_a_pdf_is_told_by_its_bytes_and_named_as_asked(owner: Caller, bot: str, site: Site) -> None:
    url = site.put("/download?id=7", a_pdf(["A page."]), content_type="application/octet-stream")
    document = (await add(owner, bot, url, name="Handbook")).json()
    assert (document["name"], document["content_type"]) == ("Handbook", "application/pdf")


async def test_the_same_bytes_are_the_document_that_is_there(
    owner: Caller, bot: str, site: Site, blobs: Path, engine: AsyncEngine
) -> None:
    first = await add(owner, bot, site.put("/a", "The same."))
    again = await add(owner, bot, f"{site.url}/a")
    elsewhere = await add(owner, bot, site.put("/b", "The same."))
    assert (again.status_code, elsewhere.status_code) == (200, 200)
    assert {again.json()["id"], elsewhere.json()["id"]} == {first.json()["id"]}
    assert (await count(engine, documents), await count(engine, ingestions), len(stored(blobs))) == (1, 1, 1)


async def test_a_url_whose_page_changed_is_a_new_version_of_its_document(
    owner: Caller, bot: str, site: Site, blobs: Path
) -> None:
    first = (await add(owner, bot, site.put("/a", "One."))).json()
    site.put("/a", "Two.")
    second = await add(owner, bot, f"{site.url}/a")
    assert (second.status_code, second.json()["id"], second.json()["version"]) == (202, first["id"], 2)
    assert stored(blobs) == [b"One.", b"Two."]


async def test_twenty_requests_for_a_url_at_a_time_make_one_document(
    owner: Caller, bot: str, site: Site, blobs: Path, engine: AsyncEngine
) -> None:
    url = site.put("/a", "A page.")
    answers = await asyncio.gather(*(add(owner, bot, url) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert (await count(engine, documents), await count(engine, ingestions), len(stored(blobs))) == (1, 1, 1)


async def test_a_refresh_asks_by_the_etag_and_changes_nothing_where_nothing_changed(
    owner: Caller, bot: str, site: Site, blobs: Path
) -> None:
    document = (await add(owner, bot, site.put("/a", "A page.", etag='"1"'))).json()

    response = await refresh(owner, document["id"])

    assert response.status_code == 200, response.text
    assert response.json() | {"fetched_at": ""} == document | {"fetched_at": ""}
    assert response.json()["fetched_at"] > document["fetched_at"]
    assert site.asked[-1].headers["if-none-match"] == '"1"'
    assert len(stored(blobs)) == 1


async def test_a_refresh_without_an_etag_compares_the_bytes(owner: Caller, bot: str, site: Site, blobs: Path) -> None:
    document = (await add(owner, bot, site.put("/a", "A page."))).json()
    response = await refresh(owner, document["id"])
    assert (response.status_code, response.json()["version"], len(stored(blobs))) == (200, 1, 1)


async def test_a_refresh_of_a_page_that_changed_is_a_new_version(owner: Caller, bot: str, site: Site) -> None:
    document = (await add(owner, bot, site.put("/a", "One.", etag='"1"'))).json()
    site.put("/a", "Two.", etag='"2"')

    changed = await refresh(owner, document["id"])
    again = await refresh(owner, document["id"])

    assert (changed.status_code, changed.json()["version"], changed.json()["status"]) == (202, 2, "pending")
    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert site.asked[-1].headers["if-none-match"] == '"2"'


async def test_a_file_that_takes_a_pages_place_takes_its_etag_as_well(owner: Caller, bot: str, site: Site) -> None:
    """Else the server would call the page unchanged, and the document would keep the file for ever."""
    document = (await add(owner, bot, site.put("/a", "The page.", etag='"1"'))).json()["id"]
    await owner.http.put(f"/api/v1/documents/{document}/file", files={"file": ("a.txt", b"A file.")})

    response = await refresh(owner, document)

    assert "if-none-match" not in site.asked[-1].headers
    assert (response.status_code, response.json()["version"]) == (202, 3)


async def test_a_document_without_a_url_is_not_refreshed(owner: Caller, bot: str) -> None:
    made = await owner.http.post(f"/api/v1/bots/{bot}/documents/text", json={"name": "a", "text": "A text."})
    response = await refresh(owner, made.json()["id"])
    assert (response.status_code, response.json()["error"]["code"]) == (409, "invalid_state")


async def test_a_repeated_key_answers_without_fetching_again(
    owner: Caller, bot: str, site: Site, engine: AsyncEngine
) -> None:
    first = await add(owner, bot, site.put("/a", "One."), key="k")
    site.put("/a", "Two.")
    again = await add(owner, bot, f"{site.url}/a", key="k")
    other = await add(owner, bot, f"{site.url}/b", key="k")
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert (site.count("/a"), await count(engine, ingestions)) == (1, 1)


async def test_twins_under_one_key_get_one_answer_even_where_the_page_differs(
    owner: Caller, bot: str, site: Site, blobs: Path, engine: AsyncEngine
) -> None:
    gate = asyncio.Event()
    site.put("/a", "One.", gate=gate)
    first = asyncio.create_task(add(owner, bot, f"{site.url}/a", key="k"))
    await site.reached.wait()
    site.put("/a", "Two.")
    second = await add(owner, bot, f"{site.url}/a", key="k")
    gate.set()
    answer = await first
    assert (answer.status_code, answer.json()) == (202, second.json())
    assert (await count(engine, documents), await count(engine, ingestions)) == (1, 1)
    assert stored(blobs) == [b"Two."]


async def test_an_owners_slow_pages_do_not_keep_another_owner_waiting(
    owner: Caller, stranger: Caller, bot: str, site: Site
) -> None:
    gate = asyncio.Event()
    names = [f"/slow/{number}" for number in range(20)]
    for name in names:
        site.put(name, f"The page {name}.", gate=gate)
    slow = [asyncio.create_task(add(owner, bot, f"{site.url}{name}")) for name in names]
    await site.reached.wait()
    quick = await add(stranger, (await make_bot(stranger))["id"], site.put("/quick", "At once."))
    assert quick.status_code == 202
    assert sum(site.count(name) for name in names) <= 8
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*slow)} == {202}


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("ftp://example.com/", 422, "url_invalid"),
        ("http://a:b@example.com/", 422, "url_invalid"),
        ("http://2130706433/", 422, "url_invalid"),
        ("http://10.0.0.1/", 422, "url_refused"),
        ("http://[::1]/", 422, "url_refused"),
        ("http://169.254.169.254/latest/meta-data/", 422, "url_refused"),
        ("/missing", 422, "url_http_error"),
        ("/busy", 422, "url_busy"),
        ("/large", 413, "url_too_large"),
        ("/empty", 422, "empty_file"),
        ("/binary", 415, "unsupported_format"),
        ("/inside", 422, "url_refused"),
    ],
)
async def test_what_is_not_fetched_says_why_and_leaves_nothing(
    owner: Caller, bot: str, site: Site, blobs: Path, engine: AsyncEngine, url: str, status: int, code: str
) -> None:
    site.put("/busy", status=503)
    site.put("/large", b"x" * (UPLOAD_LIMIT + 1))
    site.put("/empty")
    site.put("/binary", b"\x00\x01\x02" * 2000)
    site.redirect("/inside", "http://192.168.0.1/")
    response = await add(owner, bot, url if ":" in url else f"{site.url}{url}", key="k")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert (await count(engine, documents), await count(engine, idempotency_keys), stored(blobs)) == (0, 0, [])
