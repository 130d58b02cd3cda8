"""Reading a document: extract, then recognise the pages that have no text, some a step."""

from collections.abc import Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from domain.documents import IngestionRef
    from domain.steps import EXTRACT, RECOGNIZE, RECOGNIZE_LOCALLY, RecognizePages
    from workflows.step import run_step, stop_if_cancelled


async def read_pages(ref: IngestionRef, recognising: Callable[[int, bool], None]) -> None:
    """Read all pages; called again after a failure, each step goes on from what is stored.

    `recognising` hears before each step how many pages are left, and whether any page has text by then.
    """
    extracted = await run_step(EXTRACT, ref)
    step = RECOGNIZE if extracted.by_provider else RECOGNIZE_LOCALLY
    left, characters, part = extracted.pages_to_recognize, extracted.characters, 0
    while left:
        recognising(left, characters > 0)
        given = RecognizePages(ref=ref, part=part)
        done = await run_step(step, given, summary=f"{step.summary}: {left} left")
        left, characters, part = done.pages_left, done.characters, part + 1
        stop_if_cancelled()
