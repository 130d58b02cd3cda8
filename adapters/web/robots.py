"""robots.txt: fetched once a run, read by protego, which matches as RFC 9309 says."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from protego import Protego

from domain.errors import UrlHttpError
from domain.ports import Fetcher
from domain.web import RobotsRule, origin, robots_rule

AGENT = "ChatSphere"
ROBOTS_BYTES = 500 << 10  # what RFC 9309 asks to be read; the rest is left out
LONGEST_DELAY = timedelta(seconds=30)


@dataclass(frozen=True)
class Robots:
    """A site's rules for us."""

    text: str

    @cached_property
    def _rules(self) -> Protego:
        return Protego.parse(self.text)

    def allows(self, url: str) -> bool:
        """Tell whether we may fetch the page."""
        return bool(self._rules.can_fetch(url, AGENT))

    @property
    def delay(self) -> timedelta:
        """The pause that the site asks for between two requests; half a minute at most."""
        return min(timedelta(seconds=self._rules.crawl_delay(AGENT) or 0), LONGEST_DELAY)

    @property
    def sitemaps(self) -> list[str]:
        """The sitemaps that the file names."""
        return list(self._rules.sitemaps)


async def read_robots(fetcher: Fetcher, url: str) -> Robots:
    """Read the rules of a page's site. Raises what the fetcher raises where the server is in trouble."""
    try:
        return Robots(await _text(fetcher, f"{origin(url)}/robots.txt"))
    except UrlHttpError as error:
        if error.http_status is None or robots_rule(error.http_status) is not RobotsRule.ALLOW:
            raise
        return Robots("")


async def _text(fetcher: Fetcher, url: str) -> str:
    """Read as much of the file as is asked for, to the end of a line: half a rule would forbid too much."""
    content = bytearray()
    async with fetcher.open(url) as page:
        async for piece in page.content:
            content += piece
            if len(content) > ROBOTS_BYTES:
                del content[content.rfind(b"\n", 0, ROBOTS_BYTES) + 1 :]
                break
    return content.decode("utf-8", "replace").replace("\0", "")
