"""Runs migrations on `CHATSPHERE_DATABASE_URL`, one process at a time, loudly.

A lock that is not had in 4 s or a statement of more than 5 s fails the migration, so that it
never holds the service up; a second process that migrates at the same time waits for the first.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from adapters.postgres.tables import metadata
from adapters.settings import Settings

_ADVISORY_LOCK = 7_205_759_403  # any constant that nothing else on this database takes
_LOOK_AGAIN = 0.2  # seconds


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=False,  # `halfvec` has its width from the deployment
        transaction_per_migration=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _main() -> None:
    url = context.config.attributes.get("url") or Settings().database_url
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        # The session's lock outlives the migrations' own transactions; closing releases it. It is asked for
        # again and again: who waits inside a statement holds a snapshot, which a concurrent index build waits for.
        while not await connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}):
            await connection.rollback()
            await asyncio.sleep(_LOOK_AGAIN)
        await connection.execute(text("set lock_timeout = '4s'"))
        await connection.execute(text("set statement_timeout = '5s'"))
        await connection.commit()
        await connection.run_sync(_run)
    await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations run online only: they read the deployment's settings.")
asyncio.run(_main())
