"""Documents whose pages are pictures, against the real workflow, steps and client library."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.worker import Worker

from activities.registry import activities_of, interceptors_of
from adapters.models.gemini import open_gemini
from adapters.settings import Settings
from adapters.temporal.client import ensure_search_attributes
from adapters.temporal.tuning import worker_options
from adapters.wiring import Adapters
from domain.ports import TextRecognizer
from domain.steps import Queue
from tests import gemini_double
from tests.api.conftest import Caller
from tests.api.test_bots import make_bot
from tests.api.test_putting_right import an_upload, reached
from tests.api.test_uploads import upload
from tests.gemini_double import GeminiDouble, running_double
from tests.page_images import a_scan, an_image, as_bytes, joined
from tests.pdf_files import a_pdf
from tests.servers import temporal_server
from workflows.ingestion import IngestDocument
from workflows.sandbox import workflow_runner

TEXT = "The warranty lasts two years. Batteries are excluded."
MIXED = joined(a_pdf([TEXT]), a_scan(["Page two"]), a_pdf(["Returns are free for thirty days."]))


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A server of its own: other tests leave runs behind that nobody serves."""
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        yield client


@pytest_asyncio.fixture
async def double() -> AsyncIterator[GeminiDouble]:
    async with running_double() as double:
        double.transcript = "# Recognised\n\nShipping takes nine days."
        yield double


@pytest.fixture
def reads_images() -> bool:
    """Whether the deployment's provider reads page images; a test may choose another."""
    return True


@pytest_asyncio.fixture
async def adapters(
    adapters: Adapters, settings: Settings, double: GeminiDouble, reads_images: bool
) -> AsyncIterator[Adapters]:
    """The API's adapters, with Gemini's client before the double."""
    chosen = settings.model_copy(
        update={"provider": "gemini", "gemini_api_key": SecretStr("key"), "gemini_base_url": double.url}
    )
    async with open_gemini(chosen) as (embedder, generator):
        reader: TextRecognizer | None = generator.page_reader(chosen.model_timeout) if reads_images else None
        yield replace(adapters, settings=chosen, embedder=embedder, generator=generator, recognizer=reader)


@pytest_asyncio.fixture(autouse=True)
async def workers(adapters: Adapters) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for queue in Queue:
            worker = Worker(
                adapters.temporal,
                task_queue=queue,
                workflows=[IngestDocument] if queue is Queue.CHAT else [],
                activities=activities_of(adapters, queue),
                interceptors=interceptors_of(adapters),
                workflow_runner=workflow_runner(),
                **worker_options(adapters.settings, queue),
            )
            await stack.enter_async_context(worker)
        yield


without_recognition = pytest.mark.parametrize("reads_images", [False], ids=[""])


async def contents(owner: Caller, path: str) -> str:
    chunks = (await owner.http.get(f"{path}/chunks", params={"limit": 100, "order": "asc"})).json()["data"]
    return " ".join(chunk["content"] for chunk in chunks)


async def test_a_scanned_page_is_recognised_and_what_it_cost_is_shown(
    owner: Caller, adapters: Adapters, double: GeminiDouble
) -> None:
    path = await an_upload(owner, MIXED)
    shown = await reached(owner, adapters, path, "ready")
    assert (shown["progress"]["pages_done"], shown["page_count"]) == (3, 3)
    text = await contents(owner, path)
    assert "Batteries are excluded" in text
    assert "Shipping takes nine days" in text
    flight = (await owner.http.get(f"{path}/ingestion")).json()
    assert (flight["pages_recognized"], flight["pages_without_text"]) == (1, [])
    assert flight["model_calls"] == {"made": 2, "needed": 2}
    assert flight["model_tokens"] > 2100
    assert [step["step"] for step in flight["steps"]] == ["extract", "recognize", "chunk", "embed", "publish"]
    assert double.calls["read"] == 1


async def test_an_image_becomes_a_document(owner: Caller, adapters: Adapters) -> None:
    path = await an_upload(owner, as_bytes(an_image("A receipt"), "PNG"))
    shown = await reached(owner, adapters, path, "ready")
    assert shown["content_type"] == "image/png"
    [chunk] = (await owner.http.get(f"{path}/chunks")).json()["data"]
    assert (chunk["page_from"], chunk["heading_path"]) == (1, ["Recognised"])


async def test_a_page_that_the_provider_refuses_is_named_and_the_rest_is_ready(
    owner: Caller, adapters: Adapters, double: GeminiDouble
) -> None:
    double.script("read", gemini_double.prompt_blocked())
    path = await an_upload(owner, MIXED)
    await reached(owner, adapters, path, "ready")
    flight = (await owner.http.get(f"{path}/ingestion")).json()
    [recognize] = [step for step in flight["steps"] if step["step"] == "recognize"]
    assert recognize["last_error"] == {
        "code": "pages_left_empty",
        "message": "Left empty: page 2 (safety_blocked). The others were read.",
    }


@without_recognition
async def test_without_recognition_the_other_pages_are_kept_on_request(owner: Caller, adapters: Adapters) -> None:
    path = await an_upload(owner, MIXED)
    error = (await reached(owner, adapters, path, "needs_attention"))["last_error"]
    assert error["code"] == "no_text"
    assert "1 page of 3 (page 2)" in error["message"]
    assert "keep_text_pages" in error["message"]
    kept = await owner.http.post(f"{path}/retry", json={"keep_text_pages": True})
    assert kept.status_code == 202, kept.text
    await reached(owner, adapters, path, "ready")
    text = await contents(owner, path)
    assert "Batteries are excluded" in text
    assert "Returns are free" in text
    assert (await owner.http.get(f"{path}/ingestion")).json()["pages_without_text"] == [2]


@without_recognition
async def test_a_document_that_comes_with_the_wish_is_ready_at_once(owner: Caller, adapters: Adapters) -> None:
    bot = (await make_bot(owner))["id"]
    response = await upload(owner, bot, MIXED, keep_text_pages="true")
    assert response.status_code == 202, response.text
    path = f"/api/v1/documents/{response.json()['id']}"
    await reached(owner, adapters, path, "ready")
    assert "Returns are free" in await contents(owner, path)


@without_recognition
@pytest.mark.parametrize("content", [a_scan(["One", "Two"]), as_bytes(an_image("One"), "JPEG")], ids=["PDF", "image"])
async def test_where_no_page_has_text_there_is_nothing_to_keep(
    owner: Caller, adapters: Adapters, content: bytes
) -> None:
    path = await an_upload(owner, content)
    error = (await reached(owner, adapters, path, "needs_attention"))["last_error"]
    assert error["code"] == "no_text"
    assert "Install Tesseract" in error["message"]
    refused = await owner.http.post(f"{path}/retry", json={"keep_text_pages": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (409, "keep_text_pages")
    assert (await owner.http.post(f"{path}/abandon")).status_code == 202
    await reached(owner, adapters, path, "failed")


async def test_a_wish_that_is_neither_true_nor_false_is_refused(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    response = await upload(owner, bot, MIXED, keep_text_pages="perhaps")
    assert (response.status_code, response.json()["error"]["param"]) == (422, "keep_text_pages")


async def test_the_same_key_with_another_wish_is_another_request(owner: Caller) -> None:
    bot = (await make_bot(owner))["id"]
    headers = {"Idempotency-Key": "scan-1"}
    first = await upload(owner, bot, MIXED, headers=headers)
    assert first.status_code == 202, first.text
    second = await upload(owner, bot, MIXED, keep_text_pages="true", headers=headers)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "idempotency_key_reused")
