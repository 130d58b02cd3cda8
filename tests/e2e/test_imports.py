"""Imports through HTTP, with worker and API as processes of their own."""

import asyncio
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.page_images import a_scan, joined
from tests.pdf_files import a_pdf
from tests.person import Person
from tests.processes import Deployment, deployment

_FINAL = {"complete", "failed", "cancelled"}


@pytest_asyncio.fixture(scope="module")
async def deployed() -> AsyncIterator[Deployment]:
    async with deployment() as deployed:
        yield deployed


@pytest_asyncio.fixture
async def person(deployed: Deployment) -> AsyncIterator[Person]:
    deployed.double.reset()
    async with (await deployed.an_api()).client() as client:
        yield await Person.arrives(client)


def note(number: int) -> bytes:
    return f"# Note {number}\n\nThe key of drawer {number} hangs on hook {number * 31}.".encode()


async def the_end(person: Person, import_id: str) -> dict[str, Any]:
    async with asyncio.timeout(90), person.watches_import(import_id) as events:
        seen = [sent.data async for sent in events]
    assert seen[-1]["status"] in _FINAL
    return seen[-1]


async def test_many_files_become_ready_together_and_share_their_calls(deployed: Deployment, person: Person) -> None:
    files = [("files", (f"note-{n}.md", note(n), "text/markdown")) for n in range(150)]
    files += [("files", ("again.md", note(3), "text/markdown")), ("files", ("tool.exe", b"MZ\x90\x00\x03" * 9, ""))]
    accepted = await person.post(f"/bots/{person.bot}/imports", files=files, data={"name": "Notes"})
    assert (accepted["name"], accepted["counts"]["files"], accepted["counts"]["accepted"]) == ("Notes", 152, 150)
    ended = await the_end(person, accepted["id"])
    assert ended["status"] == "complete", ended
    assert ended["counts"] == {
        "files": 152, "accepted": 150, "duplicates": 1, "refused": 1, "pending": 0, "processing": 0, "ready": 150,
        "needs_attention": 0, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert deployed.double.calls["embed"] <= 4, "150 documents of one chunk are two calls, and one more a pack at most"
    refused = await person.get(f"/imports/{accepted['id']}/items", params={"outcome": "refused"})
    assert [(item["name"], item["last_error"]["code"]) for item in refused["data"]] == [
        ("tool.exe", "unsupported_format")
    ]
    (twin,) = (await person.get(f"/imports/{accepted['id']}/items", params={"outcome": "duplicate"}))["data"]
    assert (await person.document(twin["document_id"]))["name"] == "note-3.md"
    listed = await person.get(f"/bots/{person.bot}/documents", params={"import_id": accepted["id"], "limit": 100})
    assert listed["has_more"]
    flight = await person.get(f"/documents/{twin['document_id']}/ingestion")
    assert [step["step"] for step in flight["steps"]] == ["extract_pack", "embed_pack"]
    assert flight["model_calls"] == {"made": 1, "needed": 1}
    assert flight["workflow"]["id"] == f"import/{accepted['id']}"
    assert [chunk["content"] for chunk in await person.chunks(twin["document_id"])] == [note(3).decode()]


async def test_archives_are_unpacked_and_junk_is_left_out(person: Person) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(20):
            archive.writestr(f"deep/er/note-{number}.md", note(number))
        archive.writestr("__MACOSX/._note-1.md", b"junk")
        archive.writestr("../../escape.md", b"It names a folder that is none of ours.")
    files = {"archive": ("notes.zip", packed.getvalue(), "application/zip")}
    ended = await the_end(person, (await person.post(f"/bots/{person.bot}/imports", files=files))["id"])
    assert (ended["status"], ended["name"], ended["counts"]["ready"]) == ("complete", "notes.zip", 21), ended
    again = io.BytesIO()
    with tarfile.open(fileobj=again, mode="w:gz") as tar:
        for number in range(15, 25):
            info = tarfile.TarInfo(f"/etc/note-{number}.md")
            info.size = len(note(number))
            tar.addfile(info, io.BytesIO(note(number)))
    files = {"archive": ("notes.tgz", again.getvalue(), "application/gzip")}
    ended = await the_end(person, (await person.post(f"/bots/{person.bot}/imports", files=files))["id"])
    assert (ended["status"], ended["counts"]["ready"], ended["counts"]["duplicates"]) == ("complete", 5, 5), ended


async def test_a_scanned_page_is_recognised_by_a_run_of_its_own(deployed: Deployment, person: Person) -> None:
    deployed.double.transcript = "The cellar key hangs behind the clock."
    files = [("files", (f"note-{n}.md", note(n), "text/markdown")) for n in range(3)]
    mixed = joined(a_pdf(["The attic key hangs on hook nine."]), a_scan(["The cellar"]))
    files.append(("files", ("mixed.pdf", mixed, "application/pdf")))
    ended = await the_end(person, (await person.post(f"/bots/{person.bot}/imports", files=files))["id"])
    assert (ended["status"], ended["counts"]["ready"]) == ("complete", 4), ended
    listed = await person.get(f"/bots/{person.bot}/documents", params={"limit": 100})
    (scan,) = [each for each in listed["data"] if each["name"] == "mixed.pdf"]
    assert "behind the clock" in " ".join(chunk["content"] for chunk in await person.chunks(scan["id"]))
    flight = await person.get(f"/documents/{scan['id']}/ingestion")
    assert (flight["pages_recognized"], flight["pages_without_text"]) == (1, [])


async def test_a_document_that_cannot_be_read_asks_a_person_and_the_others_go_on(person: Person) -> None:
    files = [("files", (f"note-{n}.md", note(n), "text/markdown")) for n in range(5)]
    files.append(("files", ("broken.pdf", b"%PDF-1.7\nnothing of a PDF", "application/pdf")))
    started = await person.post(f"/bots/{person.bot}/imports", files=files)
    ended = await the_end(person, started["id"])
    assert (ended["status"], ended["counts"]["ready"], ended["counts"]["needs_attention"]) == ("complete", 5, 1), ended
    parked = await person.get(f"/bots/{person.bot}/documents", params={"status": "needs_attention"})
    assert [(each["name"], each["last_error"]["code"]) for each in parked["data"]] == [("broken.pdf", "corrupt_file")]
    again = await person.post(f"/imports/{started['id']}/retry-failed")
    assert again["status"] == "pending"
    ended = await the_end(person, started["id"])
    assert (ended["status"], ended["counts"]["ready"]) == ("complete", 5), ended


async def test_one_refused_text_among_many_documents_is_named_in_its_own(deployed: Deployment, person: Person) -> None:
    deployed.double.refused_words = "drawer 7 hangs"
    files = [("files", (f"note-{n}.md", note(n), "text/markdown")) for n in range(30)]
    ended = await the_end(person, (await person.post(f"/bots/{person.bot}/imports", files=files))["id"])
    assert (ended["status"], ended["counts"]["ready"]) == ("complete", 30), ended
    listed = (await person.get(f"/bots/{person.bot}/documents", params={"limit": 100}))["data"]
    (refused,) = [each for each in listed if each["refused_chunks"]]
    assert (refused["name"], refused["refused_chunks"]) == ("note-7.md", 1)
    flight = await person.get(f"/documents/{refused['id']}/ingestion")
    assert [each["code"] for each in flight["refused_chunks"]] == ["provider_rejected"]
    assert max(deployed.double.texts_embedded.values()) == 1, "a text was paid for twice"
