"""Terms: what a question and a chunk have in common, in any script."""
# ruff: noqa: RUF001  (look-alike letters of other scripts are what this file is about)

import pytest

from domain import languages, terms


def found_by(question: str, content: str, *, name: str = "", headings: tuple[str, ...] = ()) -> bool:
    chunk = terms.of_chunk(name, headings, content)
    return any(term in chunk.weights for term in terms.of_question(question, {chunk.language}))


@pytest.mark.parametrize(
    ("question", "content"),
    [
        ("warranties", "The warranty is void."),
        ("Überweisungen", "Für die Überweisung ist es zu spät, und das ist nicht der Tag für sie."),
        ("uberweisung", "Für die Überweisung ist es zu spät, und das ist nicht der Tag für sie."),
        ("cafe", "Un café, s'il vous plaît, dans le jardin des plantes, pour les amis et les autres qui sont là."),
        ("книги", "Эта книга лежит на столе."),
        ("كتاب", "قرأتُ الكِتَابَ أمس"),
        ("احمد", "قال أحمد ذلك"),
        ("किताब", "यह किताब मेरी है"),
        ("北京大学", "他在北京大学学习。"),
        ("東京", "昨日は東京へ行きました。"),
        ("ประเทศ", "ประเทศไทยสวยงาม"),
        ("서울", "서울은 크다"),
        ("10-K", "The 10-K of the year."),
        ("FY2018", "In 2018 it grew."),
        ("2018", "FY2018 was good."),
        ("C++", "We write C++ and no Rust."),
        ("x.y@example.com", "Write to x.y@example.com today."),
        ("کتاب", "این كتاب است"),
        ("1402", "سال ۱۴۰۲"),
        ("người", "Mọi người đều có quyền."),
        ("§ 5a", "So sagt es § 5a des Gesetzes, und das ist nicht alles, was die Leute von ihm wissen."),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
    ],
)
def test_a_question_finds_what_a_person_would_call_the_same_word(question: str, content: str) -> None:
    assert found_by(question, content)
    assert not found_by(question, "Zyx zyx.")


def test_vietnamese_words_that_differ_by_their_accents_differ() -> None:
    assert not found_by("bạ", "bả bá")
    assert found_by("bạ", "Bạ")


def test_a_question_is_taken_apart_into_words_of_which_each_may_stand_for_several_terms() -> None:
    words = terms.words_of_question("What is the FY2018 warranty of the warranty?", {"english", "german"})
    assert len(words) == 2
    assert len(words[0]) > 1
    assert terms.of_question("What is the FY2018 warranty of the warranty?", {"english", "german"}) == [
        term for word in words for term in word
    ]


@pytest.mark.parametrize(
    ("text", "share"), [("", 0.0), ("?!", 0.0), ("warranty", 0.0), ("保修期", 1.0), ("FY 保修", 0.5)]
)
def test_the_share_of_scripts_without_spaces_is_told(text: str, share: float) -> None:
    assert terms.unspaced(text) == share


def test_a_chunk_is_found_by_its_documents_name_and_the_headings_above_it() -> None:
    assert found_by("Acme", "Revenue grew.", name="Acme_2018_10-K.pdf")
    assert found_by("returns", "Within a month.", headings=("Terms", "Returns and refunds"))


def test_a_repeated_word_weighs_more_but_never_more_than_the_highest_weight() -> None:
    (once,) = terms.of_question("lamp", ())
    weight = [terms.of_chunk("lamp", (), "lamp " * count).weights[once] for count in (1, 2, 10, 1000)]
    assert weight[0] < weight[1] < weight[2]
    assert all(0 < each <= terms.HIGHEST_WEIGHT for each in weight)


def test_a_long_chunk_weighs_its_words_less_than_a_short_one() -> None:
    (term,) = terms.of_question("lamp", ())
    short, long = (terms.of_chunk("", (), "lamp " + "other words here " * count).weights[term] for count in (1, 100))
    assert short > long


def test_rarity_falls_with_the_chunks_that_have_a_term_and_stays_above_zero() -> None:
    rarities = [terms.rarity(having, 1000) for having in (0, 1, 10, 500, 1000)]
    assert rarities == sorted(rarities, reverse=True)
    assert rarities[-1] > 0


def test_a_pasted_page_is_cut_to_a_questions_length() -> None:
    assert len(terms.of_question(" ".join(f"w{number}" for number in range(5000)), ())) == 256


@pytest.mark.parametrize("text", ["", " \n", "?!", "\ud800", "🙂", "\u0301", "'''", "a" * 100_000])
def test_no_text_is_too_odd(text: str) -> None:
    terms.of_chunk(text, (text,), text)
    terms.of_question(text, languages.LATIN)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sat on the mat and it was not for the dog that they were there", "english"),
        ("Der Hund ist nicht im Haus und die Katze ist mit dem Kind auf der Straße", "german"),
        ("Le chat est dans la maison et les enfants ne sont pas avec lui pour le moment", "french"),
        ("El perro no está en la casa y los niños son para la escuela con su madre", "spanish"),
        ("12,4 17 % 9 Mio 44 x y z", "english"),
        ("Este metapaquete instalará una colección de juguetes de escritorio", "spanish"),
        ("käyttäjätietojen tarkasteluohjelma", "finnish"),
        ("Total revenue 2019 2018 net cash EBITDA", "english"),
        ("Mozilla Firefox を 使う 人 の 手引き です", "english"),
        ("", "english"),
    ],
)
def test_function_words_or_letters_tell_the_language(text: str, language: str) -> None:
    assert languages.of_text(text.lower().split()) == language
