"""Imports: how packs are filled, how a call's tokens are shared, what a path in an archive becomes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ids import new_id
from domain.documents import Format
from domain.errors import EmptyFile, PayloadTooLarge, UnsupportedFormat
from domain.ids import IngestionId
from domain.imports import (
    PACK_BYTES,
    PACK_DOCUMENTS,
    PACKED_BYTES,
    Candidate,
    Intake,
    choose_pack,
    is_junk,
    name_of,
    share_tokens,
)
from domain.packs import PackedPlan


def candidates(*sizes: int) -> list[Candidate]:
    return [Candidate(IngestionId(new_id()), size) for size in sizes]


@given(st.lists(st.integers(0, 2 * PACKED_BYTES), max_size=3 * PACK_DOCUMENTS))
def test_a_pack_keeps_its_bounds_and_the_order_and_loses_nobody(sizes: list[int]) -> None:
    waiting = candidates(*sizes)
    choice = choose_pack(waiting)
    by_id = {each.ingestion_id: each.size_bytes for each in waiting}
    assert len(choice.packed) <= PACK_DOCUMENTS
    assert sum(by_id[id_] for id_ in choice.packed) <= PACK_BYTES
    assert all(by_id[id_] > PACKED_BYTES for id_ in choice.alone)
    small = [each.ingestion_id for each in waiting if each.size_bytes <= PACKED_BYTES]
    assert choice.packed == small[: len(choice.packed)]
    assert bool(choice.packed) == bool(small)


def test_a_full_pack_leaves_the_rest_for_the_next() -> None:
    waiting = candidates(*[10] * (PACK_DOCUMENTS + 5))
    assert choose_pack(waiting).packed == [each.ingestion_id for each in waiting[:PACK_DOCUMENTS]]


def test_large_documents_go_alone_and_do_not_end_the_pack() -> None:
    waiting = candidates(10, PACKED_BYTES + 1, 10)
    choice = choose_pack(waiting)
    assert choice.packed == [waiting[0].ingestion_id, waiting[2].ingestion_id]
    assert choice.alone == [waiting[1].ingestion_id]


@given(st.integers(0, 10**9), st.lists(st.integers(1, 500), min_size=1, max_size=64))
def test_the_shares_of_a_call_add_up_to_its_tokens(tokens: int, chunks: list[int]) -> None:
    shares = share_tokens(tokens, chunks)
    assert sum(shares) == tokens
    assert min(shares) >= 0


@pytest.mark.parametrize(
    "path",
    [".DS_Store", "a/.git/config", "__MACOSX/a/._b.pdf", "photos/Thumbs.db", "x/desktop.ini", "", "..", "/"],
)
def test_what_systems_put_beside_files_is_junk(path: str) -> None:
    assert is_junk(path)


@pytest.mark.parametrize("path", ["a.md", "../../etc/passwd", "C:\\notes\\a.txt", "/abs/a.pdf", "a/./b.md"])
def test_what_a_person_packed_is_none(path: str) -> None:
    assert not is_junk(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("deep/er/note.md", "note.md"),
        ("../../etc/passwd", "passwd"),
        ("C:\\notes\\a.txt", "a.txt"),
        ("a\x00b\n.md", "a b .md"),
        ("  ", "unnamed"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("y" * 300, "y" * 255),
        ("lone\udc80.md", "lone?.md"),
    ],
)
def test_a_name_is_the_last_part_of_a_path_printable_and_short(path: str, name: str) -> None:
    assert name_of(path) == name


def test_an_intake_counts_hashes_and_tells_the_format() -> None:
    intake = Intake("a.pdf", 100)
    for piece in (b"%PDF-", b"1.7"):
        intake.take(piece)
    taken = intake.finish()
    assert (taken.size_bytes, taken.format) == (8, Format.PDF)
    assert taken.sha256 == hashlib.sha256(b"%PDF-1.7").hexdigest()


def test_an_intake_refuses_what_a_single_upload_would_refuse() -> None:
    with pytest.raises(EmptyFile):
        Intake("a.txt", 100).finish()
    with pytest.raises(PayloadTooLarge):
        Intake("a.txt", 3).take(b"four")
    gz = Intake("a.tar.gz", 100)
    gz.take(b"\x1f\x8b\x08")
    with pytest.raises(UnsupportedFormat):
        gz.finish()


def test_a_plan_is_read_as_it_was_written() -> None:
    plan = PackedPlan(IngestionId(new_id()), 4, 17, ['{"content": "a line\\nwith \\u2028"}', "{}"], "utf-8")
    assert PackedPlan.from_line(plan.to_line()) == plan
    assert "\n" not in plan.to_line()
