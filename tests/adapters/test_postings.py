"""Postings give what the chunks' own vectors give."""

import random
from uuid import UUID

import numpy as np
import pytest

from adapters.postgres import keywords, postings
from adapters.postgres.postings import PART, Postings, Segment
from domain import terms
from domain.ids import IngestionId

WORDS = [f"word{number}" for number in range(400)]
OLD, NEW, OTHER = (IngestionId(UUID(int=number)) for number in (1, 2, 3))


def drawn(count: int) -> list[dict[int, float]]:
    dice = random.Random(11)
    texts = [" ".join(dice.choices(WORDS, weights=[1 / (n + 1) for n in range(400)], k=60)) for _ in range(count)]
    return [dict(terms.of_chunk("a.txt", (), text).weights) for text in texts]


def parts(*given: tuple[IngestionId, int, int]) -> bytes:
    return np.array([(version.bytes, first, count) for version, first, count in given], PART).tobytes()


def segment(chunks: list[dict[int, float]], wanted: list[int], live: bytes) -> Segment:
    sent = [(number, keywords.encode(chunk).to_binary()) for number, chunk in enumerate(chunks)]
    half = len(sent) // 2
    buckets = dict(postings.encode([postings.pack(sent[:half]), postings.pack(sent[half:])], len(sent)))
    asked = [buckets[bucket] for bucket in postings.buckets_of(wanted) if bucket in buckets]
    return Segment(len(chunks), live, asked)


def score(chunk: dict[int, float], rarities: dict[int, float]) -> float:
    return sum(chunk.get(term, 0.0) * rarity for term, rarity in rarities.items())


@pytest.fixture(scope="module")
def chunks() -> list[dict[int, float]]:
    return drawn(300)


WANTED = terms.of_question("word0 word3 word17 word250 nowhere", ())


def test_terms_are_counted_as_the_chunks_have_them(chunks: list[dict[int, float]]) -> None:
    found = Postings([segment(chunks, WANTED, parts((OLD, 0, 100), (NEW, 100, 200)))], WANTED)
    counted = {term: sum(term in chunk for chunk in chunks) for term in WANTED}
    assert found.chunks == 300
    assert dict(found.having()) == {term: count for term, count in counted.items() if count}


def test_the_best_chunks_are_those_whose_weights_add_up_to_most(chunks: list[dict[int, float]]) -> None:
    found = Postings([segment(chunks, WANTED, parts((OLD, 0, 100), (NEW, 100, 200)))], WANTED)
    rarities = {term: terms.rarity(count, 300) for term, count in found.having().items()}
    expected = sorted(range(300), key=lambda at: -score(chunks[at], rarities))[:10]
    best = found.best(rarities, 20)
    assert {(OLD, at) if at < 100 else (NEW, at - 100) for at in expected} <= set(best)
    assert len(best) == 20


def test_a_version_that_does_not_answer_is_neither_counted_nor_found(chunks: list[dict[int, float]]) -> None:
    found = Postings([segment(chunks, WANTED, parts((NEW, 100, 200)))], WANTED)
    counted = {term: sum(term in chunk for chunk in chunks[100:]) for term in WANTED}
    rarities = dict.fromkeys(counted, 1.0)
    assert found.chunks == 200
    assert dict(found.having()) == {term: count for term, count in counted.items() if count}
    assert {version for version, _ in found.best(rarities, 300)} == {NEW}


def test_segments_are_ranked_together(chunks: list[dict[int, float]]) -> None:
    first = segment(chunks[:150], WANTED, parts((OLD, 0, 150)))
    second = segment(chunks[150:], WANTED, parts((OTHER, 0, 150)))
    apart, together = (
        Postings([first, second], WANTED),
        Postings([segment(chunks, WANTED, parts((OLD, 0, 150), (OTHER, 150, 150)))], WANTED),
    )
    rarities = {term: terms.rarity(count, 300) for term, count in together.having().items()}
    assert apart.having() == together.having()

    def scores(best: list[tuple[IngestionId, int]]) -> list[float]:
        """Chunks of equal scores may come in any order."""
        found = [chunks[at if version == OLD else 150 + at] for version, at in best]
        return [round(score(chunk, rarities), 1) for chunk in found]

    assert scores(apart.best(rarities, 30)) == pytest.approx(scores(together.best(rarities, 30)), abs=0.1)


def test_a_question_whose_terms_no_chunk_has_finds_nothing(chunks: list[dict[int, float]]) -> None:
    wanted = terms.of_question("nowhere", ())
    found = Postings([segment(chunks, wanted, parts((OLD, 0, 300)))], wanted)
    assert not +found.having()
    assert found.best({}, 10) == []


def test_a_term_that_all_chunks_have_takes_a_byte_for_each_and_is_ranked_as_one_that_is_listed() -> None:
    """Weights in steps of a 255th: who has more of the term comes first, and who has least of it is found as well."""
    weights = [0.001, *(0.01 * number for number in range(2, 201))]
    chunks = [{7: weight, 8: weight} if at % 9 == 0 else {7: weight} for at, weight in enumerate(weights)]
    rare, common = segment(chunks, [8], parts((OLD, 0, 200))), segment(chunks, [7], parts((OLD, 0, 200)))
    assert rare.buckets == common.buckets, "one bucket holds both"
    assert len(common.buckets[0]) < 2 * len(chunks)
    for wanted, having in ((7, range(200)), (8, range(0, 200, 9))):
        found = Postings([common], [wanted])
        assert found.having() == {wanted: len(having)}
        assert [at for _, at in found.best({wanted: 1.0}, 200)] == sorted(having, reverse=True)


def test_a_segment_of_no_chunks_has_no_buckets() -> None:
    assert list(postings.encode([], 0)) == []


def test_keywords_are_read_as_they_were_written(chunks: list[dict[int, float]]) -> None:
    found, weights = keywords.read(keywords.encode(chunks[0]).to_binary())
    assert dict(zip(found.tolist(), weights.tolist(), strict=True)) == pytest.approx(chunks[0])
