"""A deployment with its Temporal Web UI, and a real browser that looks at it."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.gemini_double import GeminiDouble
from tests.person import Person
from tests.processes import Deployment, deployment
from tests.servers import ROOT
from tests.ui.screen import Screen

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PICTURES = ROOT / "docs" / "images"


@pytest_asyncio.fixture(scope="session")
async def deployed() -> AsyncIterator[Deployment]:
    async with deployment(ui=True) as deployed:
        yield deployed


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.exit("make test-ui drives a real browser: install chromium (Debian: apt-get install chromium), "
                    "or name one with CHROMIUM=/path/to/it.", returncode=2)  # fmt: skip
    async with async_playwright() as playwright:
        # Its sandbox does not start under root; it looks at nothing but this machine's own pages.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    yield page
    await page.close()


@pytest.fixture
def screen(page: Page, deployed: Deployment) -> Screen:
    """The Web UI; with SCREENSHOTS set it takes the pictures of the runbook."""
    pictures = PICTURES if os.environ.get("SCREENSHOTS") else Path(os.devnull)
    return Screen(page, f"http://127.0.0.1:{deployed.temporal.server.ui_port}", pictures)


@pytest.fixture
def double(deployed: Deployment) -> GeminiDouble:
    deployed.double.reset()
    return deployed.double


@pytest_asyncio.fixture
async def person(deployed: Deployment) -> AsyncIterator[Person]:
    async with (await deployed.an_api()).client() as client:
        yield await Person.arrives(client)
