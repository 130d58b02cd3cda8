"""Tesseract of the system reads page images: a process a page, limited and killed when it takes too long."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from domain.errors import ExtractionCrashed, UnreadablePage
from domain.ports import RecognizedPage

log = structlog.get_logger(__name__)

PROGRAM = "tesseract"
_DOTS_PER_INCH = 300  # what its models were trained for
_MEMORY = 1 << 30
_START_SECONDS = 10
_ENVIRONMENT = ("PATH", "TESSDATA_PREFIX", "LD_LIBRARY_PATH")
# The shell sets the limits and becomes the program; where the system has no limit of a kind, the clock holds.
_LIMITED = 'ulimit -t "$1" 2>/dev/null; ulimit -v "$2" 2>/dev/null; shift 2; exec "$@"'


def installed_languages() -> frozenset[str]:
    """List what the installed Tesseract reads; nothing where there is none."""
    program = shutil.which(PROGRAM)
    if program is None:
        return frozenset()
    try:
        told = subprocess.run(  # noqa: S603  (found on the path, no input)
            [program, "--list-langs"],
            capture_output=True, text=True, timeout=_START_SECONDS, check=True, env=_environment(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(told.stdout.split("\n")[1:]) - {""}


class TesseractRecognizer:
    """Reads pages with one thread each; `processes` of them at once, whatever documents they are from."""

    def __init__(self, languages: Sequence[str], *, turns: bool, processes: int, seconds: int) -> None:
        """`turns`: the model of orientations (osd) is installed, so that turned pages are read as well."""
        self._languages = "+".join(languages)
        self._mode = "1" if turns else "3"
        self._free = asyncio.Semaphore(processes)
        self._seconds = seconds

    @property
    def model(self) -> str:
        return f"{PROGRAM}/{self._languages}"

    @property
    def is_provider(self) -> bool:
        return False

    @property
    def pages_at_once(self) -> int:
        return 1

    @property
    def dots_per_inch(self) -> int:
        return _DOTS_PER_INCH

    async def recognize(self, image: Path) -> RecognizedPage:
        """Read one JPEG. A page that takes too much raises `UnreadablePage`."""
        async with self._free:
            return RecognizedPage(await self._run(image))

    async def _run(self, image: Path) -> str:
        limits = [str(self._seconds), str(_MEMORY >> 10)]
        command = [PROGRAM, str(image), "stdout", "-l", self._languages, "--psm", self._mode]
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _LIMITED, "sh", *limits, *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._seconds):
                output, _ = await process.communicate()
        except TimeoutError:
            raise UnreadablePage("Recognising the page takes longer than CHATSPHERE_OCR_SECONDS allows.") from None
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        if process.returncode != 0 and await asyncio.to_thread(shutil.which, PROGRAM) is None:
            raise ExtractionCrashed("Tesseract is not installed any more on this worker. Install it, then retry.")
        if process.returncode != 0:
            log.warning("page_not_recognized", status=process.returncode)
            raise UnreadablePage("Tesseract gave the page up.")
        return output.decode("utf-8", "replace").replace("\f", "").strip()


def _environment() -> dict[str, str]:
    kept = {name: value for name in _ENVIRONMENT if (value := os.environ.get(name))}
    return {**kept, "OMP_THREAD_LIMIT": "1"}
