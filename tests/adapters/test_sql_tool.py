"""An agent's SQL on a real Postgres: what only reads is answered, and nothing else is run."""

from collections.abc import AsyncIterator
from ipaddress import ip_network

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.engine import make_url

from adapters.embedded import postgres as embedded
from adapters.tools.sql import Rows, SqlRunner
from adapters.tools.sql_statement import LONGEST, checked
from domain.connections import Dsn, read_dsn
from domain.errors import ConnectionInvalid, SqlFailed, SqlRefused, UrlRefused
from tests.servers import PostgresServer

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT name, count(*) FROM orders WHERE total > 3 GROUP BY name HAVING count(*) > 1 ORDER BY 2 DESC LIMIT 3",
        "WITH big AS (SELECT * FROM orders) SELECT sum(total) FILTER (WHERE total > 1) OVER () FROM big",
        "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3",
        "(SELECT 1)",
        "VALUES (1), (2)",
        "SELECT date_trunc('month', placed), to_char(placed, 'YYYY'), data ->> 'a', data @> '{}' FROM orders;",
        "SELECT jsonb_array_elements(data), lower(name), coalesce(name, ''), 'x'::text FROM orders -- why",
        "SELECT table_name FROM information_schema.tables",
        "SELECT '; DROP TABLE orders; --', $$ DELETE FROM orders $$",
        "SELECT coalesce(a, b), greatest(1, 2), least(1, 2), nullif(a, b), round(a, 2), abs(a), md5(b), now() FROM orders",
        "SELECT extract(year FROM placed), date_part('epoch', placed), string_agg(name, ', ' ORDER BY name) FROM orders",
        "SELECT rank() OVER w, lag(total, 1) OVER w, row_number() OVER w FROM orders WINDOW w AS (ORDER BY placed)",
        "SELECT count(DISTINCT name), stddev(total), percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders",
        "SELECT * FROM generate_series(1, 3) AS n CROSS JOIN LATERAL (SELECT 1) AS x WHERE n = ANY(ARRAY[[1], [2]])",
        "SELECT tags[1:n] FROM orders WHERE data ? 'n'",
        "SELECT name FROM orders WHERE id IN (0" + ", 1" * 3000 + ")",
    ],
)
def test_what_only_reads_may_run(statement: str) -> None:
    assert checked(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "", ";", "-- nothing", "SELEC 1", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE orders",
        "DELETE FROM orders", "INSERT INTO orders VALUES (1)", "UPDATE orders SET total = 1", "TRUNCATE orders",
        "DROP TABLE orders", "CREATE TABLE x (a int)", "CREATE TABLE x AS SELECT 1", "ALTER TABLE orders ADD a int",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
        "WITH made AS (INSERT INTO orders VALUES (1) RETURNING *) SELECT * FROM made",
        "SELECT * FROM (WITH gone AS (UPDATE orders SET total = 1 RETURNING *) SELECT * FROM gone) AS x",
        "SELECT * INTO copy FROM orders", "SELECT * FROM orders FOR UPDATE", "SELECT * FROM orders FOR SHARE SKIP LOCKED",
        "MERGE INTO orders USING x ON true WHEN MATCHED THEN DELETE",
        "COPY orders TO '/tmp/x'", "COPY orders FROM PROGRAM 'id'", "EXPLAIN ANALYZE DELETE FROM orders", "CALL f()",
        "DO $$ BEGIN DELETE FROM orders; END $$", "SET default_transaction_read_only = off", "BEGIN", "COMMIT",
        "SELECT pg_read_file('/etc/passwd')", "SELECT * FROM pg_read_file('/etc/passwd') AS t",
        "SELECT pg_catalog.pg_read_file('/etc/passwd')", 'SELECT "pg_read_file"(\'/etc/passwd\')',
        "SELECT PG_READ_FILE('/etc/passwd')", "SELECT * FROM ROWS FROM (pg_ls_dir('/')) AS t",
        "SELECT pg_sleep(100)", "SELECT set_config('a.b', 'c', false)", "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/x')", "SELECT * FROM dblink('host=10.0.0.1', 'SELECT 1') AS t(x int)",
        "SELECT pg_terminate_backend(1)", "SELECT pg_advisory_lock(1)", "SELECT nextval('orders_id_seq')",
        "SELECT query_to_xml('DELETE FROM orders', true, true, '')", "SELECT database_to_xml(true, true, '')",
        "SELECT current_setting('a.b')", "SELECT my_function(1)", "SELECT (pg_stat_file('/etc/passwd')).size",
        "SELECT 1 OPERATOR(pg_catalog.+) 2", "SELECT /* a */ pg_sleep(1) /* b */",
        "SELECT 1 WHERE EXISTS (SELECT pg_sleep(1))", "LOCK TABLE orders", "LISTEN x", "NOTIFY x", "VACUUM",
        "SELECT " + "(" * 4000 + "1" + ")" * 4000, f"SELECT '{'x' * LONGEST}'",
        # What is no word of SQL where the parser takes one, and would be written as it came.
        "SELECT date_part('epoch from now()), pg_sleep(5), extract(year', now())",
        'SELECT extract("year from now()), pg_read_file(\'/etc/passwd\'), extract(year" FROM now())',
        # Functions of other dialects, which an extension may have.
        "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_parquet('/etc/passwd')", "SELECT to_file('x')",
        "SELECT ai_generate('x')", "SELECT * FROM public.lower('x')",
        # What cannot be written for PostgreSQL, or not by this parser.
        "SELECT generate_series(now(), now(), 'a''b')", "SELECT * FROM orders PIVOT (sum(a) FOR b IN ('x'))",
        "WITH a AS (" * 200 + "SELECT 1" + ") SELECT 1" * 200, "SELECT a" + "::int" * 1900,
    ],
)  # fmt: skip
def test_anything_else_is_refused(statement: str) -> None:
    with pytest.raises(SqlRefused) as caught:
        checked(statement)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("open_", "close", "whole"),
    [
        ("ARRAY[", "]", "SELECT {}"),
        ("date(", ")", "SELECT {}"),
        ("numeric(", ")", "SELECT 1::{}"),
        ("(SELECT 1 LIMIT ", ")", "SELECT {}"),
    ],
)
def test_what_would_hold_the_parser_for_hours_is_refused(open_: str, close: str, whole: str) -> None:
    with pytest.raises(SqlRefused):
        checked(whole.format(open_ * 40 + "1" + close * 40))
    with pytest.raises(SqlRefused):
        checked("SELECT a" + "[1]" * 3000)


@pytest.mark.parametrize("statement", ["SELECT $1", "SELECT name FROM orders WHERE id = $1::int"])
def test_parameters_are_refused_in_words_that_say_so(statement: str) -> None:
    with pytest.raises(SqlRefused, match="Parameters"):
        checked(statement)


def test_a_dsn_is_read_with_its_escapes_undone() -> None:
    dsn = read_dsn("postgresql+asyncpg://a%40b:p%C3%A9@db:6432/my%20orders?sslmode=verify-full")
    assert dsn == Dsn("db", 6432, "a@b", "pé", "my orders", "verify-full")
    assert read_dsn("postgres://a@db/x").tls == "disable"


@pytest_asyncio.fixture(scope="module")
async def shop(postgres: PostgresServer) -> AsyncIterator[str]:
    """The DSN of a database with orders, as an owner writes it."""
    await embedded.ensure_database(postgres.cluster, "shop")
    dsn = postgres.cluster.url("shop", driver="postgresql")
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "CREATE TABLE orders (id int, name text, data jsonb);"
        "INSERT INTO orders SELECT n, 'order ' || n, jsonb_build_object('n', n) FROM generate_series(1, 300) AS n;"
        "CREATE FUNCTION abs(text) RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING 1'"
    )
    await connection.close()
    yield dsn
    await postgres.drop("shop")


@pytest.fixture
def runner(database_url: str) -> SqlRunner:
    return SqlRunner(own_database=database_url, allowed=LOOPBACK)


async def run(runner: SqlRunner, dsn: str, statement: str, *, max_rows: int = 10, seconds: float = 5) -> Rows:
    return await runner.run(dsn, statement, max_rows=max_rows, seconds=seconds)


async def test_rows_come_as_json(runner: SqlRunner, shop: str) -> None:
    rows = await run(runner, shop, "SELECT id, name, data FROM orders WHERE id <= 2 ORDER BY id -- two")
    assert rows == Rows(
        ['{"id":1,"name":"order 1","data":{"n": 1}}', '{"id":2,"name":"order 2","data":{"n": 2}}'], more=False
    )


async def test_no_more_rows_and_bytes_are_read_than_are_wanted(runner: SqlRunner, shop: str) -> None:
    rows = await run(runner, shop, "SELECT id FROM orders ORDER BY id", max_rows=3)
    assert (rows.rows, rows.more) == (['{"id":1}', '{"id":2}', '{"id":3}'], True)
    wide = await run(runner, shop, "SELECT repeat('x', 100000) AS wide FROM orders", max_rows=300, seconds=60)
    assert wide.more
    assert max(map(len, wide.rows)) == 4000
    assert sum(map(len, wide.rows)) < 500_000


async def test_a_statement_that_takes_too_long_is_given_up_by_the_server(runner: SqlRunner, shop: str) -> None:
    slow = "SELECT count(*) FROM orders a, orders b, orders c, orders d"
    with pytest.raises(SqlFailed) as caught:
        await run(runner, shop, slow, seconds=0.3)
    assert "57014" in caught.value.message or "within" in caught.value.message


async def test_even_what_gets_past_the_parser_cannot_write(runner: SqlRunner, shop: str) -> None:
    with pytest.raises(SqlFailed) as caught:
        await run(runner, shop, "SELECT abs('a function of the database that writes'::text)")
    assert "25006" in caught.value.message  # read_only_sql_transaction
    assert (await run(runner, shop, "SELECT count(*) AS n FROM orders")).rows == ['{"n":300}']


async def test_a_string_is_read_as_it_was_checked_whatever_the_database_prefers(
    postgres: PostgresServer, runner: SqlRunner, shop: str
) -> None:
    owner = await asyncpg.connect(shop)
    await owner.execute("ALTER DATABASE shop SET standard_conforming_strings = off")
    await owner.close()
    rows = await run(runner, shop, r"SELECT '\' AS a, ', pg_sleep(5)::text AS b, ' AS c")
    assert rows.rows == ['{"a":"\\\\","c":", pg_sleep(5)::text AS b, "}']


async def test_what_the_database_says_helps_the_model(runner: SqlRunner, shop: str) -> None:
    with pytest.raises(SqlFailed) as caught:
        await run(runner, shop, "SELECT colour FROM orders")
    assert "colour" in caught.value.message


async def test_a_private_address_is_refused_unless_it_is_allowed(database_url: str, shop: str) -> None:
    closed = SqlRunner(own_database=database_url)
    for host in ("127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]"):
        dsn = make_url(shop).set(host=host.strip("[]")).render_as_string(hide_password=False)
        with pytest.raises(UrlRefused):
            await run(closed, dsn, "SELECT 1")


async def test_the_products_own_database_is_refused_even_in_an_allowed_network(
    runner: SqlRunner, database_url: str
) -> None:
    own = make_url(database_url).set(drivername="postgresql")
    for host in (own.host, "localhost", "::ffff:127.0.0.1"):
        with pytest.raises(UrlRefused):
            await run(runner, own.set(host=host).render_as_string(hide_password=False), "SELECT 1")


async def test_a_server_that_is_not_there_is_a_failure_that_says_so(runner: SqlRunner, shop: str) -> None:
    nowhere = make_url(shop).set(port=1).render_as_string(hide_password=False)
    with pytest.raises(SqlFailed):
        await run(runner, nowhere, "SELECT 1")


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://a:b@db/x", "postgresql:///x", "postgresql://a:b@db", "postgresql://a:b@one,two/x",
        "postgresql://a:b@db/x?host=/var/run", "postgresql://a:b@db/x?sslmode=prefer", "postgresql://db/x",
        "postgresql://a:b@db:port/x", "postgresql://a:b@db/x?options=-c%20x", "a word",
        "postgresql://a:b@db/x?sslmode=verify-full&sslmode=disable", "postgresql://a:b@db/x?sslmode=",
        "postgresql://a:b@db/x?sslmode=require&host=", "postgresql://a:b@db/x?sslmode", "postgresql://a:b@db/x?host=",
        "postgresql://a%00:b@db/x", "postgresql://a:%ff@db/x", "postgresql://a:b@db/x%ED%A0%80", "postgresql://:b@db/x",
    ],
)  # fmt: skip
def test_a_dsn_that_may_mean_something_else_is_refused(dsn: str) -> None:
    with pytest.raises(ConnectionInvalid):
        read_dsn(dsn)
