"""Whether what was found has anything to say about the question.

Relevance is the chance that the best chunk's document answers, by a logistic function of two things: the share of the
question's words that the chunk has, and its cosine. Fitted on questions that were asked of their own set's documents
and of others' (docs/evaluation.md, decision 22); questions that do and that do not have an answer count alike.
"""

from collections.abc import Sequence
from math import exp

from domain import terms
from domain.retrieval import Hit, SearchMode, readable

THRESHOLD = 0.15
"""Below it a bot says that it does not know. On the sets that it was chosen on, one answerable question in fifty is."""

CALIBRATED = frozenset({"local/all-MiniLM-L6-v2"})
"""Embedding models whose cosines these numbers are for: what is near for one is far for another."""

_WORDS = (-6.6, 16.3)
_COSINE = (-17.0, 42.5)
_BOTH = (-10.4, 7.0, 20.4)
# Bigrams run across the edges of words, so that a chunk which says the same has about half of the question's.
_BIGRAMS = 0.75


def relevance(hits: Sequence[Hit], mode: SearchMode, *, question: str, fluency: float = 1.0) -> float:
    """Tell how likely it is that one of these hits answers; `fluency` is as `domain.retrieval.fuse` takes it."""
    scale = 1 + _BIGRAMS * terms.unspaced(question)
    read = readable(fluency)
    return max((_relevance(hit, mode, min(1.0, hit.coverage * scale), read) for hit in hits), default=0.0)


def least_relevance(threshold: float | None, mode: SearchMode, *, embedding_model: str) -> float:
    """Give what the best hit must reach: the bot's own threshold, or the calibrated one.

    Where a model's cosines say nothing known, the answering model is asked, whose rules tell it to say so.
    """
    if threshold is not None:
        return threshold
    return THRESHOLD if mode is SearchMode.KEYWORD or embedding_model in CALIBRATED else 0.0


def _relevance(hit: Hit, mode: SearchMode, words: float, read: float) -> float:
    by_words = _WORDS[0] + _WORDS[1] * words
    if mode is SearchMode.KEYWORD or (mode is SearchMode.HYBRID and hit.similarity is None):
        return _chance(by_words)
    if hit.similarity is None:
        return 0.0
    if mode is SearchMode.HYBRID:
        by_both = _BOTH[0] + _BOTH[1] * words + _BOTH[2] * hit.similarity
        return _chance(read * by_both + (1 - read) * by_words)
    # A model that cannot read the question puts it anywhere: its cosine is no reason to say no.
    return max(_chance(_COSINE[0] + _COSINE[1] * hit.similarity), 1 - read)


def _chance(odds: float) -> float:
    return 1 / (1 + exp(-odds))
