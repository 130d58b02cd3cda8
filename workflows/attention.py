"""What a person reads in the Web UI when a run waits for them."""

from domain import runs

NOTHING_TO_KEEP = "There are no pages to leave out, or no page has text: nothing would be kept."


def ask_for_help(what: str, code: str, message: str, *, keep: bool) -> str:
    """Say in Markdown what failed, why, and which buttons put it right."""
    kept = f"- `{runs.KEEP_TEXT_PAGES_UPDATE}` to go on with the pages that have text,\n" if keep else ""
    return (
        f"### Needs attention: {what} failed (`{code}`)\n\n{message}\n\n"
        "**What to do:** put the cause right, then press *More Actions → Send an Update* and choose\n"
        f"- `{runs.RETRY_UPDATE}` to run the step again; what succeeded is kept and not paid for again,\n"
        f"{kept}- `{runs.ABANDON_UPDATE}` to give this version up; an earlier version answers on."
    )
