"""Gates in a deployment's database: whoever comes to a shut one waits there, until it is opened or the database dies."""

import asyncio
from enum import StrEnum

import asyncpg

_FUNCTION = """
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(TG_NAME)); RETURN NEW; END $$
"""
_WAITERS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND NOT granted AND objid = (hashtext($1)::bigint & 4294967295)::oid
"""
_PAUSE = 0.02


class Gate(StrEnum):
    """What a turn's writes come through, in their order."""

    BEGUN = "gate_begun"
    DRAFTED = "gate_drafted"
    ANSWERED = "gate_answered"


_TRIGGERS = {
    Gate.BEGUN: "UPDATE ON turns FOR EACH ROW WHEN (OLD.status = 'pending' AND NEW.status = 'running')",
    Gate.DRAFTED: "UPDATE ON turns FOR EACH ROW WHEN (OLD.draft IS NULL AND NEW.draft IS NOT NULL)",
    Gate.ANSWERED: "INSERT ON messages FOR EACH ROW WHEN (NEW.role = 'assistant')",
}


class Gates:
    """A shut gate is a lock of a connection's session: it opens with the connection's end, however that comes."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+asyncpg", "")
        self._shut: dict[Gate, asyncpg.Connection] = {}

    async def build(self) -> None:
        """Give the tables their triggers."""
        triggers = (
            f"CREATE TRIGGER {gate} BEFORE {event} EXECUTE FUNCTION wait_at_gate()" for gate, event in _TRIGGERS.items()
        )
        await self._run(_FUNCTION, *triggers)

    async def remove(self) -> None:
        """Leave the tables as they were."""
        await self.open()
        await self._run("DROP FUNCTION wait_at_gate CASCADE")

    async def shut(self, gate: Gate) -> int:
        """Shut a gate, where it is open; answers how many stand there."""
        if gate not in self._shut:
            self._shut[gate] = connection = await asyncpg.connect(self._url)
            await connection.execute("SELECT pg_advisory_lock(hashtext($1))", gate)
        return int(await self._shut[gate].fetchval(_WAITERS, gate))

    async def reached(self, gate: Gate, *, by: int = 1) -> None:
        """Wait until so many stand there."""
        while True:
            if await self._shut[gate].fetchval(_WAITERS, gate) >= by:
                return
            await asyncio.sleep(_PAUSE)

    async def open(self) -> None:
        """Open all, also where the database is gone and with it the locks."""
        while self._shut:
            self._shut.popitem()[1].terminate()

    async def _run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
