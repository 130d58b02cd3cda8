"""Search over HTTP."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.wiring import Adapters
from domain.errors import ProviderError
from tests.api.conftest import Caller
from tests.builders import a_bot, a_ready_document
from tests.fakes import WordEmbedder

TEXTS = ["The warranty lasts two years.", "The office is closed on Sundays."]


async def test_a_search_lists_passages_best_first(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    document, _ = await a_ready_document(engine, owner.id, bot, TEXTS, WordEmbedder(), name="terms.pdf")
    url = f"/api/v1/bots/{bot}/search"
    found = (await owner.http.post(url, json={"query": "how many years of warranty"})).json()
    assert (found["object"], found["has_more"], found["next"]) == ("list", False, None)
    best = found["data"][0]
    assert (best["content"], best["document_id"], best["document_name"], best["page"]) == (
        TEXTS[0], str(document), "terms.pdf", 1,
    )  # fmt: skip
    assert 0 < best["score"] <= 1
    limited = (await owner.http.post(url, json={"query": "the", "limit": 1, "mode": "vector"})).json()
    assert len(limited["data"]) == 1


async def test_a_search_takes_the_bots_own_mode_unless_told(
    owner: Caller, engine: AsyncEngine, adapters: Adapters
) -> None:
    _, bot = await a_bot(engine, owner.id, configuration={"retrieval": {"mode": "keyword"}})
    await a_ready_document(engine, owner.id, bot, TEXTS, WordEmbedder())
    url = f"/api/v1/bots/{bot}/search"
    assert isinstance(adapters.embedder, WordEmbedder)
    keyword = (await owner.http.post(url, json={"query": "office"})).json()["data"]
    assert [(hit["content"], hit["similarity"]) for hit in keyword] == [(TEXTS[1], None)]
    assert adapters.embedder.calls == 0
    await owner.http.post(url, json={"query": "office", "mode": "hybrid"})
    assert adapters.embedder.calls == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"query": " "}, {"query": "a\0"}, {"query": "x" * 4001}, {"query": "a", "limit": 0},
     {"query": "a", "limit": 51}, {"query": "a", "mode": "magic"}, {"query": "a", "top": 3}],
)  # fmt: skip
async def test_a_bad_search_is_refused(owner: Caller, engine: AsyncEngine, body: dict[str, Any]) -> None:
    _, bot = await a_bot(engine, owner.id)
    response = await owner.http.post(f"/api/v1/bots/{bot}/search", json=body)
    assert (response.status_code, response.json()["error"]["type"]) == (422, "invalid_request")


async def test_a_search_of_no_bot_is_404(owner: Caller) -> None:
    assert (await owner.http.post(f"/api/v1/bots/{uuid4()}/search", json={"query": "a"})).status_code == 404


async def test_a_provider_that_fails_is_named_as_the_cause(
    owner: Caller, engine: AsyncEngine, adapters: Adapters
) -> None:
    _, bot = await a_bot(engine, owner.id)
    assert isinstance(adapters.embedder, WordEmbedder)
    adapters.embedder.fail = [ProviderError("The model provider does not answer. Try again.")]
    response = await owner.http.post(f"/api/v1/bots/{bot}/search", json={"query": "a"})
    assert (response.status_code, response.json()["error"]["type"]) == (502, "provider")


async def test_a_search_under_the_same_key_answers_what_it_answered(owner: Caller, engine: AsyncEngine) -> None:
    _, bot = await a_bot(engine, owner.id)
    url, key = f"/api/v1/bots/{bot}/search", {"Idempotency-Key": "one"}
    first = await owner.http.post(url, json={"query": "office"}, headers=key)
    await a_ready_document(engine, owner.id, bot, TEXTS, WordEmbedder())
    again = await owner.http.post(url, json={"query": "office"}, headers=key)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
