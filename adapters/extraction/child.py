"""One document, or a few small ones, in a process of its own: limits first, then the reader, then a line of result."""

import contextlib
import ctypes
import gc
import importlib
import json
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from adapters.extraction import plain
from adapters.extraction.image import read_image
from adapters.extraction.messages import CORRUPT_DOCUMENT, OUT_OF_MEMORY, PAGES_WITHOUT_TEXT
from adapters.extraction.order import RENDER, Order
from adapters.extraction.output import PageWriter, Totals
from adapters.extraction.pdf import read_pdf
from adapters.extraction.rendering import render
from adapters.extraction.seclusion import leave_network
from domain.errors import CorruptFile, DomainError, ExtractionLimit, NoText

_READERS = {
    "docx": "adapters.extraction.docx",
    "pptx": "adapters.extraction.pptx",
    "xlsx": "adapters.extraction.sheets",
    "ods": "adapters.extraction.sheets",
    "odt": "adapters.extraction.odt",
    "epub": "adapters.extraction.epub",
    "html": "adapters.extraction.web",
    "eml": "adapters.extraction.mail",
    "rtf": "adapters.extraction.rtf",
    "csv": "adapters.extraction.csv_text",
    "json": "adapters.extraction.json_text",
}
_REPORT_EVERY = 0.1  # seconds
_PAGES_A_LINE = 400  # numbers of up to 5 digits, well below PIPE_BUF
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def run(order: Order, channel: int, parent: int) -> None:
    """Read the document and report on `channel`; the process is to end after it."""

    def say(**fields: object) -> None:
        # One write below PIPE_BUF is never mixed with those of other children.
        os.write(channel, json.dumps({"job": order["job"], **fields}).encode() + b"\n")

    try:
        _confine(order, parent)
    except Exception as error:  # noqa: BLE001  (its text may quote the document: the type alone is told)
        say(broke=type(error).__name__)
        return
    if "together" not in order:
        _try(order, _Reporter(say), say)
        return
    for part, document in enumerate(order["together"]):
        one: Order = {**order, **document}
        _try(one, _unseen, partial(say, part=part))


def _try(order: Order, report: Callable[[int, int | None], None], say: "_Say") -> None:
    try:
        totals = _do(order, report)
        if "together" in order and totals.without_text:
            raise NoText(PAGES_WITHOUT_TEXT)  # so that it goes on alone
        for start in range(0, len(totals.without_text), _PAGES_A_LINE):
            say(without_text=totals.without_text[start : start + _PAGES_A_LINE])
        say(done={"pages": totals.pages, "characters": totals.characters, "encoding": totals.encoding})
    except DomainError as error:
        say(error={"code": error.code, "message": error.message})
    except MemoryError:
        say(error={"code": ExtractionLimit.code, "message": OUT_OF_MEMORY})
    except Exception as error:  # noqa: BLE001  (its text may quote the document: the type alone is told)
        say(broke=type(error).__name__)


def _unseen(_done: int, _total: int | None) -> None:
    """Small documents come and go faster than anybody looks."""


class _Say(Protocol):
    def __call__(self, **fields: object) -> None: ...


class _Read(Protocol):
    def __call__(self, source: Path, output: PageWriter, order: Order) -> None: ...


class _Reporter:
    def __init__(self, say: _Say) -> None:
        self._say = say
        self._last = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_EVERY or done == total:
            self._last = now
            self._say(progress=[done, total])


def _do(order: Order, report: Callable[[int, int | None], None]) -> Totals:
    if order["task"] == RENDER:
        render(order)
        return Totals(pages=1, characters=0, encoding=None)
    return _read(order, report)


def _read(order: Order, report: Callable[[int, int | None], None]) -> Totals:
    output = PageWriter(order["target"], output_bytes=order["output_bytes"], report=report)
    source = Path(order["source"])
    if order["format"] == "pdf":
        read_pdf(source, output, pages=order["pages"], reader=order["reader"], recognizable=order["recognizable"])
    elif order["format"] == "image":
        read_image(source, output, pages=order["pages"], recognizable=order["recognizable"])
    elif order["format"] in {"text", "markdown"}:
        plain.read(source, output, order)
    else:
        _read_other(source, output, order)
    return output.finish()


def _read_other(source: Path, output: PageWriter, order: Order) -> None:
    """Import the reader here, so that PDF and text never pay for it. What a library raises is about the document."""
    reader: _Read = importlib.import_module(_READERS[order["format"]]).read
    try:
        reader(source, output, order)
    except (DomainError, MemoryError):
        raise
    except BaseException:  # noqa: BLE001  (a panic of Rust is no Exception)
        raise CorruptFile(CORRUPT_DOCUMENT) from None


def _confine(order: Order, parent: int) -> None:
    """Apply the limits. The CPU's ends with SIGXCPU, the clock's with SIGALRM if the parent missed it."""
    gc.enable()  # off in the zygote, whose memory is shared
    logging.disable()
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    cpu = order["cpu_seconds"]
    _limit(resource.RLIMIT_CPU, cpu, cpu + 2)
    _limit(resource.RLIMIT_AS, _address_space() + order["memory_bytes"])
    _limit(resource.RLIMIT_FSIZE, order["output_bytes"] + (1 << 20))
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CORE, 0)
    leave_network()
    signal.alarm(math.ceil(order["wall_seconds"]) + 5)
    with contextlib.suppress(OSError):
        os.nice(5)  # answers go before reading


def _limit(which: int, soft: int, hard: int | None = None) -> None:
    # A system that lacks a limit (macOS: address space) refuses; the clock still holds there.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(which, (soft, hard or soft))


def _address_space() -> int:
    """Give the bytes mapped already, most of them shared with the zygote."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
