"""SQL and requests as steps, on a real database and a real server."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.http_request import HttpRequests
from activities.sql_query import SqlQueries
from adapters.ids import new_id
from adapters.postgres.tables import connections
from adapters.sealing import Sealer
from adapters.tools.http import HttpCaller
from adapters.tools.sql import SqlRunner
from domain.ids import ConnectionId, UserId
from domain.steps import CallEnded, CallRef, TurnRef
from domain.tools import CallStatus
from tests.activities.agent_steps import an_agents_turn, ask, call, calls_of, model
from tests.activities.turn_steps import attempt, events_of
from tests.builders import a_user
from tests.servers import PostgresServer, free_port
from tests.web_site import Site, drip, endless, running_site

LOOPBACK = [ip_network("127.0.0.0/8")]
SEALER = Sealer(b"secret", b"connections")


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as site:
        yield site


async def a_connection(engine: AsyncEngine, owner: UserId, kind: str, secret: str) -> ConnectionId:
    id_ = ConnectionId(new_id())
    row = {"id": id_, "owner_id": owner, "name": "c", "kind": kind, "sealed": SEALER.seal(secret)}
    async with engine.begin() as connection:
        await connection.execute(insert(connections).values(row))
    return id_


async def asked(engine: AsyncEngine, tool: dict[str, Any], *, owner: UserId | None = None, **arguments: Any) -> TurnRef:
    """A turn whose model has asked for this tool."""
    ref = await an_agents_turn(engine, tools=[tool], owner=owner)
    assert (await ask(engine, ref, model([call(tool["type"], **arguments)]))).calls
    return ref


async def request(engine: AsyncEngine, ref: TurnRef, number: int = 1) -> CallEnded:
    step = HttpRequests(engine, HttpCaller(allowed=LOOPBACK), SEALER).http_request
    return await attempt(step, CallRef(ref=ref, step=0, number=0), number=number)


async def query(engine: AsyncEngine, ref: TurnRef, sealer: Sealer = SEALER) -> CallEnded:
    runner = SqlRunner(own_database=engine.url.render_as_string(hide_password=False), allowed=LOOPBACK)
    return await attempt(SqlQueries(engine, runner, sealer).sql_query, CallRef(ref=ref, step=0, number=0))


async def told(engine: AsyncEngine, ref: TurnRef) -> tuple[str, str | None, str]:
    """Status, code and what the model is told."""
    (row,) = await calls_of(engine, ref)
    return row.status, row.error_code, row.result


# SQL


async def test_a_query_answers_rows_and_names_no_secret_anywhere(engine: AsyncEngine, postgres: PostgresServer) -> None:
    owner = await a_user(engine)
    dsn = postgres.cluster.url("postgres", driver="postgresql")
    connection = await a_connection(engine, owner, "postgres", json.dumps({"dsn": dsn}))
    tool = {"type": "sql_query", "connection_id": str(connection)}
    ref = await asked(engine, tool, owner=owner, statement="SELECT 1 AS one UNION SELECT 2 ORDER BY 1")
    assert (await query(engine, ref)).status is CallStatus.COMPLETE
    assert await told(engine, ref) == ("complete", None, '2 rows.\n{"one":1}\n{"one":2}')
    async with engine.connect() as reading:
        (stored,) = (await reading.execute(select(connections.c.sealed))).scalars()
    assert b"password" not in stored
    assert "test-password" not in str(await events_of(engine, ref))


async def test_a_statement_that_writes_is_told_to_the_model_and_not_run(
    engine: AsyncEngine, postgres: PostgresServer
) -> None:
    owner = await a_user(engine)
    dsn = postgres.cluster.url("postgres", driver="postgresql")
    connection = await a_connection(engine, owner, "postgres", json.dumps({"dsn": dsn}))
    tool = {"type": "sql_query", "connection_id": str(connection)}
    ref = await asked(engine, tool, owner=owner, statement="DROP TABLE users")
    assert (await query(engine, ref)).status is CallStatus.FAILED
    assert (await told(engine, ref))[1] == "sql_refused"


async def test_another_owners_connection_is_not_there(engine: AsyncEngine, postgres: PostgresServer) -> None:
    dsn = postgres.cluster.url("postgres", driver="postgresql")
    connection = await a_connection(engine, await a_user(engine), "postgres", json.dumps({"dsn": dsn}))
    ref = await asked(engine, {"type": "sql_query", "connection_id": str(connection)}, statement="SELECT 1")
    assert (await query(engine, ref)).status is CallStatus.FAILED
    assert (await told(engine, ref))[1] == "not_found"


async def test_a_connection_that_was_sealed_under_another_key_says_so(engine: AsyncEngine) -> None:
    owner = await a_user(engine)
    connection = await a_connection(engine, owner, "postgres", "{}")
    tool = {"type": "sql_query", "connection_id": str(connection)}
    ref = await asked(engine, tool, owner=owner, statement="SELECT 1")
    assert (await query(engine, ref, Sealer(b"another", b"connections"))).status is CallStatus.FAILED
    assert (await told(engine, ref))[1] == "connection_invalid"


# Requests


async def test_a_request_carries_the_owners_headers_and_answers_what_came(engine: AsyncEngine, site: Site) -> None:
    site.put("/orders/7?full=1", '{"total": 9}', content_type="application/json")
    owner = await a_user(engine)
    connection = await a_connection(engine, owner, "http", json.dumps({"headers": {"Authorization": "Bearer s3cret"}}))
    tool = {"type": "http_request", "allow": [f"{site.url}/orders"], "connection_id": str(connection)}
    ref = await asked(engine, tool, owner=owner, url=f"{site.url}/orders/7?full=1")
    assert (await request(engine, ref)).status is CallStatus.COMPLETE
    assert await told(engine, ref) == ("complete", None, 'HTTP 200\ncontent-type: application/json\n\n{"total": 9}')
    assert site.asked[0].headers["authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(await events_of(engine, ref))


@pytest.mark.parametrize(
    "path",
    [
        "/orders/../secret", "/orders/%2e%2e/secret", "/ordersX", "/secret", "//orders/", "/orders@evil.example/",
        # As some servers read it: an escaped slash, a backslash, escapes twice, a parameter of a segment.
        "/orders/..%2fsecret", "/orders/%2e%2e%2Fsecret", "/orders/..%5csecret", "/orders/%252e%252e/secret",
        "/orders/..;/secret", "/orders/a/..%2f..%2fsecret",
    ],
)  # fmt: skip
async def test_a_url_that_is_not_allowed_is_not_asked_for(engine: AsyncEngine, site: Site, path: str) -> None:
    ref = await asked(engine, {"type": "http_request", "allow": [f"{site.url}/orders"]}, url=site.url + path)
    assert (await request(engine, ref)).status is CallStatus.FAILED
    assert (await told(engine, ref))[1] in ("url_refused", "url_invalid")
    assert site.asked == []


async def test_a_method_that_is_not_allowed_is_not_used(engine: AsyncEngine, site: Site) -> None:
    ref = await asked(engine, {"type": "http_request", "allow": [site.url]}, url=site.url, method="DELETE")
    assert (await request(engine, ref)).status is CallStatus.FAILED
    assert site.asked == []


async def test_a_host_of_a_private_network_is_refused_unless_the_operator_allows_it(
    engine: AsyncEngine, site: Site
) -> None:
    ref = await asked(engine, {"type": "http_request", "allow": [site.url]}, url=site.url)
    step = HttpRequests(engine, HttpCaller(), SEALER).http_request
    assert (await attempt(step, CallRef(ref=ref, step=0, number=0))).status is CallStatus.FAILED
    assert (await told(engine, ref))[1] == "url_refused"
    assert site.asked == []


async def test_a_redirect_is_told_and_not_followed(engine: AsyncEngine, site: Site) -> None:
    site.redirect("/a", "/b")
    ref = await asked(engine, {"type": "http_request", "allow": [site.url]}, url=f"{site.url}/a")
    await request(engine, ref)
    assert "location: /b (redirects are not followed)" in (await told(engine, ref))[2]
    assert site.count("/b") == 0


async def test_no_more_of_an_answer_is_read_than_may_be(engine: AsyncEngine, site: Site) -> None:
    site.put("/long", behaviour=endless)
    tool = {"type": "http_request", "allow": [site.url], "max_bytes": 1000}
    ref = await asked(engine, tool, url=f"{site.url}/long")
    assert (await request(engine, ref)).status is CallStatus.COMPLETE
    assert (await told(engine, ref))[2].endswith("x" * 1000 + "\n(cut: the answer is longer)")


@pytest.mark.parametrize("charset", ["idna", "punycode", "undefined", "zlib", "no-such"])
async def test_a_charset_that_is_no_text_of_the_web_is_read_as_utf_8(
    engine: AsyncEngine, site: Site, charset: str
) -> None:
    site.put("/text", "a..-é", content_type=f"text/plain; charset={charset}")
    ref = await asked(engine, {"type": "http_request", "allow": [site.url]}, url=f"{site.url}/text")
    assert (await request(engine, ref)).status is CallStatus.COMPLETE
    assert (await told(engine, ref))[2].endswith("a..-é")


POST: dict[str, Any] = {"method": "POST", "body": '{"total": 9}'}


async def test_a_request_that_changes_something_is_sent_once_though_its_worker_dies_in_the_middle(
    engine: AsyncEngine, site: Site
) -> None:
    site.put("/orders", "made", status=201, gate=asyncio.Event())
    tool = {"type": "http_request", "allow": [site.url], "methods": ["POST"]}
    ref = await asked(engine, tool, url=f"{site.url}/orders", **POST)
    dying = asyncio.create_task(request(engine, ref))
    await site.reached.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    assert (await request(engine, ref, number=2)).status is CallStatus.UNKNOWN
    assert (await request(engine, ref, number=3)).status is CallStatus.UNKNOWN
    assert [(each.method, each.body, each.headers["content-type"]) for each in site.asked] == [
        ("POST", b'{"total": 9}', "application/json")
    ]
    status, code, said = await told(engine, ref)
    assert (status, code) == ("unknown", "tool_outcome_unknown")
    assert "It was not repeated" in said


async def test_a_request_that_reads_is_sent_again_after_its_worker_died(engine: AsyncEngine, site: Site) -> None:
    gate = asyncio.Event()
    site.put("/orders", "nine", gate=gate)
    ref = await asked(engine, {"type": "http_request", "allow": [site.url]}, url=f"{site.url}/orders")
    dying = asyncio.create_task(request(engine, ref))
    await site.reached.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    gate.set()
    assert (await request(engine, ref, number=2)).status is CallStatus.COMPLETE
    assert site.count("/orders") == 2


async def test_a_request_whose_answer_does_not_come_is_unknown_where_it_may_have_changed_something(
    engine: AsyncEngine, site: Site
) -> None:
    site.put("/slow", behaviour=drip)
    tool = {"type": "http_request", "allow": [site.url], "methods": ["GET", "POST"], "seconds": 1}
    wrote = await asked(engine, tool, url=f"{site.url}/slow", **POST)
    read = await asked(engine, tool, url=f"{site.url}/slow")
    assert (await request(engine, wrote)).status is CallStatus.UNKNOWN
    assert (await request(engine, read)).status is CallStatus.FAILED


async def test_a_name_that_cannot_be_looked_up_just_now_is_no_request(engine: AsyncEngine) -> None:
    async def resolve(_host: str, _port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    url = "https://example.com/"
    ref = await asked(engine, {"type": "http_request", "allow": [url], "methods": ["POST"]}, url=url, **POST)
    step = HttpRequests(engine, HttpCaller(resolve=resolve), SEALER).http_request
    assert (await attempt(step, CallRef(ref=ref, step=0, number=0))).status is CallStatus.FAILED
    assert "Nothing was sent" in (await told(engine, ref))[2]


async def test_a_request_that_never_left_changed_nothing(engine: AsyncEngine) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    ref = await asked(engine, {"type": "http_request", "allow": [url], "methods": ["POST"]}, url=url, **POST)
    assert (await request(engine, ref)).status is CallStatus.FAILED
    assert "Nothing was sent" in (await told(engine, ref))[2]
