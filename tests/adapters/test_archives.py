"""Archives that are not trusted: every way to lie about a size, a path or a type ends in its own error."""

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.archives import Archive, ArchiveLimits, Unpacked, kind_of
from domain.errors import ArchiveLimit, CorruptArchive
from domain.imports import Refusal, Taken

LIMITS = ArchiveLimits(files=20, file_bytes=10_000, total_bytes=100_000)


def a_zip(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def a_tar(*members: tuple[str, bytes], mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]  # a mode by name
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def a_tgz(*members: tuple[str, bytes]) -> bytes:
    return a_tar(*members, mode="w:gz")


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., list[Unpacked]]:
    """Unpack all of it into a folder of its own."""

    def run(content: bytes, limits: ArchiveLimits = LIMITS, *, first: int = 0, group: int = 7) -> list[Unpacked]:
        path, scratch = tmp_path / "archive", tmp_path / "scratch"
        path.write_bytes(content)
        scratch.mkdir(exist_ok=True)
        found: list[Unpacked] = []
        archive = Archive(path, limits, first)
        try:
            while members := archive.some(group, scratch):
                found += members
        finally:
            archive.close()
        outside = {each.name for each in tmp_path.iterdir()} - {"archive", "scratch"}
        assert outside == set(), "something was written beside the scratch folder"
        return found

    return run


NOTES = [(f"notes/{number}.md", f"Note {number}.".encode()) for number in range(15)]


@pytest.mark.parametrize("make", [a_zip, a_tar, a_tgz])
def test_members_come_in_order_with_their_bytes(
    unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]
) -> None:
    found = unpack(make(*NOTES))
    assert [each.position for each in found] == list(range(15))
    assert [each.found.name for each in found] == [f"{number}.md" for number in range(15)]
    assert [each.path.read_bytes() for each in found if each.path] == [content for _, content in NOTES]


@pytest.mark.parametrize("make", [a_zip, a_tar, a_tgz])
def test_unpacking_goes_on_where_it_was_left(unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]) -> None:
    content = make(("__MACOSX/._0.md", b"junk"), *NOTES)
    assert [each.found.name for each in unpack(content, first=13)] == ["13.md", "14.md"]


@pytest.mark.parametrize("make", [a_zip, a_tar, a_tgz])
def test_no_path_leads_out_of_the_scratch_folder(
    unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]
) -> None:
    hostile = ["../../escaped.md", "/etc/absolute.md", "a/../../b.md", "..\\..\\windows.md"]
    found = unpack(make(*((name, b"Some text.") for name in hostile)))
    assert [each.found.name for each in found] == ["escaped.md", "absolute.md", "b.md", "windows.md"]


def test_links_and_devices_are_no_members(unpack: Callable[..., list[Unpacked]]) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("passwd.md")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert unpack(packed.getvalue()) == []


def test_an_archive_in_an_archive_is_refused_by_itself(unpack: Callable[..., list[Unpacked]]) -> None:
    found = unpack(a_zip(("inner.zip", a_zip(*NOTES)), ("inner.tgz", a_tgz(*NOTES)), ("a.md", b"A note.")))
    assert [type(each.found) for each in found] == [Refusal, Refusal, Taken]
    assert {each.found.code for each in found if isinstance(each.found, Refusal)} == {"unsupported_format"}
    assert [each.path is None for each in found] == [True, True, False]


@pytest.mark.parametrize("make", [a_zip, a_tgz])
def test_a_member_that_is_too_large_is_refused_and_the_rest_goes_on(
    unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]
) -> None:
    found = unpack(make(("huge.md", b"x" * 50_000), ("a.md", b"A note.")))
    assert [getattr(each.found, "code", "taken") for each in found] == ["payload_too_large", "taken"]


@pytest.mark.parametrize("make", [a_zip, a_tgz])
def test_more_bytes_than_are_allowed_end_it(unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]) -> None:
    with pytest.raises(ArchiveLimit, match="CHATSPHERE_IMPORT_MAX_BYTES"):
        unpack(make(*((f"{number}.md", bytes([65 + number]) * 9_000) for number in range(15))))


@pytest.mark.parametrize("make", [a_zip, a_tar, a_tgz])
def test_more_files_than_are_allowed_end_it(unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]) -> None:
    with pytest.raises(ArchiveLimit, match="CHATSPHERE_IMPORT_MAX_FILES"):
        unpack(make(*((f"{number}.md", b"A note.") for number in range(21))))


def test_a_bomb_ends_by_its_ratio_whatever_its_headers_say(unpack: Callable[..., list[Unpacked]]) -> None:
    bomb = bytearray(a_zip(("zeros.txt", b"0" * (80 << 20))))
    at = bomb.index(b"PK\x01\x02")
    struct.pack_into("<L", bomb, at + 24, 100)  # the directory says that it is small
    generous = ArchiveLimits(files=20, file_bytes=1 << 30, total_bytes=1 << 30)
    found: list[Unpacked] = []
    with pytest.raises(ArchiveLimit, match="200 times"):
        found += unpack(a_zip(("zeros.txt", b"0" * (80 << 20))), generous)
    lied = unpack(bytes(bomb), generous)  # zipfile reads no more than the directory says, and misses the checksum
    assert [getattr(each.found, "code", "taken") for each in lied] == ["corrupt_file"]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_gigabytes_is_not_read_into_memory(
    unpack: Callable[..., list[Unpacked]], kind: bytes
) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, 200 << 20
    bomb = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"0" * (200 << 20), compresslevel=1)
    tracemalloc.start()
    with pytest.raises(ArchiveLimit):
        unpack(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_directory_that_claims_too_much_is_not_read_into_memory(unpack: Callable[..., list[Unpacked]]) -> None:
    entries = b"PK\x01\x02" + b"\0" * 42
    size = 8 << 20
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, size, 30, 0)
    with pytest.raises(ArchiveLimit, match="directory"):
        unpack(b"PK\x03\x04" + b"\0" * 26 + entries * (size // len(entries) + 1) + end)


def test_a_damaged_member_of_a_zip_is_refused_and_the_rest_goes_on(unpack: Callable[..., list[Unpacked]]) -> None:
    content = bytearray(a_zip(("a.md", b"A note that is damaged."), ("b.md", b"B."), compression=zipfile.ZIP_STORED))
    content[content.index(b"A note")] ^= 0xFF
    found = unpack(bytes(content))
    assert [getattr(each.found, "code", "taken") for each in found] == ["corrupt_file", "taken"]


def test_a_member_with_a_password_is_refused(unpack: Callable[..., list[Unpacked]]) -> None:
    content = bytearray(a_zip(("a.md", b"Secret.")))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert [getattr(each.found, "code", "taken") for each in unpack(bytes(content))] == ["encrypted_file"]


@pytest.mark.parametrize("make", [a_tar, a_tgz, a_zip])
def test_an_archive_that_is_cut_off_says_so(unpack: Callable[..., list[Unpacked]], make: Callable[..., bytes]) -> None:
    whole = make(*((name, content * 700) for name, content in NOTES))
    with pytest.raises(CorruptArchive):
        unpack(whole[: len(whole) // 2])


def test_what_is_no_archive_is_told_by_its_first_bytes() -> None:
    assert [kind_of(a_zip(*NOTES)), kind_of(a_tar(*NOTES)), kind_of(a_tgz(*NOTES))] == ["zip", "tar", "tar.gz"]
    assert kind_of(b"%PDF-1.7") is None
    assert kind_of(b"") is None
