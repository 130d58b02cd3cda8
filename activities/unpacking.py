"""Unpacking: members of an archive become documents of the bot, some at a time, in order, so that it can be resumed."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.heartbeat import heartbeats
from adapters.archives import Archive, ArchiveLimits
from adapters.archives import Unpacked as Member
from adapters.postgres import bots, import_items, imports, packs
from adapters.postgres.engine import transaction
from adapters.postgres.import_items import Entry
from domain import blobs, steps
from domain.errors import IngestionClosed
from domain.ports import BlobStore
from domain.steps import ImportRef, Unpacked

log = structlog.get_logger(__name__)

# A pack's worth: the first documents are ingested while the others are still unpacked.
GROUP = 64


class Unpacking:
    """Unpacks the archive of an import."""

    def __init__(
        self,
        engine: AsyncEngine,
        blob_store: BlobStore,
        limits: ArchiveLimits,
        now: Callable[[], datetime],
        *,
        group: int = GROUP,
    ) -> None:
        self._engine = engine
        self._blobs = blob_store
        self._limits = limits
        self._now = now
        self._group = group

    @activity.defn(name=steps.UNPACK.name)
    async def unpack(self, ref: ImportRef) -> Unpacked:
        """Register every member, then drop the archive. Another attempt goes on behind the last one registered."""
        async with heartbeats():
            async with transaction(self._engine) as connection:
                row = await imports.hold(connection, ref)
                first = await imports.next_position(connection, ref.import_id)
            if row is None:
                raise _closed()
            if row.archive:
                with tempfile.TemporaryDirectory(prefix="chatsphere-unpack-", ignore_cleanup_errors=True) as folder:
                    first = await self._unpack(ref, Path(folder), first)
                async with transaction(self._engine) as connection:
                    if not await imports.unpacked(connection, ref, now=self._now()):
                        raise _closed()  # whoever takes the import up again needs the archive
            await self._blobs.delete_prefix(blobs.archive_prefix(ref.import_id))
        return Unpacked(items=first)

    async def _unpack(self, ref: ImportRef, folder: Path, first: int) -> int:
        path = await self._blobs.fetch(blobs.archive_key(ref.import_id), folder)
        archive = await asyncio.to_thread(Archive, path, self._limits, first)
        try:
            while members := await asyncio.to_thread(archive.some, self._group, folder):
                await self._take(ref, members)
                first = members[-1].position + 1
        finally:
            await asyncio.to_thread(archive.close)
        return first

    async def _take(self, ref: ImportRef, members: Sequence[Member]) -> None:
        """Bytes first, then their rows; bytes that turn out to be needless go again."""
        entries = [Entry.at(member.position, member.found) for member in members]
        # Each waits for the disk several times; together they wait once or twice.
        await asyncio.gather(
            *(
                self._blobs.put_file(blobs.source_key(entry.document_id, entry.ingestion_id), member.path)
                for member, entry in zip(members, entries, strict=True)
                if member.path is not None
            )
        )
        async with transaction(self._engine) as connection:
            await bots.hold(connection, ref.owner_id, ref.bot_id)
            if not await packs.hold_open(connection, ref):
                raise _closed()
            known = await import_items.positions_from(connection, ref.import_id, entries[0].position)
            needless = await import_items.register(connection, ref, [e for e in entries if e.position not in known])
            needless += [entry for entry in entries if entry.position in known]
            await packs.notify(connection, ref.import_id, [])
        for entry, member in zip(entries, members, strict=True):
            if member.path is not None and entry in needless:
                await self._blobs.delete_prefix(blobs.document_prefix(entry.document_id))


def _closed() -> IngestionClosed:
    return IngestionClosed("The import has ended, or is to end.")
