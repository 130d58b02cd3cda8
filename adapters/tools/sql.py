"""Running an agent's SQL on a database that its owner registered: read-only, bounded in rows, bytes and time."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import asyncpg

from adapters.tools.sql_statement import checked
from adapters.web.guard import Resolve, public_addresses, resolve_by_system
from domain.connections import Dsn, read_dsn
from domain.errors import SqlFailed, UrlRefused
from domain.web import Network, meant_by

_CONNECT_SECONDS = 10.0
_ROW_CHARACTERS = 4000
_RESULT_CHARACTERS = 400_000  # of all rows together: what is read of the server at most


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as JSON objects, one a line, and whether there are more."""

    rows: list[str]
    more: bool


class SqlRunner:
    """Opens a connection for each statement: a database of a stranger's is not kept waiting."""

    def __init__(
        self, *, own_database: str, allowed: Sequence[Network] = (), resolve: Resolve = resolve_by_system
    ) -> None:
        """`own_database` is the product's own URL, which no connection may lead to."""
        self._own = read_dsn(own_database)
        self._allowed = allowed
        self._resolve = resolve

    async def run(self, dsn: str, statement: str, *, max_rows: int, seconds: float) -> Rows:
        """Run a statement that reads. Raises `SqlRefused`, `SqlFailed`, `UrlRefused`, `UrlUnreachable`."""
        query = await asyncio.to_thread(checked, statement)  # a long one takes a second
        where = read_dsn(dsn)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS + seconds):
                connection = await self._connect(where, seconds)
                try:
                    return await _read(connection, query, max_rows)
                finally:
                    connection.terminate()
        except TimeoutError:
            raise SqlFailed(f"The database did not answer within {seconds:g} s. Ask for less.") from None
        except asyncpg.PostgresError as error:
            said = f"{error.sqlstate or 'error'}: {error}"[:500]
            raise SqlFailed(f"The database refused the statement. {said}") from None
        except (OSError, asyncpg.InterfaceError, ValueError):
            raise SqlFailed("The database cannot be reached, or the connection broke.") from None

    async def _connect(self, where: Dsn, seconds: float) -> "asyncpg.Connection[asyncpg.Record]":
        addresses = await public_addresses(where.host, where.port, self._allowed, self._resolve)
        if await self._is_own(where, addresses):
            raise UrlRefused("This is the product's own database. Register another one.", param="dsn")
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            host=str(addresses[0]), port=where.port, user=where.user, password=where.password, database=where.database,
            ssl=_tls(where), timeout=_CONNECT_SECONDS, command_timeout=seconds + 1, statement_cache_size=0,
            server_settings={
                "default_transaction_read_only": "on",
                "statement_timeout": f"{int(seconds * 1000)}ms",
                "lock_timeout": "2s",
                "standard_conforming_strings": "on",  # as the statement was read
                "idle_in_transaction_session_timeout": f"{int(seconds * 1000) + 1000}ms",
                "application_name": "chatsphere sql_query",
            },
        )  # fmt: skip
        return connection

    async def _is_own(self, where: Dsn, addresses: Sequence[IPv4Address | IPv6Address]) -> bool:
        if (where.port, where.database) != (self._own.port, self._own.database):
            return False
        try:
            own = await self._resolve(self._own.host, self._own.port)
            return bool({meant_by(one) for one in addresses} & {meant_by(one) for one in own})
        except socket.gaierror:
            return False


async def _read(connection: "asyncpg.Connection[asyncpg.Record]", query: str, max_rows: int) -> Rows:
    """Let the server write each row as JSON, and cut it there: a value of a gigabyte never comes here."""
    written = (
        f"SELECT left(CAST(row_to_json(answer) AS text), {_ROW_CHARACTERS}) AS row "  # noqa: S608  (checked above)
        f"FROM ({query}) AS answer LIMIT {max_rows + 1}"
    )
    found: list[str] = []
    size = 0
    async with connection.transaction(readonly=True):
        async for record in connection.cursor(written, prefetch=50):
            found.append(record["row"])
            size += len(record["row"])
            if len(found) > max_rows or size > _RESULT_CHARACTERS:
                return Rows(found[:max_rows], more=True)
    return Rows(found, more=False)


class _NamedTls(ssl.SSLContext):
    """Checks a certificate against the host's name, though the connection goes to an address that was checked."""

    name: str

    def wrap_bio(self, *args: object, **options: object) -> ssl.SSLObject:
        return super().wrap_bio(*args, **(options | {"server_hostname": self.name}))  # type: ignore[arg-type]  # as given


def _tls(where: Dsn) -> ssl.SSLContext | bool:
    if where.tls == "disable":
        return False
    context = _NamedTls(ssl.PROTOCOL_TLS_CLIENT)
    context.name = where.host
    if where.tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs()
    return context
