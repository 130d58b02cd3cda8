"""Passages: no copy of what is there, neighbours in one piece that still knows pages and chunks."""
# ruff: noqa: RUF001  (punctuation of other scripts is what some of this is about)

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.ids import new_id
from domain.chunking import split
from domain.chunks import Page
from domain.citations import verify
from domain.context import Span, around
from domain.documents import Format
from domain.ids import ChunkId, DocumentId
from domain.passages import diverse, pick_passages
from domain.retrieval import Hit

DOCUMENT = DocumentId(new_id())
TEXT = "The lamp has a warranty. It lasts two years.\n\nBatteries are excluded from it. So is the bulb of the lamp."
LONG = "Whoever wants to return a lamp sends it to the office with the receipt, in a box that fits it well, and waits."


def a_hit(content: str, score: float = 0.5, **values: object) -> Hit:
    hit = Hit(ChunkId(new_id()), DocumentId(new_id()), "terms.pdf", None, (), content, score)
    return replace(hit, char_end=len(content), **values)  # type: ignore[arg-type]  # fields of a hit


def pieces(*cuts: tuple[int, int], score: float = 0.5) -> list[Hit]:
    """Chunks of TEXT, whose second page begins with the batteries."""
    turn = TEXT.index("Batteries")
    return [
        a_hit(
            TEXT[start:end], score - 0.01 * number, document_id=DOCUMENT, ordinal=number, char_start=start,
            page=1 if start < turn else 2, page_starts=(turn - start,) if start < turn < end else (),
        )
        for number, (start, end) in enumerate(cuts)
    ]  # fmt: skip


# Copies


def test_without_diversity_nothing_changes() -> None:
    hits = [a_hit(LONG, 0.9), a_hit(LONG, 0.8)]
    assert diverse(hits, diversity=0, top_k=2) == hits
    assert diverse([], diversity=0.5, top_k=2) == []


@pytest.mark.parametrize("diversity", [0.05, 1.0])
def test_a_copy_with_a_word_changed_is_left_out(diversity: float) -> None:
    first, copy = a_hit(LONG, 0.9), a_hit(LONG.replace("lamp", "torch"), 0.8)
    other = a_hit("Bulbs are sold by the dozen.", 0.1)
    assert diverse([first, copy, other], diversity=diversity, top_k=2) == [first, other]


def test_copies_are_known_in_scripts_without_spaces() -> None:
    first, copy = (
        a_hit("保修期为两年，从购买之日算起，电池除外。", 0.9),
        a_hit("保修期为两年，从购买之日算起，电池除外！", 0.8),
    )
    assert diverse([first, copy], diversity=0.05, top_k=2) == [first]


def test_what_says_much_of_what_is_taken_is_put_back_as_far_as_diversity_asks() -> None:
    first, alike = a_hit(LONG, 1.0), a_hit(LONG[:60] + " and goes home to sleep a while.", 0.9)
    other = a_hit("Bulbs are sold by the dozen.", 0.8)
    assert diverse([first, alike, other], diversity=0.05, top_k=3) == [first, alike, other]
    assert diverse([first, alike, other], diversity=0.5, top_k=3) == [first, other, alike]


def test_hits_that_no_passage_needs_keep_their_order() -> None:
    hits = [a_hit(f"Word{number} other{number} third{number}.", 1 - number / 100) for number in range(50)]
    assert diverse(hits, diversity=0.05, top_k=3) == hits


# Neighbours


def test_neighbours_become_one_passage_that_is_the_documents_text() -> None:
    first, second, third = pieces((0, 30), (25, 44), (46, len(TEXT)))
    (passage,) = pick_passages([second, first, third], top_k=3, budget=1000, merge_neighbours=True)
    assert passage.content == TEXT.replace("\n\n", "\n ")
    assert (passage.marker, passage.char_start, passage.score) == (1, 0, first.score)
    assert passage.page_starts == (TEXT.index("Batteries"),)
    assert [passage.page_at(at) for at in (0, 44, 46, 60)] == [1, 1, 2, 2]
    assert [passage.chunk_at(at) for at in (0, 26, 60)] == [first.chunk_id, second.chunk_id, third.chunk_id]


def test_a_page_that_begins_inside_a_neighbour_or_in_the_overlap_is_counted_once() -> None:
    turn = TEXT.index("Batteries")
    for cut, overlap in ((turn + 20, 30), (turn + 20, 5), (30, 5), (turn, 0)):
        hits = pieces((0, cut), (cut - overlap, len(TEXT)))
        (passage,) = pick_passages(hits, top_k=2, budget=1000, merge_neighbours=True)
        assert passage.page_starts == (turn,), (cut, overlap)


def test_a_quotation_in_a_merged_passage_names_its_own_chunk_page_and_place() -> None:
    hits = pieces((0, 44), (46, len(TEXT)))
    (passage,) = pick_passages(hits, top_k=2, budget=1000, merge_neighbours=True)
    first, second = verify('It "lasts two years" [1], but "Batteries are excluded" [1].', [passage])
    assert (first.chunk_id, first.page, second.chunk_id, second.page) == (hits[0].chunk_id, 1, hits[1].chunk_id, 2)
    assert TEXT[second.char_start : second.char_end] == "Batteries are excluded"


@example(texts=["aaaaaaaaaaa", "  ", "aaaa"], start=7, length=5)
@given(
    st.lists(st.text("ab \n.", min_size=1, max_size=60), min_size=1, max_size=3),
    st.integers(0, 200),
    st.integers(1, 200),
)
def test_whatever_a_citation_names_stands_in_its_chunk_and_what_follows_it(
    texts: list[str], start: int, length: int
) -> None:
    pages = [Page(number + 1, text) for number, text in enumerate(texts)]
    planned = split(pages, format=Format.PDF, size=20, overlap=6)
    hits = [
        a_hit(each.content, document_id=DOCUMENT, ordinal=at, char_start=each.char_start)
        for at, each in enumerate(planned)
    ]
    for passage in pick_passages(hits, top_k=20, budget=10_000, merge_neighbours=True):
        # A quotation neither begins nor ends with white space, of which what lies between chunks is made.
        taken = passage.content[start : start + length]
        quote, begin = taken.strip(), start + len(taken) - len(taken.lstrip())
        spans = {hit.chunk_id: Span(hit.char_start, hit.content) for hit in hits}
        chunk = spans[passage.chunk_at(begin)]
        _, after = around(chunk, list(spans.values()), len(quote))
        at = (passage.char_start or 0) + begin - chunk.char_start
        assert (chunk.content + after)[at : at + len(quote)] == quote


def test_a_hit_between_two_passages_joins_them_and_makes_room() -> None:
    first, second, third = pieces((0, 24), (25, 44), (46, len(TEXT)))
    other = a_hit(LONG, 0.1)
    picked = pick_passages([first, third, second, other], top_k=2, budget=1000, merge_neighbours=True)
    assert [len(passage.later_chunks) for passage in picked] == [2, 0]
    assert [passage.marker for passage in picked] == [1, 2]


def test_chunks_of_other_documents_and_further_away_stay_apart() -> None:
    first, _, third = pieces((0, 24), (25, 44), (46, len(TEXT)))
    other = a_hit(LONG, ordinal=1)
    assert len(pick_passages([first, third, other], top_k=3, budget=1000, merge_neighbours=True)) == 3


def test_neighbours_that_much_white_space_lies_between_stay_apart() -> None:
    first, second = pieces((0, 24), (25, 44))
    far = replace(second, char_start=24 + 100_000)
    for hits in ([first, far], [far, first]):
        assert len(pick_passages(hits, top_k=3, budget=1000, merge_neighbours=True)) == 2


def test_without_merging_each_hit_is_a_passage() -> None:
    hits = pieces((0, 30), (25, 44))
    assert [passage.content for passage in pick_passages(hits, top_k=5, budget=1000)] == [hit.content for hit in hits]


def test_neighbours_of_one_document_do_not_fill_the_prompt() -> None:
    hits = [a_hit(LONG, document_id=DOCUMENT, ordinal=at, char_start=at * len(LONG)) for at in range(50)]
    (passage,) = pick_passages(hits, top_k=3, budget=10_000, merge_neighbours=True)
    assert len(passage.later_chunks) == 5


def test_a_hit_that_does_not_fit_is_passed_over() -> None:
    picked = pick_passages([a_hit("x" * 400), a_hit("short one")], top_k=2, budget=50, merge_neighbours=True)
    assert [passage.content for passage in picked] == ["short one"]
