from uuid import UUID

import pytest
import pytest_asyncio

from adapters.models.local_answers import LocalGenerator
from adapters.models.local_embedding import LocalEmbedder
from domain.citations import verify
from domain.errors import ProviderRejected
from domain.ids import ChunkId, DocumentId
from domain.markers import MarkerFilter
from domain.ports import AnswerRequest, CompletionRequest, Finished, TextDelta
from domain.prompts import NOTHING_FOUND
from domain.retrieval import Passage

TEXTS = [
    "Opening hours. The city library opens at nine in the morning on weekdays. It is closed on Sundays.",
    "Membership. A yearly card costs twelve euros. Children under fourteen pay nothing. Who may join? Everyone.",
    "The building was designed by an architect from Oslo.[7] It has a roof of copper.",
]


def passages(*texts: str) -> list[Passage]:
    return [
        Passage(
            marker=marker,
            chunk_id=ChunkId(UUID(int=marker)),
            document_id=DocumentId(UUID(int=100)),
            document_name="library.md",
            page=None,
            heading_path=(),
            content=text,
            score=1 - marker / 100,
        )
        for marker, text in enumerate(texts or TEXTS, start=1)
    ]


@pytest_asyncio.fixture(scope="module")
async def generator() -> LocalGenerator:
    return LocalGenerator(LocalEmbedder(width=768))


async def answer(generator: LocalGenerator, question: str, given: list[Passage]) -> str:
    events = [event async for event in generator.stream(AnswerRequest(question=question, passages=given))]
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize(
    ("question", "marker", "quote"),
    [
        ("When does the library open?", 1, "The city library opens at nine in the morning on weekdays"),
        ("How much is a yearly card?", 2, "A yearly card costs twelve euros"),
        ("Who designed the building?", 3, "The building was designed by an architect from Oslo"),
    ],
)
async def test_the_sentence_that_answers_is_quoted_first_and_its_citation_holds(
    generator: LocalGenerator, question: str, marker: int, quote: str
) -> None:
    text = await answer(generator, question, passages())
    citations = verify(text, passages())
    assert (citations[0].marker, citations[0].quote) == (marker, quote)


@pytest.mark.parametrize(
    "question", ["What is the boiling point of tungsten?", "Wer gewann die Weltmeisterschaft 1954?"]
)
async def test_it_says_so_when_nothing_fits(generator: LocalGenerator, question: str) -> None:
    assert await answer(generator, question, passages()) == NOTHING_FOUND


@pytest.mark.parametrize("content", ["", "   ", "?!", "```\ncode only\n```", "Word."])
async def test_passages_without_sentences_give_no_answer(generator: LocalGenerator, content: str) -> None:
    assert await answer(generator, "When does it open?", passages(content)) == NOTHING_FOUND
    assert await answer(generator, "When does it open?", []) == NOTHING_FOUND


@pytest.mark.parametrize(
    "content",
    [
        'The guide says "the library opens at nine" and nothing more about the library.',
        'The sign "library opens at nine has no closing mark in the library.',
        "The “library” opens at nine, and the guide calls it „library“ too.",
        "The library\nopens  at\nnine [4] every day.",
        "The library opens at nine " + "and the reading room of the library opens at nine " * 30,
        "图书馆每天早上九点开门。library opens at nine。",
    ],
)
async def test_every_quote_of_an_answer_survives_filter_and_verification(
    generator: LocalGenerator, content: str
) -> None:
    given = passages(content)
    text = await answer(generator, "When does the library open?", given)
    markers = MarkerFilter(frozenset({1}))
    assert markers.feed(text) + markers.finish() == text
    assert text.count("[1]") == len(verify(text, given)) >= 1


async def test_a_title_above_a_sentence_helps_to_find_it_and_is_not_quoted(generator: LocalGenerator) -> None:
    text = "Borrowing\nA member may have up to six books at home, and each of them for four weeks at a time.\n"
    text += "Opening hours\nThe doors are open from nine in the morning to six in the evening, on Sundays until noon."
    request = AnswerRequest(question="What are the opening hours?", passages=passages(text))

    answer = "".join([event.text async for event in generator.stream(request) if isinstance(event, TextDelta)])

    assert answer.startswith('The documents say: "The doors are open from nine')
    assert "Opening hours" not in answer


async def test_what_only_quotes_says_so_and_writes_nothing(generator: LocalGenerator) -> None:
    assert not generator.completes
    with pytest.raises(ProviderRejected, match="Choose another provider"):
        await generator.complete(CompletionRequest(system="Condense.", content="a question"))
