"""What every provider keeps, whichever it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import numpy as np
import pytest
import pytest_asyncio
from pydantic import SecretStr

from adapters.models.providers import Models, open_models
from adapters.settings import Settings
from domain.citations import verify
from domain.ids import ChunkId, DocumentId
from domain.ports import AnswerRequest, Finished, TextDelta
from domain.retrieval import Passage
from tests.anthropic_double import running_anthropic
from tests.gemini_double import running_double
from tests.openai_double import running_openai

PASSAGE = Passage(
    marker=1,
    chunk_id=ChunkId(UUID(int=1)),
    document_id=DocumentId(UUID(int=2)),
    document_name="handbook.pdf",
    page=3,
    heading_path=(),
    content="The library opens at nine. It closes at six.",
    score=0.5,
)
REQUEST = AnswerRequest(question="When does the library open?", passages=[PASSAGE])


async def settings_of(provider: str, stack: AsyncExitStack) -> Settings:
    key = SecretStr("test-key")
    match provider:
        case "gemini":
            url = (await stack.enter_async_context(running_double())).url
            return Settings(provider="gemini", gemini_api_key=key, gemini_base_url=url)
        case "openai":
            url = (await stack.enter_async_context(running_openai())).url
            return Settings(provider="openai", openai_api_key=key, openai_base_url=f"{url}/v1")
        case "anthropic":
            url = (await stack.enter_async_context(running_anthropic())).url
            return Settings(provider="anthropic", anthropic_api_key=key, anthropic_base_url=url)
        case _:
            return Settings(provider="local")


@pytest_asyncio.fixture(params=["local", "gemini", "openai", "anthropic"])
async def models(request: pytest.FixtureRequest) -> AsyncIterator[Models]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(open_models(await settings_of(request.param, stack)))


async def test_vectors_have_the_deployments_width_and_length_one(models: Models) -> None:
    vectors = (await models.embedder.embed_documents(["one text", "and another"])).vectors
    assert vectors.shape == (2, models.embedder.width) == (2, 768)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_the_same_text_has_the_same_vector(models: Models) -> None:
    first, second = await asyncio.gather(*(models.embedder.embed_documents(["one text"]) for _ in range(2)))
    assert np.allclose(first.vectors, second.vectors, atol=1e-6)


async def test_vectors_come_in_the_order_of_their_texts(models: Models) -> None:
    texts = [f"{'word ' * (7 * n % 5)} number {n}" for n in range(models.embedder.batch_size)]
    there = (await models.embedder.embed_documents(texts)).vectors
    back = (await models.embedder.embed_documents(texts[::-1])).vectors
    assert np.allclose(there, back[::-1], atol=1e-5)


async def test_more_texts_than_a_call_takes_are_refused(models: Models) -> None:
    with pytest.raises(ValueError, match="at most"):
        await models.embedder.embed_documents(["text"] * (models.embedder.batch_size + 1))


async def test_no_texts_have_no_vectors(models: Models) -> None:
    assert (await models.embedder.embed_documents([])).vectors.shape == (0, 768)


async def test_a_question_lies_nearest_to_the_text_that_shares_its_words(models: Models) -> None:
    vectors = (await models.embedder.embed_documents(["the library opens at nine", "copper roofs turn green"])).vectors
    near, far = vectors @ await models.embedder.embed_query("when does the library open")
    assert near > far


async def test_an_answer_ends_with_one_finished_and_cites_what_holds(models: Models) -> None:
    events = [event async for event in models.generator.stream(REQUEST)]
    assert [isinstance(event, Finished) for event in events] == [False] * (len(events) - 1) + [True]
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.model
    assert last.input_tokens > 0
    assert last.output_tokens > 0
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert [citation.quote for citation in verify(text, [PASSAGE])] == ["The library opens at nine"]


async def test_an_answer_can_be_cancelled(models: Models) -> None:
    started = asyncio.Event()

    async def read() -> None:
        async for _ in models.generator.stream(REQUEST):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_models_have_names(models: Models) -> None:
    assert "/" in models.embedder.model
    assert "/" in models.generator.model
