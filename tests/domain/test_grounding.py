"""Grounding: whether what was found has anything to say about the question."""

import pytest

from adapters.ids import new_id
from adapters.models.local_embedding import MODEL
from domain.grounding import CALIBRATED, THRESHOLD, least_relevance, relevance
from domain.ids import ChunkId, DocumentId
from domain.retrieval import Hit, SearchMode

ENGLISH, CHINESE = "How long does the warranty last?", "保修期有多长时间"


def a_hit(coverage: float = 0.0, similarity: float | None = None) -> Hit:
    return Hit(
        chunk_id=ChunkId(new_id()),
        document_id=DocumentId(new_id()),
        document_name="terms.pdf",
        page=1,
        heading_path=(),
        content="The warranty lasts two years.",
        score=0.5,
        similarity=similarity,
        coverage=coverage,
    )


def known(mode: SearchMode, *hits: Hit, question: str = ENGLISH, fluency: float = 1.0) -> bool:
    return relevance(hits, mode, question=question, fluency=fluency) >= THRESHOLD


@pytest.mark.parametrize("mode", list(SearchMode))
def test_nothing_found_is_nothing_relevant(mode: SearchMode) -> None:
    assert relevance([], mode, question=ENGLISH) == 0
    assert not known(mode, a_hit(0.02, 0.05))


@pytest.mark.parametrize("mode", list(SearchMode))
def test_relevance_lies_between_0_and_1_and_grows_with_what_a_hit_has(mode: SearchMode) -> None:
    found = [relevance([a_hit(step / 10, step / 10)], mode, question=ENGLISH) for step in range(16)]
    assert found == sorted(found)
    assert 0 <= found[0] < THRESHOLD < found[10] <= found[15] <= 1


def test_one_relevant_hit_is_enough() -> None:
    assert known(SearchMode.HYBRID, a_hit(0.0, 0.1), a_hit(0.7, 0.6), a_hit(0.1, 0.0))


def test_in_hybrid_words_and_meaning_make_up_for_each_other() -> None:
    assert known(SearchMode.HYBRID, a_hit(0.0, 0.6))
    assert known(SearchMode.HYBRID, a_hit(0.9, 0.2))
    assert not known(SearchMode.HYBRID, a_hit(0.3, 0.2))


def test_a_question_that_the_embedding_model_cannot_read_is_judged_by_its_words() -> None:
    near_without_words, with_words = a_hit(0.1, 0.6), a_hit(0.6, 0.1)
    assert known(SearchMode.HYBRID, near_without_words)
    assert not known(SearchMode.HYBRID, near_without_words, fluency=0.1)
    assert known(SearchMode.HYBRID, with_words, fluency=0.1)


def test_by_meaning_alone_a_question_that_cannot_be_read_is_not_refused() -> None:
    assert not known(SearchMode.VECTOR, a_hit(0.0, 0.1))
    assert known(SearchMode.VECTOR, a_hit(0.0, 0.1), fluency=0.1)


def test_a_chunk_of_another_embedding_model_is_judged_by_its_words() -> None:
    assert known(SearchMode.HYBRID, a_hit(0.7))
    assert not known(SearchMode.HYBRID, a_hit(0.1))
    assert not known(SearchMode.VECTOR, a_hit(0.0))


def test_where_words_are_cut_into_bigrams_a_smaller_share_is_enough() -> None:
    assert known(SearchMode.KEYWORD, a_hit(0.2), question=CHINESE, fluency=0.0)
    assert not known(SearchMode.KEYWORD, a_hit(0.2), question=ENGLISH)


def test_a_bots_own_threshold_comes_before_the_calibrated_one() -> None:
    assert least_relevance(None, SearchMode.HYBRID, embedding_model=MODEL) == THRESHOLD
    assert least_relevance(0.6, SearchMode.HYBRID, embedding_model=MODEL) == 0.6
    assert least_relevance(0.0, SearchMode.HYBRID, embedding_model=MODEL) == 0.0


def test_cosines_that_nobody_has_measured_are_no_reason_to_say_no() -> None:
    assert frozenset({MODEL}) == CALIBRATED
    for mode in (SearchMode.HYBRID, SearchMode.VECTOR):
        assert least_relevance(None, mode, embedding_model="gemini/gemini-embedding-001") == 0.0
    assert least_relevance(None, SearchMode.KEYWORD, embedding_model="gemini/gemini-embedding-001") == THRESHOLD
