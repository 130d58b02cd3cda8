"""The main job through HTTP: upload a real PDF, watch it become ready, ask, and check what the answer cites."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from tests.corpus import CORPUS, needs_corpus
from tests.openai_double import running_openai
from tests.person import FINAL, Person, shown
from tests.processes import Deployment, deployment

PDF = CORPUS / "pdf_ok" / "sample-files__pdflatex-4-pages.pdf"
QUESTION = "Is there a difference between this text and some nonsense?"
SNIPPET, PAGE = "Is there a difference between this", 2

pytestmark = needs_corpus(f"pdf_ok/{PDF.name}")


@pytest_asyncio.fixture(scope="module", params=["gemini", "openai", "local"])
async def deployed(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    """One deployment a provider that embeds and answers."""
    async with (
        running_openai() as openai,
        deployment(provider=request.param, OPENAI_API_KEY="key", OPENAI_BASE_URL=f"{openai.url}/v1") as deployed,
    ):
        yield deployed


@pytest_asyncio.fixture(scope="module")
async def person(deployed: Deployment) -> AsyncIterator[Person]:
    async with (await deployed.an_api()).client() as client:
        yield await Person.arrives(client)


@pytest_asyncio.fixture(scope="module")
async def document(person: Person) -> str:
    """The PDF, uploaded and watched until it is ready."""
    document = await person.upload("four-pages.pdf", PDF.read_bytes(), "application/pdf")
    async with asyncio.timeout(120), person.watches(document) as events:
        seen = [sent.data async for sent in events]
    assert seen[-1]["status"] == "ready", seen[-1]
    return document


def squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


async def check_citations(person: Person, document: str, message: dict[str, Any]) -> None:
    """Each citation names a chunk of the document, and quotes what stands at its place there."""
    chunks = {chunk["id"]: chunk for chunk in await person.chunks(document)}
    assert message["citations"]
    for citation in message["citations"]:
        chunk = chunks[citation["chunk_id"]]
        assert citation["document_id"] == document
        assert citation["document_name"] == "four-pages.pdf"
        shown = await person.get(f"/chunks/{chunk['id']}")
        start, end = (citation[at] - shown["char_start"] for at in ("char_start", "char_end"))
        assert 0 <= start < len(shown["content"])
        assert (shown["content"] + shown["after"])[start:end] == citation["quote"]
        assert chunk["page_from"] <= citation["page"] <= chunk["page_to"]
        assert f"[{citation['marker']}]" in message["content"]


async def test_a_pdf_becomes_ready_with_every_page_in_its_chunks(person: Person, document: str) -> None:
    seen = await person.document(document)
    chunks = await person.chunks(document)
    assert (seen["status"], seen["stage"], seen["page_count"]) == ("ready", None, 4)
    assert seen["chunk_count"] == len(chunks) == seen["progress"]["chunks_done"]
    assert [chunk["ordinal"] for chunk in chunks] == list(range(len(chunks)))
    pages = {page for chunk in chunks for page in range(chunk["page_from"], chunk["page_to"] + 1)}
    assert pages == {1, 2, 3, 4}
    assert any(
        squeezed(SNIPPET) in squeezed(chunk["content"]) and chunk["page_from"] <= PAGE <= chunk["page_to"]
        for chunk in chunks
    )


async def test_an_answer_that_was_waited_for_cites_what_is_there(person: Person, document: str) -> None:
    conversation = await person.conversation()
    response = await person.client.post(f"/conversations/{conversation}/messages", json={"content": QUESTION})
    assert response.status_code == 201, response.text
    message = response.json()
    assert (message["role"], message["status"]) == ("assistant", "complete")
    await check_citations(person, document, message)


async def test_a_streamed_answer_is_the_stored_one_and_resumes_anywhere(person: Person, document: str) -> None:
    conversation = await person.conversation()
    async with asyncio.timeout(120), person.asks(conversation, QUESTION) as stream:
        events = [sent async for sent in stream]
    kinds = [sent.event for sent in events]
    assert kinds[:2] == ["turn.started", "turn.retrieved"]
    assert kinds[-1] == "message.completed"
    assert [sent.id for sent in events] == list(range(1, len(events) + 1))
    message = events[-1].data["message"]
    assert shown(events) == message["content"]
    await check_citations(person, document, message)
    stored = await person.all(f"/conversations/{conversation}/messages")
    assert [one["role"] for one in stored] == ["user", "assistant"]
    assert stored[1]["content"] == message["content"]
    for cut in (0, 1, len(events) // 2, len(events) - 1):
        async with asyncio.timeout(120), person.resumes(message["turn_id"], cut) as stream:
            again = [sent async for sent in stream]
        assert again == events[cut:]
        assert again[-1].event in FINAL


async def test_search_finds_the_passage_without_an_answer(person: Person, document: str) -> None:
    found = await person.post(f"/bots/{person.bot}/search", json={"query": QUESTION, "limit": 3})
    assert found["data"][0]["document_id"] == document
    assert any(squeezed(SNIPPET) in squeezed(hit["content"]) for hit in found["data"])


async def test_the_same_bytes_again_are_the_same_document(person: Person, document: str) -> None:
    files = {"file": ("copy.pdf", PDF.read_bytes(), "application/pdf")}
    response = await person.client.post(f"/bots/{person.bot}/documents", files=files)
    assert (response.status_code, response.json()["id"]) == (200, document)


def in_time(history: WorkflowHistory) -> list[HistoryEvent]:
    """Give its events without the tasks that a busy worker did not take up in time: the server handed these on anew."""
    lost = {
        event.workflow_task_timed_out_event_attributes.scheduled_event_id
        for event in history.events
        if event.HasField("workflow_task_timed_out_event_attributes")
    }
    return [
        event
        for event in history.events
        if event.event_id not in lost and not event.HasField("workflow_task_timed_out_event_attributes")
    ]


async def test_histories_hold_no_content_and_stay_small(deployed: Deployment, person: Person, document: str) -> None:
    client = await deployed.client()
    chunks = await person.chunks(document)
    bounds = {"IngestDocument": (40, 8192), "AnswerTurn": (26, 6144)}  # five more where the turn gives the title
    checked = set()
    async for run in client.list_workflows("WorkflowType IN ('IngestDocument', 'AnswerTurn')"):
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        most, size = bounds[run.workflow_type]
        events = in_time(history)
        assert len(events) <= most
        assert sum(event.ByteSize() for event in events) <= size
        raw = json.dumps(history.to_json_dict())
        assert QUESTION not in raw
        assert not [chunk for chunk in chunks if chunk["content"][:40] in raw]
        checked.add(run.workflow_type)
    assert checked == set(bounds)


async def test_a_deleted_document_leaves_a_receipt_and_nothing_else(
    deployed: Deployment, person: Person, document: str
) -> None:
    chunks = len(await person.chunks(document))
    response = await person.client.delete(f"/documents/{document}")
    assert response.status_code == 202, response.text
    receipt = await person.purged(document)
    assert (receipt["documents"], receipt["chunks"]) == (1, chunks)
    assert (await person.client.get(f"/documents/{document}")).status_code == 404
    assert (await person.post(f"/bots/{person.bot}/search", json={"query": QUESTION}))["data"] == []
    blobs = deployed.folder / "blobs"
    assert not [path for path in blobs.rglob("*") if path.is_file()]


async def test_a_deleted_bot_takes_everything_with_it(deployed: Deployment, person: Person) -> None:
    document = await person.upload("note.txt", b"The key hangs on hook 31 in room 7.")
    await person.ready(document)
    response = await person.client.delete(f"/bots/{person.bot}")
    assert response.status_code == 202, response.text
    receipt = await person.purged(person.bot)
    assert receipt["documents"] == 1
    for path in (f"/bots/{person.bot}", f"/documents/{document}"):
        assert (await person.client.get(path)).status_code == 404
    assert not [path for path in (deployed.folder / "blobs").rglob("*") if path.is_file()]
