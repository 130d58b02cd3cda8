"""A chunk's terms as the database reads them."""

from hypothesis import given
from hypothesis import strategies as st
from pgvector import SparseVector

from adapters.postgres import keywords
from domain import terms

WEIGHTS = st.dictionaries(st.integers(1, terms.SPACE - 1), st.floats(0.0625, 3.0, width=32), max_size=40)


@given(WEIGHTS)
def test_each_term_has_a_place_for_its_presence_and_one_for_its_weight_in_order(weights: dict[int, float]) -> None:
    read = SparseVector.from_binary(keywords.encode(weights).to_binary())
    expected = {2 * term - 2: 1.0 for term in weights} | {2 * term - 1: weight for term, weight in weights.items()}
    assert read == SparseVector(expected, keywords.WIDTH)
    assert keywords.as_text(weights) == read.to_text()
