"""A refused text is found in few calls, and never blamed for what is wrong with the model."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil, log2

import pytest

from activities.bisection import Answered, embed_texts
from domain.embedding import Refused, distinct_texts
from domain.errors import ProviderInputRefused, ProviderRateLimited, ProviderRejected
from domain.ports import Embeddings
from tests.fakes import WordEmbedder

BATCH = 100


class Picky(WordEmbedder):
    """Refuses a batch for one of its texts; remembers which were taken."""

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        super().__init__(width=8, batch_size=BATCH)
        self.refuses = refuses
        self.taken: Counter[str] = Counter()

    async def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        answer = await super().embed_documents(texts)
        if any(map(self.refuses, texts)):
            raise ProviderInputRefused("One of them.")
        self.taken.update(texts)
        return answer


def texts(count: int = BATCH) -> list[str]:
    return [f"text {number}" for number in range(count)]


async def answers(embedder: Picky, contents: Sequence[str]) -> list[Answered[int]]:
    batch = distinct_texts((content, number) for number, content in enumerate(contents))
    return [answered async for answered in embed_texts(embedder, batch)]


def results(found: Sequence[Answered[int]]) -> dict[str, object]:
    pairs = [
        (text.content, result)
        for answered in found
        for text, result in zip(answered.texts, answered.results, strict=True)
    ]
    assert len(dict(pairs)) == len(pairs), "a text was answered twice"
    return dict(pairs)


async def test_a_batch_that_is_taken_is_one_call() -> None:
    embedder = Picky(lambda _: False)
    [answered] = await answers(embedder, texts())
    assert (embedder.calls, answered.calls, answered.tokens) == (1, 1, BATCH)


@pytest.mark.parametrize("bad", [0, 1, 49, 50, 99])
async def test_one_refused_text_is_found_and_all_others_are_paid_for_once(bad: int) -> None:
    embedder = Picky(lambda text: text == f"text {bad}")
    found = await answers(embedder, texts())
    answered = results(found)
    assert answered.keys() == set(texts())
    assert [text for text, result in answered.items() if isinstance(result, Refused)] == [f"text {bad}"]
    assert answered[f"text {bad}"] == Refused("provider_rejected")
    assert {text: embedder.taken[text] for text in texts() if text != f"text {bad}"} == dict.fromkeys(
        (text for text in texts() if text != f"text {bad}"), 1
    )
    # The whole batch, the ordinary sentence, and two calls a halving.
    assert embedder.calls <= 2 + 2 * ceil(log2(BATCH))
    assert sum(answer.calls for answer in found) == len(found) - 1


async def test_several_refused_texts_are_all_found() -> None:
    bad = {"text 3", "text 4", "text 61", "text 98"}
    answered = results(await answers(Picky(lambda text: text in bad), texts()))
    assert {text for text, result in answered.items() if isinstance(result, Refused)} == bad
    assert len(answered) == BATCH


async def test_a_document_of_one_refused_text_is_taken_without_it() -> None:
    embedder = Picky(lambda text: text.startswith("text"))
    assert results(await answers(embedder, texts(1))) == {"text 0": Refused("provider_rejected")}
    assert embedder.calls == 2


async def test_a_model_that_refuses_everything_is_not_blamed_on_a_text() -> None:
    embedder = Picky(lambda _: True)
    with pytest.raises(ProviderRejected):
        await answers(embedder, texts())
    assert embedder.calls == 2


async def test_several_refused_texts_and_none_taken_are_not_blamed_on_the_texts() -> None:
    embedder = Picky(lambda text: text.startswith("text"))
    with pytest.raises(ProviderRejected):
        await answers(embedder, texts())
    assert embedder.calls <= 30


async def test_a_failure_in_between_keeps_the_answers_before_it() -> None:
    embedder = Picky(lambda text: text == "text 99")
    found: list[Answered[int]] = []

    async def take_one() -> None:
        async for answered in embed_texts(embedder, distinct_texts((text, 0) for text in texts())):
            found.append(answered)
            embedder.fail = [ProviderRateLimited("Slow down.")]

    with pytest.raises(ProviderRateLimited):
        await take_one()
    assert [len(answered.texts) for answered in found] == [50]
