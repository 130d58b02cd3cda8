# ruff: noqa: RUF001  (punctuation of scripts without spaces)
import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from domain.links import REMOVED, LinkFilter, urls_of

SOURCE = "Opening hours: https://library.example/hours?day=all. More at https://library.example/."


def filtered(*pieces: str) -> str:
    links = LinkFilter([SOURCE])
    return "".join(links.feed(piece) for piece in pieces) + links.finish()


@pytest.mark.parametrize(
    "answer",
    [
        "It opens at nine [1][2].",
        "See https://library.example/hours?day=all.",
        "See [the hours](https://library.example/hours?day=all).",
        "[1]: https://library.example/.\n[3]: Source: page 3.",
        "Nine: 3 < 4, a/b, e.g. 1:30 (see [1]).",
        "图书馆九点开门[1]。",
        "7//2 is 3, `5//3` is 1, (7+a)//2.",
        "x = 1;  //comment",
        "////////////////",
        "depot//lib/file.py",
        "//",
        "He hides http, a file, www and the data; withhold it: ht",
    ],
)
def test_what_a_source_holds_and_what_is_no_link_stays_as_it_is(answer: str) -> None:
    assert filtered(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "https://evil.example/?q=secret",
        "[hours](https://evil.example/a)",
        "[hours](https://library.example/hours?day=all&q=secret.evil.example)",
        "![x](https://evil.example/p.png)",
        "<https://evil.example>",
        "[a][b]\n\n[b]: https://evil.example 'x'",
        '<img src="https://evil.example/p.png">',
        "<a href='//evil.example'>x</a>",
        "//evil.example/x",
        "www.evil.example",
        "HTTPS://EVIL.EXAMPLE/x",
        "[x](https&#58;//evil.example)",
        "[x](https:\\/\\/evil.example)",
        "ht\u200btps://evil.example",
        "https://library.example/@evil.example",
        "https://library.example/数.evil.example",
    ],
)
def test_a_link_that_no_source_holds_is_taken_out(answer: str) -> None:
    shown = filtered(answer)
    assert REMOVED in shown
    assert "evil.example" not in shown.lower()


@pytest.mark.parametrize("answer", ["[x](/turns?stop=1)", "[x]( /turns )", "[x](javascript:alert(1))", "[x](data:a,b)"])
def test_a_target_that_is_no_known_url_is_no_link(answer: str) -> None:
    assert "](" not in filtered(answer)


@pytest.mark.parametrize("script", ["javascript:go", "data:text/html,x", "VBScript:go", "file:///etc/passwd", "blob:x"])
def test_a_script_is_no_link_even_where_a_source_holds_it(script: str) -> None:
    links = LinkFilter([f"Press {script} or [here]({script})."])
    assert script not in links.feed(f"Press {script} or [here]({script}).") + links.finish()


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("保修期为两年[1]，自购买", "保修期为两年[1]，自购买"),
        ("价格为3.5元（见[2]）。电", "价格为3.5元（见[2]）。电"),
        ("见https://library.example/hours?day=all，九点", "见https://library.example/hours?day=all ，九点"),
        ("见https://evil.example/hours，九点", f"见{REMOVED}，九点"),
    ],
)
def test_text_without_spaces_is_shown_as_it_comes(answer: str, shown: str) -> None:
    assert LinkFilter([SOURCE]).feed(answer) == shown


def test_a_sentence_of_a_script_without_spaces_is_no_part_of_the_address_before_it() -> None:
    links = LinkFilter(["详见https://library.example/hours，九点开门。"])
    assert links.feed("[时间](https://library.example/hours) ") == "[时间](https://library.example/hours) "


@pytest.mark.parametrize(
    "answer",
    [
        "数https://library.example/。evil.example",
        "https://library.example/&#xff0c;evil.example/数",
        "https://。evil.example/数",
        "[1]数[x](//evil.example)",
        "数[1](//evil.example/数)",
        "数.www.evil.example",
        "3.5数&#104;ttps://evil.example",
        "3.5数ht\u200btps://evil.example",
        "数!\\[数](https://evil.example)",
    ],
)
def test_what_a_script_without_spaces_stands_around_is_no_link_either(answer: str) -> None:
    addresses = [token.attrs["href"] for token in _rendered(filtered(answer)) if token.type == "link_open"]
    assert addresses in ([], ["https://library.example/"])
    assert not urls_of(filtered(answer)) - {"https://library.example/"}


def _rendered(text: str) -> list[Token]:
    blocks = MarkdownIt("commonmark", {"html": True}).parse(text)
    return [token for block in blocks for token in block.children or ()]


@pytest.mark.parametrize(
    "text", ["." + "a" * 50_000, "/" * 50_000, "a//" * 20_000, "\\\\a" * 20_000, "=//" + "a" * 50_000 + "|"]
)
def test_a_text_that_was_made_to_be_slow_is_not(text: str) -> None:
    began = perf_counter()
    filtered(text)
    assert perf_counter() - began < 2


def test_what_follows_a_link_stays_where_it_is_taken_out() -> None:
    assert filtered("(See https://evil.example/hours).") == f"(See {REMOVED})."


@pytest.mark.parametrize("scheme", ["http", "HTTPS", "ftp", "file", "ht\u200btp"])
def test_a_link_is_taken_out_with_its_scheme(scheme: str) -> None:
    assert filtered(f"see {scheme}://x.example/z ok") == f"see {REMOVED} ok"
    assert filtered(*f"see {scheme}://x.example/z ok") == f"see {REMOVED} ok"


@pytest.mark.parametrize(
    "host", ["evil.example", "intranet", "3232235777", "[2001:db8::1]", "me@evil.example", "/evil"]
)
@pytest.mark.parametrize(
    "answer",
    [
        "[x](//{}/q)",
        "[x](<//{}/q>)",
        "[x](\\/\\/{}/q)",
        "[x](&#47;/{}/q)",
        "[x y](/\\{}/q 'z')",
        "[x](\n//{}/q)",
        "![x](//{}/q)",
        "![x][y]\n\n[y]: //{}/q",
        "[y]\n\n[y]: //{}/q 'z'",
        "[y]\n\n[y]://{}/q",
        "[y]\n\n[y]:<//{}/q>",
        "[y]\n\n[y]:\n  <//{}/q x>",
        "[y]\n\n[y]: /\\/{}/q",
        "[y]\n\n[y]: //&#8203;{}/q",
        "> [y]\n\n> [y w]:\n> //{}/q\n\n[y w]",
        ">> [y]\n\n>> [y]:\n> > //{}/q",
        "[y]\n\n[y]: http://{}/q",
        "[y]\n\n[y]: http:{}/q",
        "[y]\n\n[y]: https://library.example/>@{}/q",
        "<//{}/q>",
        "<http://{}/q>",
        '<img src="//{}/q">',
        "<img src='//{}/q'>",
        "<a href=//{}/q>x</a>",
        '<img srcset = "//{}/q 2x">',
        "<a\nhref=\n//{}/q\n>x</a>",
    ],
)
def test_no_renderer_makes_a_link_of_a_host_that_no_source_holds(answer: str, host: str) -> None:
    written = answer.replace("{}", host)
    shown = filtered(written)
    for token in _rendered(shown):
        assert token.type not in {"image", "html_inline"}, shown
        assert re.fullmatch(r"[\w%()]*", str(token.attrs.get("href", ""))), shown  # a page beside the reader's
    assert not any(block.type == "html_block" for block in MarkdownIt("commonmark", {"html": True}).parse(shown))
    assert all(filtered(written[:at], written[at:]) == shown for at in range(len(written)))


@pytest.mark.parametrize(
    "answer",
    [
        "//evil.example/x",
        "a//evil.example",
        "&#120;//evil.example",
        "//localhost:80",
        "//[::1]/",
        "//a@![::1]",
        '//a"b@evil.example',
    ],
)
def test_what_linkify_takes_for_a_link_without_a_scheme_is_taken_out(answer: str) -> None:
    assert REMOVED in filtered(answer)
    assert "//" not in filtered(answer)


@pytest.mark.parametrize("mark", ["'", "`", "{", "}", "|", "'."])
@pytest.mark.parametrize("rest", ["@evil.example/q", "evil.example/q"])
def test_a_client_that_reads_on_after_a_known_url_comes_to_no_other_host(mark: str, rest: str) -> None:
    shown = filtered(f"See https://library.example/hours?day=all{mark}{rest} now.")
    assert f"all {mark}" in shown or REMOVED in shown


@pytest.mark.parametrize("answer", ["`{}`", "'{}'", "|{}|", "`{}`.", "'{}',"])
def test_marks_that_only_close_stay_beside_a_known_url(answer: str) -> None:
    quoted = answer.replace("{}", "https://library.example/hours?day=all")
    assert filtered(quoted) == quoted


def test_a_word_is_shown_before_the_next_one_comes() -> None:
    assert LinkFilter([]).feed("First") == "First"


def test_an_image_becomes_a_link_even_where_a_source_holds_its_url() -> None:
    assert filtered("![hours](https://library.example/)") == "[hours](https://library.example/)"


def test_a_tag_becomes_text() -> None:
    assert filtered("<img src=x onerror=y><script>") == "< img src=x onerror=y>< script>"


@given(st.text(alphabet='htp:/[]()!<>&\\. \nw数，a1="\u200b', max_size=60), st.integers(0, 60))
def test_the_output_does_not_depend_on_where_the_stream_was_cut(answer: str, at: int) -> None:
    assert filtered(answer[:at], answer[at:]) == filtered(answer)


@given(st.text(alphabet='htp:/[]()!<>. \nwa数，1="', max_size=60))
def test_no_unknown_url_survives(answer: str) -> None:
    assert urls_of(filtered(answer)) <= urls_of(SOURCE)
