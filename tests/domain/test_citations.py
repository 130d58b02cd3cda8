import re
from dataclasses import replace
from itertools import pairwise
from time import process_time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import citations as checked
from domain.citations import verify
from domain.ids import ChunkId, DocumentId
from domain.markers import MarkerFilter
from domain.retrieval import Passage


def a_passage(content: str, *, marker: int = 1) -> Passage:
    return Passage(
        marker=marker,
        chunk_id=ChunkId(UUID(int=marker)),
        document_id=DocumentId(UUID(int=100 + marker)),
        document_name="handbook.pdf",
        page=3,
        heading_path=(),
        content=content,
        score=0.5,
    )


def test_a_citation_tells_where_its_quotation_stands_in_the_documents_text() -> None:
    passage = replace(a_passage("Leave is thirty days. Ask in time."), char_start=1000)
    (citation,) = verify('It is "thirty days" [1].', [passage])
    assert (citation.char_start, citation.char_end) == (1009, 1020)
    assert passage.content[9:20] == citation.quote


def test_a_passage_of_unknown_place_gives_a_citation_without_a_span() -> None:
    (citation,) = verify('It is "thirty days" [1].', [a_passage("Leave is thirty days.")])
    assert (citation.char_start, citation.char_end) == (None, None)


def filtered(text: str, known: frozenset[int] = frozenset({1, 2})) -> str:
    markers = MarkerFilter(known)
    return markers.feed(text) + markers.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is so [1].", "It is so [1]."),
        ("It is so [7].", "It is so."),
        ("It is so [1, 7].", "It is so [1]."),
        ("It is so [7][1].", "It is so[1]."),
        ("It is so [1][7] and more", "It is so [1] and more"),
        ("It is so [7] [8] and more", "It is so and more"),
        ("[7]", ""),
        ("[1; 2]", "[1][2]"),
        ("[[1]]", "[[1]]"),
        ("[[7]]", "[]"),
        ("[see page 7]", "[see page 7]"),
        ("[12345]", "[12345]"),
        ("left [ open", "left [ open"),
        ("left open [1", "left open [1"),
        ("`items[7]` stays, [7] goes", "`items[7]` stays, goes"),
        ("```\na[7]\n```\nb [7]", "```\na[7]\n```\nb"),
        ("one ` tick [7]\nnext [7] line", "one ` tick [7]\nnext line"),
        ("ends with space ", "ends with space "),
        ("line \n[7] next", "line \n next"),
    ],
)
def test_markers_that_were_not_given_are_removed(text: str, expected: str) -> None:
    assert filtered(text) == expected


pieces = st.lists(
    st.sampled_from(
        ["[", "]", "1", "2", "7", ",", " ", "  ", "\n", "`", "```", "[7]", "[1]", "[1, 7]", "word", "é", "]]"]
    )
)


@given(pieces, st.data())
def test_the_result_does_not_depend_on_where_the_stream_was_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    markers = MarkerFilter(frozenset({1, 2}))
    streamed = "".join(markers.feed(text[a:b]) for a, b in pairwise(edges)) + markers.finish()
    assert streamed == filtered(text)


@given(st.lists(st.sampled_from(["[7]", "[1, 7]", "[1]", "[7][8]", " ", "\n", "word", "日", '"', "."])))
def test_no_unknown_marker_is_left(parts: list[str]) -> None:
    assert not re.search(r"\[[^1]*\]|[78]", filtered("".join(parts)))


@given(st.text(alphabet="ab 1234[]\n,.", max_size=60))
def test_text_with_known_markers_only_is_left_alone(text: str) -> None:
    known = frozenset(range(10_000))
    if "," not in text and " ]" not in text and "[ " not in text and "[0" not in text:
        assert filtered(text, known) == text


def test_text_is_held_back_only_while_it_may_become_a_marker() -> None:
    markers = MarkerFilter(frozenset({1}))
    assert markers.feed("so [") == "so"
    assert markers.feed("n") == " [n"
    assert markers.feed("ot] ") == "ot]"
    assert markers.feed("[1") == ""
    assert markers.feed("]") == " [1]"


PASSAGE = a_passage(
    "Opening hours. The “Main  Library” opens at\n9 a.m. on weekdays.[4] It is closed on Sundays — always."
)


@pytest.mark.parametrize(
    ("answer", "quote"),
    [
        ('It says "It is closed on Sundays" [1].', "It is closed on Sundays"),
        ('It says "it is CLOSED on sundays." [1]', "It is closed on Sundays"),
        ("It says “It is closed on Sundays” [1].", "It is closed on Sundays"),
        ("Es heißt „It is closed on Sundays“ [1].", "It is closed on Sundays"),
        ("Il dit « It is closed on Sundays » [1].", "It is closed on Sundays"),
        ("Es heißt »It is closed on Sundays« [1].", "It is closed on Sundays"),
        ("「It is closed on Sundays」[1]", "It is closed on Sundays"),
        ('"It is closed on Sundays," [1] it says.', "It is closed on Sundays"),
        ('"It is closed on Sundays - always" [1]', "It is closed on Sundays — always"),
        ('"The "Main Library" opens at 9 a.m." [1]', "The “Main  Library” opens at\n9 a.m"),
        ('"opens at 9 a.m. on weekdays. It is closed" [1]', "opens at\n9 a.m. on weekdays.[4] It is closed"),
        ('"It is closed on Sundays" [2][1]', "It is closed on Sundays"),
        ('"closed" and "on Sundays" [1]', "on Sundays"),
    ],
)
def test_a_quotation_is_given_back_in_the_passages_own_words(answer: str, quote: str) -> None:
    citations = verify(answer, [PASSAGE])
    assert [c.quote for c in citations] == [quote]
    assert quote in PASSAGE.content


@pytest.mark.parametrize(
    "answer",
    [
        '"It is open on Sundays" [1]',
        '"closed on Sun" [1]',
        "„It is open on Sundays“ [1]",
        "「It is open」[1]",
        '"It is closed on Sundays and on Mondays" [1]',
        '"It is closed on Sundays" [2]',
        "`hours[1]`",
    ],
)
def test_a_citation_that_does_not_hold_is_dropped(answer: str) -> None:
    assert verify(answer, [PASSAGE]) == []


def test_scripts_without_spaces_are_quoted_across_line_breaks_and_within_runs() -> None:
    passage = a_passage("図書館は日曜日に\n閉まっています。平日は九時に開きます。")
    assert [c.quote for c in verify("「日曜日に閉まっています」[1]。", [passage])] == ["日曜日に\n閉まっています"]


def test_composed_and_decomposed_letters_are_the_same() -> None:
    passage = a_passage("Das Cafe\u0301 ist geo\u0308ffnet, \u1109\u1165\u110b\u116e\u11af은 크다.")
    citations = verify('"Das Café ist geöffnet, 서울은" [1]', [passage])
    assert [c.quote for c in citations] == [passage.content[: passage.content.index(" 크다")]]


def test_without_a_quotation_the_best_supporting_sentence_is_the_quote() -> None:
    citations = verify("On weekdays the library opens at nine [1]. On Sundays it stays closed [1].", [PASSAGE])
    assert [c.quote for c in citations] == [
        "The “Main  Library” opens at\n9 a.m. on weekdays.[4]",
        "It is closed on Sundays — always.",
    ]


def test_a_marker_appears_once_for_each_distinct_quote_in_order_of_appearance() -> None:
    other = a_passage("Members borrow ten books.", marker=2)
    citations = verify(
        'Members borrow ten books [2]. "It is closed on Sundays" [1], I repeat: "it is closed on sundays" [1]. '
        "Ten books for members [2].",
        [PASSAGE, other],
    )
    assert [(c.marker, c.quote) for c in citations] == [
        (2, "Members borrow ten books."),
        (1, "It is closed on Sundays"),
    ]


def test_an_inch_mark_is_not_a_quotation() -> None:
    passage = a_passage('The pipe is 12" wide.')
    assert [c.quote for c in verify('The pipe is 12" [1].', [passage])] == ['The pipe is 12" wide.']


@given(st.text(max_size=200), st.text(min_size=1, max_size=200))
def test_every_quote_occurs_in_its_passage_whatever_the_texts(answer: str, content: str) -> None:
    for citation in verify(f'{answer} "{content[3:20]}" [1] {answer} [1]', [a_passage(content)]):
        assert citation.quote in content


def test_a_citation_names_the_page_that_its_quotation_stands_on() -> None:
    content = "The first page ends here.\n\nThe second page goes on.\n\nThe third page is the last."
    starts = (content.index("\n\nThe second"), content.index("\n\nThe third"))
    passage = replace(a_passage(content=content), page=7, page_starts=starts)
    answer = '"The first page" [1], "the second page goes on" [1] and "third page is the last" [1].'
    assert [citation.page for citation in verify(answer, [passage])] == [7, 8, 9]


_FOXES = "The quick brown fox jumps over the lazy dog. "


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (('"a' * 40 + '" [1] ') * 100, _FOXES * 20),
        ("[1]" * 3000, _FOXES * 20),
        ("It is so [1][2]. " * 500, _FOXES * 20),
        (("“" * 300 + "x” [1] ") * 30, _FOXES * 20),
        ("." * 1900 + "a [1]" * 50, _FOXES * 20),
        ("".join(f"a{number} [1]. " for number in range(200)), "a. " * 30_000),
        ("".join(f'"{"a" * number}" [1] ' for number in range(1, 100)), "a" * 100_000),
    ],
    ids=["quotation marks", "markers", "claims", "opened", "dots", "sentences", "one word"],
)
def test_an_answer_that_was_made_to_be_slow_is_checked_soon(answer: str, content: str) -> None:
    began = process_time()
    verify(answer, [a_passage(content), a_passage(content, marker=2)])
    assert process_time() - began < 5  # minutes, without bounds


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List what is folded, in order."""
    texts: list[str] = []
    fold = checked._fold

    def counted(text: str) -> checked._Folded:
        texts.append(text)
        return fold(text)

    monkeypatch.setattr(checked, "_fold", counted)
    return texts


@pytest.mark.parametrize("inner", ["\ufdfa " * 960, "½ " * 960, "… " * 960, "x y z " * 320])
def test_a_quotation_and_its_passages_are_folded_once_however_many_markers_follow(
    folded: list[str], inner: str
) -> None:
    passages = [PASSAGE, a_passage("Members borrow ten books.", marker=2)]
    verify("“q”" * 7 + f"“{inner}”" + "[1][2]" * 100, passages)
    longest, *contents = folded
    assert longest.endswith(inner)
    assert contents == [passage.content for passage in passages]


def test_a_claim_is_read_once_however_many_markers_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    claim = checked._claim

    def counted(answer: str, end: int) -> str:
        read.append(claim(answer, end))
        return read[-1]

    monkeypatch.setattr(checked, "_claim", counted)
    answer = "It is closed on Sundays" + " [1]" * 150 + ". On weekdays it opens" + "[1]." * 40
    assert len(verify(answer, [PASSAGE])) == 2
    assert [text.split()[-1] for text in read] == ["Sundays", "opens"]


@pytest.mark.parametrize("word", ["word{}", "\ufdfa{}", "w\u200d\u200d\u200d{}"], ids=["plain", "long forms", "unseen"])
def test_an_answer_that_quotes_without_end_is_checked_up_to_a_bound(folded: list[str], word: str) -> None:
    words = [word.format(number) for number in range(200)] * 2
    passage = a_passage(" ".join(words))
    quotations = [" ".join(words[start : start + 200]) for start in range(150)]
    citations = verify(" ".join(f"“{quotation}” [1]" for quotation in quotations), [passage])
    assert 0 < len(citations) < len(quotations)
    assert [citation.quote for citation in citations] == quotations[: len(citations)]
    assert sum(map(len, folded)) < checked._MOST_FOLDED + len(passage.content)
