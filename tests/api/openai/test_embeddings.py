"""Embeddings by OpenAI's own client, which asks for base64, and as plain numbers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import openai
import pytest
from asgi_lifespan import LifespanManager
from openai import AsyncOpenAI

from adapters.wiring import Adapters
from api.main import create_app
from domain.ports import Embeddings
from tests.api.conftest import Caller, logged_in
from tests.fakes import WordEmbedder


async def test_texts_become_the_vectors_that_documents_are_found_by(
    client_of_openai: AsyncOpenAI, adapters: Adapters
) -> None:
    texts = [f"text {number} of many" for number in range(70)]  # more than two batches
    expected = await WordEmbedder(batch_size=100).embed_documents(texts)
    made = await client_of_openai.embeddings.create(model="fake/words", input=texts)
    assert [each.index for each in made.data] == list(range(70))
    np.testing.assert_allclose([each.embedding for each in made.data], expected.vectors, rtol=1e-6)
    assert (made.model, made.usage.prompt_tokens, made.usage.total_tokens) == ("fake/words", 70, 70)
    assert isinstance(adapters.embedder, WordEmbedder)
    assert adapters.embedder.calls == 3


async def test_numbers_and_base64_say_the_same(client_of_openai: AsyncOpenAI, owner: Caller) -> None:
    create = client_of_openai.embeddings.create
    one = await create(model="words", input="A text.", dimensions=768)
    plain = await create(model="words", input="A text.", encoding_format="float")
    assert one.data[0].embedding == plain.data[0].embedding
    body = {"model": "words", "input": "A text.", "encoding_format": "base64"}
    raw = (await owner.http.post("/openai/v1/embeddings", json=body)).json()["data"][0]["embedding"]
    assert isinstance(raw, str)


class Uncounted(WordEmbedder):
    """A model that does not tell its tokens."""

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        return Embeddings((await super().embed_documents(texts)).vectors)


async def test_tokens_are_estimated_where_the_model_does_not_count(adapters: Adapters, owner: Caller) -> None:
    app = create_app(adapters=replace(adapters, embedder=Uncounted()))
    async with LifespanManager(app), logged_in(app, adapters.settings, owner.id) as caller:
        body = {"model": "fake/words", "input": ["Eight by", "tes"]}
        made = (await caller.http.post("/openai/v1/embeddings", json=body)).json()
    assert made["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_more_texts_than_another_body_may_hold_are_embedded_and_too_many_are_a_413(
    client_of_openai: AsyncOpenAI,
) -> None:
    made = await client_of_openai.embeddings.create(model="words", input=["x" * 30_000] * 50)
    assert len(made.data) == 50
    with pytest.raises(openai.APIStatusError) as refused:
        await client_of_openai.embeddings.create(model="words", input=["x" * 30_000] * 300)
    assert (refused.value.status_code, refused.value.code) == (413, "payload_too_large")


async def test_the_same_key_is_embedded_once(client_of_openai: AsyncOpenAI, adapters: Adapters) -> None:
    assert isinstance(adapters.embedder, WordEmbedder)
    twice = [
        await client_of_openai.embeddings.create(model="words", input="A.", extra_headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert twice[0] == twice[1]
    assert adapters.embedder.calls == 1


@pytest.mark.parametrize(
    ("model", "given", "dimensions", "param"),
    [
        ("words", [], None, "input"),
        ("words", "", None, "input"),
        ("words", ["a", ""], None, "input.1"),
        ("words", "x" * 32_001, None, "input"),
        ("words", ["a"] * 2049, None, "input"),
        ("words", [1, 2, 3], None, "input"),
        ("words", [[1, 2], [3]], None, "input"),
        ("words", "a", 256, "dimensions"),
    ],
)
async def test_what_cannot_be_embedded_is_a_clear_400(
    client_of_openai: AsyncOpenAI, model: str, given: list[str], dimensions: int | None, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client_of_openai.embeddings.create(model=model, input=given, dimensions=dimensions or openai.omit)
    assert refused.value.param == param


async def test_another_model_is_not_found_and_ours_is_named(client_of_openai: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client_of_openai.embeddings.create(model="text-embedding-3-small", input="A text.")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert "fake/words" in str(missing.value.body)
