"""The Temporal Web UI as a person uses it: what is read there, and what is pressed."""

from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import FloatRect, Locator, Page, expect


@dataclass(frozen=True, slots=True)
class Screen:
    """One browser window. `pictures` is the folder of the runbook's screenshots, or no folder at all."""

    page: Page
    url: str
    pictures: Path

    async def find_parked(self) -> None:
        """List the runs that wait for a person, by their search attribute."""
        await self.page.goto(f"{self.url}/namespaces/default/workflows?query=Stage%3D%22needs_attention%22")

    def listed(self, document: str) -> Locator:
        """The link to a document's run, in a list."""
        return self.page.get_by_role("link", name=f"ingest/{document}").locator("visible=true").first

    async def open(self, document: str) -> None:
        """Open a document's run by its id."""
        await self.page.goto(f"{self.url}/namespaces/default/workflows/ingest%2F{document}")
        await expect(self._button("More Actions")).to_be_visible()

    async def tab(self, name: str) -> None:
        """Open one of the tabs `user-metadata`, `pending-activities`, `history`."""
        await self.page.get_by_test_id(f"{name}-tab").locator("visible=true").click()

    def current_details(self) -> Locator:
        """What the run says of itself; the page shows it in a frame."""
        return self.page.locator("iframe").last.content_frame.locator("body")

    async def choose(self, action: str) -> Locator:
        """Press More Actions and one of its entries; answers the dialog that opens."""
        await self._button("More Actions").click()
        await self.page.get_by_role("menuitem", name=action).click()
        return self.dialog()

    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.locator("dialog[open]")

    def option(self, name: str) -> Locator:
        """An entry of the list that is open."""
        return self.page.get_by_role("option", name=name).locator("visible=true").first

    def button(self, name: str) -> Locator:
        """A button of the page itself."""
        return self._button(name)

    def status(self, name: str) -> Locator:
        """The mark of a run's status beside its id."""
        return self.page.get_by_text(name, exact=True).locator("visible=true").first

    async def picture(self, name: str, *, height: int = 800) -> None:
        """Take a picture for the runbook, where pictures are asked for; `height` leaves out what lies below."""
        if self.pictures.is_dir():
            path = self.pictures / f"{name}.png"
            clip = FloatRect(x=0, y=0, width=1280, height=height)
            await self.page.screenshot(path=path, animations="disabled", clip=clip)

    def _button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True).locator("visible=true").first
