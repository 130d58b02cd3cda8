"""Logs of a process of its own: every style, and before any is chosen, shows where it failed and never with what."""

import asyncio
import json
import os
import sys

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.servers import ROOT

SECRET = "the-secret-of-a-frame"
_FAIL = """
import logging, structlog
def fail(password):
    raise RuntimeError("it broke")
for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
    try:
        fail("the-secret-" + "of-a-frame")
    except RuntimeError:
        log.exception("failed")
"""


async def said(program: str, **settings: str) -> str:
    """What the program writes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("style", ["console", "json", None])
async def test_a_traceback_shows_no_local_variable(style: str | None) -> None:
    configured = "" if style is None else f"adapters.logs.configure_logs(level='info', style={style!r}, service='x')\n"

    output = await said(f"import adapters.logs\n{configured}{_FAIL}")

    assert output.count("RuntimeError: it broke") == 2
    assert "in fail" in output
    assert SECRET not in output


_STEPS_FAIL = """
import logging, adapters.logs
from temporalio import activity
from temporalio.exceptions import ApplicationError
adapters.logs.configure_logs(level="info", style="console", service="x")
adapters.logs.configure_logs(level="info", style="console", service="x")
for error in (ApplicationError("told", type="turn_closed"), ApplicationError("undecoded"), ValueError("broken")):
    try:
        raise error
    except Exception:
        activity.logger.warning("Completing activity as failed", exc_info=True)
"""


async def test_a_steps_failure_that_has_a_code_is_not_told_again_by_temporals_client() -> None:
    output = await said(_STEPS_FAIL)

    assert "told" not in output
    assert (output.count("undecoded"), output.count("broken")) == (1, 1)


async def test_a_setting_that_is_refused_is_named_without_its_value() -> None:
    output = await said(
        "from adapters.settings import Settings; Settings()",
        CHATSPHERE_ENVIRONMENT="production", CHATSPHERE_SECRET_KEY="short-secret",
    )  # fmt: skip

    assert "CHATSPHERE_SECRET_KEY must be set" in output
    assert "short-secret" not in output


async def test_a_statement_that_fails_is_told_without_its_parameters(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError) as failure:
            await connection.execute(text("select 1 / (length(:secret) - length(:secret))"), {"secret": SECRET})

    assert SECRET not in str(failure.value)


async def test_the_api_logs_in_the_format_that_is_set_and_leaves_requests_to_its_own_line() -> None:
    output = await said(
        """
import logging
from adapters.settings import Settings
from api.main import create_app
logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
create_app(Settings(_env_file=None, log_format="json"))
logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://x")
logging.getLogger("uvicorn.access").info("a request")
"""
    )

    lines = [json.loads(line) for line in output.splitlines()]
    assert [(line["event"], line["service"]) for line in lines] == [("Uvicorn running on http://x", "api")]
