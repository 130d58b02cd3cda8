"""A provider in its worst mood, before a whole deployment: nothing is lost, nothing is paid twice."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from tests import gemini_double as g
from tests.faults.manuscripts import SENTENCES, manuscript
from tests.gemini_double import GeminiDouble
from tests.person import Person
from tests.processes import Worker

BATCH = 100


async def test_every_kind_of_failure_in_one_document_is_got_over(
    double: GeminiDouble, worker: Worker, person: Person
) -> None:
    double.script(
        "embed",
        g.fine(), g.rate_limited("0.3s"), g.error(503, "UNAVAILABLE"), g.dropped(), g.slow(0.3), g.rate_limited(None),
        g.dropped_midway(), g.error(500), g.error(503, "UNAVAILABLE"), g.malformed(), g.wrong_width(), g.wrong_count(),
    )  # fmt: skip
    document = await person.upload("moods.txt", manuscript("Moods"))
    # A refusal lowers the shared budget to less than was asked in the minute before, also by other tests; the
    # twenty calls take four minutes at the least pace, and each failure one more wait.
    seen = await person.ready(document, seconds=600)
    published = await person.chunks(document)
    assert [chunk["ordinal"] for chunk in published] == list(range(seen["chunk_count"]))
    paid = Counter(double.texts_embedded)
    assert {chunk["content"] for chunk in published} <= set(paid)
    # The answers of a wrong width and of a wrong count were sent, and are of no use.
    assert paid.total() <= len(published) + 2 * BATCH
    flight = await person.get(f"/documents/{document}/ingestion")
    assert flight["model_calls"]["made"] == flight["model_calls"]["needed"] == -(-len(published) // BATCH)
    assert (flight["chunks_stored"], flight["chunks_refused"]) == (len(published), 0)
    steps = [step for step in flight["steps"] if step["step"] == "embed"]
    assert sorted(step["part"] for step in steps) == list(range(len(steps)))
    assert {step["state"] for step in flight["steps"]} == {"completed"}
    assert max(step["attempts"] for step in steps) > 1
    assert sum(step["model_calls"]["made"] for step in steps) == flight["model_calls"]["made"]
    assert all(step["model_calls"]["made"] == step["model_calls"]["needed"] for step in steps)
    assert sum(step["model_tokens"] for step in steps) == flight["model_tokens"] > 0
    assert all(step["url"].endswith(f"/{flight['workflow']['run_id']}/history") for step in steps)
    assert worker.runs


async def test_a_refused_text_is_named_in_the_flight_record_and_the_rest_goes_on(
    double: GeminiDouble, worker: Worker, person: Person
) -> None:
    words = f"paragraph {SENTENCES // 2}:"
    double.refused_words = words
    document = await person.upload("refused.txt", manuscript("Refused"))
    seen = await person.ready(document)
    published = await person.chunks(document)
    refused = [chunk for chunk in published if words in chunk["content"]]
    assert seen["refused_chunks"] == len(refused) > 0
    flight = await person.get(f"/documents/{document}/ingestion")
    assert flight["chunks_refused"] == len(refused)
    named = {each["chunk_id"]: each for each in flight["refused_chunks"]}
    assert named.keys() == {chunk["id"] for chunk in refused}
    assert {each["code"] for each in named.values()} == {"provider_rejected"}
    assert {chunk["id"] for chunk in published if chunk["embedding_error"]} == set(named)
    assert {each["ordinal"] for each in named.values()} == {chunk["ordinal"] for chunk in refused}
    paid = Counter(double.texts_embedded)
    assert all(paid[chunk["content"]] == (0 if chunk in refused else 1) for chunk in published)
    assert flight["model_calls"]["made"] == flight["model_calls"]["needed"]
    query = {"query": words, "mode": "keyword", "limit": 50}
    found = (await person.post(f"/bots/{person.bot}/search", json=query))["data"]
    assert named.keys() & {hit["chunk_id"] for hit in found}, "keywords do not find it"


async def test_a_version_with_one_changed_sentence_costs_one_call(
    double: GeminiDouble, worker: Worker, person: Person
) -> None:
    text = manuscript("Versions")
    document = await person.upload("versions.txt", text)
    await person.ready(document)
    double.reset()
    changed = text.replace(b"paragraph 450: the lock", b"paragraph 450: the old lock")
    assert changed != text
    response = await person.client.put(f"/documents/{document}/file", files={"file": ("versions.txt", changed)})
    assert response.status_code == 202, response.text
    await person.until(document, lambda now: (now["status"], now["version"]) == ("ready", 2))
    assert double.calls["embed"] == 1
    assert 0 < double.texts_embedded.total() < 10
    flight = await person.get(f"/documents/{document}/ingestion")
    assert flight["model_calls"] == {"made": 1, "needed": 1}
    assert flight["chunks_reused"] == flight["chunks_stored"] - double.texts_embedded.total()


async def test_a_quota_of_the_day_is_asked_again_at_its_reset_and_says_so(
    double: GeminiDouble, worker: Worker, person: Person
) -> None:
    double.script("embed", *[g.quota_of_the_day()] * 20)
    document = await person.upload("quota.txt", b"The key hangs on hook 31 in room 7.")
    flight: dict[str, object] = {}
    async with asyncio.timeout(120):
        while not flight.get("next_retry_at"):
            await asyncio.sleep(0.05)
            flight = await person.get(f"/documents/{document}/ingestion")
    due = datetime.fromisoformat(str(flight["next_retry_at"]))
    assert due.astimezone(UTC).hour == 8
    assert timedelta(0) < due - datetime.now(UTC) <= timedelta(days=1)
    assert isinstance(pending := flight["pending"], list)
    assert pending[0]["last_error"]["code"] == "quota_exhausted"
    assert "midnight" in pending[0]["last_error"]["message"]
    assert double.calls["embed"] == 1
    assert (await person.document(document))["status"] == "processing"
    await person.post(f"/documents/{document}/cancel")
    await person.until(document, lambda now: now["status"] == "cancelled")
