"""What the runbook says that a person does in the Temporal Web UI, done in a real browser against the real UI."""

from typing import Any

from playwright.async_api import expect

from tests.gemini_double import GeminiDouble, error
from tests.person import Person
from tests.processes import Deployment, Process
from tests.ui.screen import Screen

HANDBOOK = b"A lost book costs its price in the shop, and a handling fee of three euros.\n" * 20


async def until_parked(person: Person, document: str, code: str) -> None:
    seen = await person.until(document, lambda now: now["status"] == "needs_attention")
    assert seen["last_error"]["code"] == code


async def until_ready(person: Person, document: str) -> dict[str, Any]:
    """Until then it still needs attention."""
    return await person.until(document, lambda now: now["status"] == "ready")


async def test_a_parked_ingestion_is_found_understood_and_put_right(
    screen: Screen, person: Person, double: GeminiDouble
) -> None:
    double.script("embed", error(403, "PERMISSION_DENIED"))
    document = await person.upload("parked.txt", HANDBOOK)
    await until_parked(person, document, "provider_auth")

    await screen.find_parked()
    await expect(screen.listed(document)).to_be_visible()
    await screen.picture("parked-1-find")
    await screen.listed(document).click()
    await screen.tab("user-metadata")
    details = screen.current_details()
    await expect(details).to_contain_text("provider_auth")
    await expect(details).to_contain_text("CHATSPHERE_GEMINI_API_KEY")
    await expect(details).to_contain_text("Send an Update")
    await screen.picture("parked-2-read")

    dialog = await screen.choose("Send an Update")
    await dialog.get_by_test_id("update-select-button").click()
    await expect(screen.option("abandon")).to_contain_text("Give this version up")
    await expect(screen.option("retry")).to_contain_text("Run the failed step again")
    await screen.picture("parked-3-choose")
    await screen.option("retry").click()
    await dialog.get_by_test_id("confirm-modal-button").click()

    await until_ready(person, document)
    await screen.open(document)
    await expect(screen.status("Completed")).to_be_visible()
    await screen.tab("user-metadata")
    await expect(screen.current_details()).to_contain_text("Published")
    await screen.picture("parked-4-completed")


async def test_a_run_is_reset_after_a_code_fix_and_pays_for_nothing_twice(
    deployed: Deployment, screen: Screen, person: Person, double: GeminiDouble
) -> None:
    await (await deployed.a_worker()).stop()
    broken = Process(["-m", "tests.ui.broken_worker"], deployed.settings)
    await broken.start("worker_ready")
    try:
        document = await person.upload("reset.txt", b"Reset. " + HANDBOOK)
        await until_parked(person, document, "internal")
    finally:
        await broken.stop()
    await deployed.worker()

    await screen.open(document)
    dialog = await screen.choose("Reset")
    await dialog.get_by_test_id("workflow-reset-event-id-select-button").click()
    await screen.picture("reset-1-choose")
    await screen.option("4 - WorkflowTaskCompleted").click()
    await screen.picture("reset-2-confirm")
    await dialog.get_by_test_id("confirm-modal-button").click()

    ready = await until_ready(person, document)
    chunks = await person.chunks(document)
    assert [chunk["ordinal"] for chunk in chunks] == list(range(ready["chunk_count"]))
    assert sorted(double.texts_embedded) == sorted({chunk["content"] for chunk in chunks})
    await screen.open(document)
    await expect(screen.status("Completed")).to_be_visible()


async def test_an_activity_is_paused_while_its_provider_is_away_and_goes_on(
    screen: Screen, person: Person, double: GeminiDouble
) -> None:
    double.script("embed", *[error(503, "UNAVAILABLE")] * 50)
    document = await person.upload("paused.txt", b"Paused. " + HANDBOOK)
    await person.until(document, lambda now: now["stage"] == "embedding")
    await screen.open(document)
    await screen.tab("pending-activities")
    await screen.button("Pause").click()
    await screen.dialog().get_by_test_id("activity-pause-reason").fill("The provider is away.")
    await screen.dialog().get_by_test_id("confirm-modal-button").click()
    await expect(screen.button("Unpause")).to_be_visible()
    await screen.picture("pause-1-paused", height=660)  # a stack trace is below
    calls = double.calls["embed"]
    double.reset()

    await screen.button("Unpause").click()
    await screen.picture("pause-2-unpause")
    await screen.dialog().get_by_test_id("confirm-modal-button").click()
    await person.ready(document)
    assert calls >= 1
    await screen.open(document)
    await expect(screen.status("Completed")).to_be_visible()
