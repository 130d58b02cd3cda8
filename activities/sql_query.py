"""The tool `sql_query`: the owner's database answers one statement that reads."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.tool_calls import ToolCalls
from adapters.postgres import connections
from adapters.postgres.tool_calls import Outcome
from adapters.sealing import Sealer
from adapters.tools.sql import Rows, SqlRunner
from domain import steps
from domain.connections import ConnectionKind, PostgresSecret
from domain.errors import DomainError
from domain.offers import Arguments, SqlArguments, cut
from domain.steps import CallEnded, CallRef, TurnRef
from domain.tools import CallStatus, SqlQuery, Tool


class SqlQueries:
    """Opens the connection's secret for the call, and forgets it."""

    def __init__(self, engine: AsyncEngine, runner: SqlRunner, sealer: Sealer) -> None:
        self._engine = engine
        self._runner = runner
        self._sealer = sealer
        self._calls = ToolCalls(engine)

    @activity.defn(name=steps.SQL_QUERY.name)
    async def sql_query(self, at: CallRef) -> CallEnded:
        """Run what the model wrote, if it only reads."""
        return await self._calls.run(at, partial(self._perform, at.ref))

    async def _perform(self, ref: TurnRef, tool: Tool, arguments: Arguments) -> Outcome:
        assert isinstance(tool, SqlQuery)  # noqa: S101  (of this step)
        assert isinstance(arguments, SqlArguments)  # noqa: S101  (of this tool)
        async with self._engine.connect() as connection:
            try:
                sealed = await connections.sealed(connection, ref.owner_id, tool.connection_id, ConnectionKind.POSTGRES)
                secret = PostgresSecret.model_validate_json(self._sealer.open(sealed))
            except DomainError as error:
                return Outcome(CallStatus.FAILED, error.message, code=error.code)
        try:
            rows = await self._runner.run(secret.dsn, arguments.statement, max_rows=tool.max_rows, seconds=tool.seconds)
        except DomainError as error:
            return Outcome(CallStatus.FAILED, error.message, code=error.code)
        return Outcome(CallStatus.COMPLETE, cut(_told(rows)))


def _told(rows: Rows) -> str:
    count = f"{len(rows.rows)} rows" + (", and there are more." if rows.more else ".")
    return "\n".join([count, *rows.rows])
