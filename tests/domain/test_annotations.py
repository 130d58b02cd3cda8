"""Each citation's place in the answer."""

from typing import Any
from uuid import UUID

from domain.annotations import annotate
from domain.citations import Citation


def cited(marker: int, quote: str = "a quote") -> Citation:
    ids: Any = {"document_id": UUID(int=1), "chunk_id": UUID(int=2)}
    return Citation(marker=marker, document_name="a.pdf", page=None, quote=quote, score=1.0, **ids)


def places(answer: str, *citations: Citation) -> list[str]:
    return [f"{each.start}-{each.end}" for each in annotate(answer, citations)]


def test_a_citation_stands_where_its_marker_does() -> None:
    assert places("One [1] and two [2].", cited(1), cited(2)) == ["4-7", "16-19"]
    assert places("Both [1, 2].", cited(1), cited(2)) == ["5-11", "5-11"]


def test_of_several_of_one_number_each_has_its_own() -> None:
    assert places("One [1], two [1].", cited(1, "x"), cited(1, "y")) == ["4-7", "13-16"]


def test_a_quotation_tells_which_of_several_it_is() -> None:
    answer = 'Wrong "quote" [1], but "right words" [1].'
    (place,) = places(answer, cited(1, "right words"))
    assert place == f"{answer.rindex('[1]')}-{answer.rindex('[1]') + 3}"


def test_a_citation_without_a_marker_stands_at_the_end() -> None:
    assert places("None.", cited(3)) == ["5-5"]
