"""When a bot has an index, and when a search uses it."""

import pytest

from adapters.ids import new_id
from domain.ids import IngestionId
from domain.indexes import (
    LARGEST_SEGMENT,
    SEGMENT_CHUNKS,
    Coverage,
    Version,
    effort,
    is_faster,
    is_wanted,
    segments_of,
)


def versions(*sizes: int) -> list[Version]:
    return [Version(IngestionId(new_id()), size) for size in sizes]


@pytest.mark.parametrize(
    ("chunks", "present", "wanted"), [(999, False, False), (1000, False, True), (500, True, True), (499, True, False)]
)
def test_an_index_comes_at_the_threshold_and_goes_at_its_half(chunks: int, present: bool, wanted: bool) -> None:
    assert is_wanted(chunks, threshold=1000, present=present) is wanted


def test_an_empty_bot_never_has_an_index() -> None:
    assert not is_wanted(0, threshold=1, present=True)


def test_few_documents_of_a_large_bot_are_scanned_and_most_of_them_are_looked_up() -> None:
    assert not is_faster(100, 100_000, depth=50)
    assert not is_faster(9_000, 100_000, depth=50)
    assert is_faster(20_000, 100_000, depth=50)
    assert is_faster(5_000, 5_000, depth=50)


def test_the_index_looks_the_further_the_fewer_chunks_may_answer() -> None:
    efforts = [effort(selected, 100_000) for selected in (100_000, 50_000, 20_000, 10_000, 1_000, 0)]
    assert efforts == sorted(efforts)
    assert (efforts[0], efforts[-1]) == (200, 1000)


def test_versions_are_packed_in_order_into_segments_that_are_nearly_full() -> None:
    given = versions(*[300] * 200)
    segments = list(segments_of(given))
    assert [version for segment in segments for version in segment] == given
    sizes = [sum(version.chunks for version in segment) for segment in segments]
    assert all(SEGMENT_CHUNKS - 300 < size <= SEGMENT_CHUNKS for size in sizes[:-1])


def test_a_long_document_has_a_segment_of_its_own_and_one_beyond_all_numbers_has_none() -> None:
    short, long, endless = versions(10, LARGEST_SEGMENT, LARGEST_SEGMENT + 1)
    assert list(segments_of([short, long, endless])) == [[short], [long]]


@pytest.mark.parametrize(
    ("coverage", "worn"),
    [
        (Coverage(answering=100_000, covered=100_000, in_segments=100_000), False),
        (Coverage(answering=100_000, covered=98_500, in_segments=98_500), False),
        (Coverage(answering=100_000, covered=97_000, in_segments=97_000), True),
        (Coverage(answering=6_000, covered=5_000, in_segments=5_000), True),
        (Coverage(answering=60_000, covered=60_000, in_segments=80_000), True),
    ],
    ids=["whole", "a short tail", "a long tail", "a tail of a tenth", "much that is nobody's"],
)
def test_segments_are_written_anew_when_enough_came_or_went(coverage: Coverage, worn: bool) -> None:
    assert coverage.is_worn is worn
