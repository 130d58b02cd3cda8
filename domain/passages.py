"""Which hits become the prompt's passages: no text twice, neighbours in one piece, as many as fit."""

from collections.abc import Sequence
from dataclasses import replace

from domain import terms
from domain.context import Span, joined
from domain.conversation import estimate_tokens
from domain.retrieval import Hit, Passage

# Measured: copies with a word changed share more than 0.9 of their words, neighbours less than half.
_SAME = 0.85
_COMPARED = 4  # hits for each passage that is wanted; beyond them nothing is taken, as a rule
_WIDEST_GAP = 500  # characters of white space between neighbours, which a passage holds and the model is paid for
_JOINED = 2  # hits for each passage, at most, so that one document's neighbours do not fill the prompt


def diverse(hits: Sequence[Hit], *, diversity: float, top_k: int) -> list[Hit]:
    """Leave out copies of better hits, and put those back that say much of what better ones say (MMR).

    0 changes nothing; at 1 only what is new counts (maximal marginal relevance, Carbonell and Goldstein 1998). What
    two hits share is the share of their words that both have.
    """
    if diversity == 0 or not hits:
        return list(hits)
    compared, rest = list(hits[: _COMPARED * top_k]), hits[_COMPARED * top_k :]
    best = max(hit.score for hit in compared) or 1.0
    words = {hit.chunk_id: terms.words(hit.content) for hit in compared}
    nearest = dict.fromkeys(words, 0.0)  # to what is taken
    taken: list[Hit] = []
    while compared and len(taken) < _JOINED * top_k:
        chosen = max(compared, key=lambda hit: (1 - diversity) * hit.score / best - diversity * nearest[hit.chunk_id])
        taken.append(chosen)
        compared.remove(chosen)
        for hit in compared:
            nearest[hit.chunk_id] = max(nearest[hit.chunk_id], _shared(words[hit.chunk_id], words[chosen.chunk_id]))
        compared = [hit for hit in compared if nearest[hit.chunk_id] < _SAME]
    return [*taken, *compared, *rest]


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


def pick_passages(hits: Sequence[Hit], *, top_k: int, budget: int, merge_neighbours: bool = False) -> list[Passage]:
    """Take the first hits, `top_k` at most, that fit into `budget` tokens together.

    A hit that does not fit is passed over, so that one long passage does not shut out the rest. With
    `merge_neighbours` hits that stand side by side in a document become one passage, and count as one.
    """
    picked: list[list[Hit]] = []
    left = budget
    for hit in hits[: _JOINED * top_k] if merge_neighbours else hits:
        beside = [group for group in picked if merge_neighbours and _adjoins(group, hit)]
        if not beside and len(picked) == top_k:
            break
        cost = estimate_tokens(hit.content)
        if cost > left:
            continue
        left -= cost
        if beside:
            beside[0] += [hit, *(each for group in beside[1:] for each in group)]
            picked = [group for group in picked if group not in beside[1:]]
        else:
            picked.append([hit])
    return [_passage(number, group) for number, group in enumerate(picked, start=1)]


def _adjoins(group: Sequence[Hit], hit: Hit) -> bool:
    return hit.document_id == group[0].document_id and any(_follow(*_in_order(each, hit)) for each in group)


def _in_order(one: Hit, other: Hit) -> tuple[Hit, Hit]:
    return (one, other) if one.ordinal < other.ordinal else (other, one)


def _follow(first: Hit, then: Hit) -> bool:
    gap = then.char_start - first.char_start - len(first.content)
    return then.ordinal - first.ordinal == 1 and gap <= _WIDEST_GAP


def _passage(marker: int, group: Sequence[Hit]) -> Passage:
    inside = sorted(group, key=lambda hit: hit.ordinal)
    first = inside[0]
    passage = Passage(
        marker=marker,
        chunk_id=first.chunk_id,
        document_id=first.document_id,
        document_name=first.document_name,
        page=first.page,
        heading_path=first.heading_path,
        content=first.content,
        score=max(hit.score for hit in group),
        page_starts=first.page_starts,
        char_start=first.char_start,
    )
    for hit in inside[1:]:
        passage = _extended(passage, hit)
    return passage


def _extended(passage: Passage, hit: Hit) -> Passage:
    """Add the chunk that comes next in the document's text."""
    start = passage.char_start or 0
    at, end = hit.char_start - start, len(passage.content)
    return replace(
        passage,
        content=joined([Span(start, passage.content), Span(hit.char_start, hit.content)]).content,
        page_starts=(*passage.page_starts, *_new_pages(passage, hit, at, end)),
        later_chunks=(*passage.later_chunks, hit.chunk_id),
        chunk_starts=(*passage.chunk_starts, at),
    )


def _new_pages(passage: Passage, hit: Hit, at: int, end: int) -> list[int]:
    """List where pages start in what a chunk that begins `at` adds behind `end`."""
    if hit.page is None:
        return []
    before = passage.page_at(at) or hit.page
    return [at] * (hit.page - before) + [at + start for start in hit.page_starts if at + start >= end]
