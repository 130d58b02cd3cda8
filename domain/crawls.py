"""Crawls: how a site is gone through, and what became of each page."""

from enum import StrEnum

from domain.errors import StateConflict
from domain.ids import BotId, CrawlId, UserId
from domain.model import Model

MAX_PAGES = 10_000
MAX_DEPTH = 20


class CrawlStatus(StrEnum):
    """Where a crawl stands. Its documents have states of their own."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CrawlMode(StrEnum):
    """How pages are found: `auto` takes the sitemap where there is one, else links."""

    AUTO = "auto"
    SITEMAP = "sitemap"
    LINKS = "links"


class PageState(StrEnum):
    """What became of a page in the last run that came to it."""

    FOUND = "found"  # nobody came to it yet
    FETCHED = "fetched"  # a new document, or a new version of one
    UNCHANGED = "unchanged"  # the bot has these bytes
    MOVED = "moved"  # redirects to another page of the crawl
    REFUSED = "refused"  # not taken: robots.txt, format, size, or outside of the site
    FAILED = "failed"  # the server did not give it
    GONE = "gone"  # it was there in an earlier run; its document is left


class CrawlRef(Model):
    """What every step of a crawl is given: ids only. `epoch` counts the runs; a write carries it."""

    owner_id: UserId
    bot_id: BotId
    crawl_id: CrawlId
    epoch: int = 1


RUNNABLE = frozenset({CrawlStatus.PENDING, CrawlStatus.RUNNING})


def require_running(status: CrawlStatus) -> None:
    """Raise `StateConflict` where there is nothing to cancel."""
    if status not in RUNNABLE:
        raise StateConflict(f"A crawl that is {status} does not run; there is nothing to cancel.")


def require_ended(status: CrawlStatus) -> None:
    """Raise `StateConflict` where a run is under way."""
    if status in RUNNABLE:
        raise StateConflict(f"The crawl is {status}. Cancel it, or wait for its end, and refresh it then.")
