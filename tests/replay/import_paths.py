"""The paths of `ImportDocuments`. One pack a path, where that makes the order of commands the same each time."""

import asyncio
from uuid import UUID

from temporalio.client import Client, WorkflowHistory

from adapters.temporal.runs import start_import
from domain import runs
from domain.errors import CorruptArchive, IncompleteIngestion, IngestionClosed, ProviderAuth
from domain.ids import BotId, ImportId, UserId
from domain.steps import ImportRef
from tests.replay.runs import await_end, histories_of
from tests.workflows.import_runs import FakeImport, import_workers
from tests.workflows.ingestion_runs import Stall
from workflows.imports import PACKS_IN_FLIGHT

_PAUSE = 0.01


def _ref(number: int, *, epoch: int = 1) -> ImportRef:
    return ImportRef(
        owner_id=UserId(UUID(int=1)), bot_id=BotId(UUID(int=2)), import_id=ImportId(UUID(int=number)), epoch=epoch
    )


def _import(alone: int = 0) -> FakeImport:
    """One pack, whose claim is answered after those that find nothing: so the order of commands is the same each time."""
    fakes = FakeImport(packs=1, alone=alone)

    async def after_the_others() -> None:
        fakes.claimed.add(1)
        while sum(call.startswith("claim") for call in fakes.calls) < PACKS_IN_FLIGHT:  # noqa: ASYNC110  (a list of calls)
            await asyncio.sleep(_PAUSE)
        await asyncio.sleep(0.3)  # local steps have no other order than that of their ends

    fakes.script["claim 1"] = [after_the_others]
    return fakes


async def _played(client: Client, ref: ImportRef, fakes: FakeImport) -> list[WorkflowHistory]:
    async with import_workers(client, fakes, cached=100):
        assert await start_import(client, ref)
        return await histories_of(client, await await_end(client.get_workflow_handle(runs.import_run(ref.import_id))))


async def success(client: Client) -> list[WorkflowHistory]:
    return await _played(client, _ref(60), _import())


async def retry(client: Client) -> list[WorkflowHistory]:
    """A second run, with a document that has a run of its own."""
    return await _played(client, _ref(61, epoch=2), _import(alone=1))


async def released(client: Client) -> list[WorkflowHistory]:
    fakes = _import()
    fakes.script["embed 1"] = [IncompleteIngestion("The stored plan is not the recorded one.")]
    return await _played(client, _ref(62), fakes)


async def refused(client: Client) -> list[WorkflowHistory]:
    """The provider refuses the key, for every pack alike."""
    fakes = _import()
    fakes.script["embed 1"] = [ProviderAuth("The key is refused.")]
    return await _played(client, _ref(63), fakes)


async def cancelled(client: Client) -> list[WorkflowHistory]:
    fakes, stall = _import(), Stall()
    fakes.script["embed 1"] = [stall]
    async with import_workers(client, fakes, cached=100):
        assert await start_import(client, _ref(64))
        handle = client.get_workflow_handle(runs.import_run(ImportId(UUID(int=64))))
        await stall.reached.wait()
        await handle.cancel()
        return await histories_of(client, await await_end(handle))


async def archive(client: Client) -> list[WorkflowHistory]:
    """An archive that takes as long to unpack as nothing is found to be packed."""
    fakes = FakeImport(packs=4, archive=True)
    fakes.script["unpack"] = [lambda: _looked_for_packs(fakes)]
    return await _played(client, _ref(65), fakes)


async def broken_archive(client: Client) -> list[WorkflowHistory]:
    """An archive that ends in the middle: what came out of it is ingested before the import fails."""
    fakes = FakeImport(packs=2, archive=True)

    async def break_off() -> None:
        await _looked_for_packs(fakes)
        fakes.archive = False
        raise CorruptArchive("The archive is damaged.")

    fakes.script["unpack"] = [break_off]
    return await _played(client, _ref(66), fakes)


async def closed_archive(client: Client) -> list[WorkflowHistory]:
    """An import that is cancelled while its archive is unpacked, of which the run was not told."""
    fakes = FakeImport(packs=2, archive=True)

    async def find_the_wish() -> None:
        fakes.cancelled = True
        raise IngestionClosed("The import has ended, or is to end.")

    fakes.script["unpack"] = [find_the_wish]
    return await _played(client, _ref(67), fakes)


async def packed_again(client: Client) -> list[WorkflowHistory]:
    """A document that comes back from a run of its own, and goes into a pack of the next run."""
    fakes = FakeImport(packs=1)

    async def come_back() -> None:
        fakes.packs += 1

    fakes.script["settle"] = [come_back]
    return await _played(client, _ref(68), fakes)


async def _looked_for_packs(fakes: FakeImport) -> None:
    while sum(call.startswith("claim") for call in fakes.calls) <= PACKS_IN_FLIGHT:  # noqa: ASYNC110  (a list of calls)
        await asyncio.sleep(_PAUSE)


PATHS = {
    "import_success": success,
    "import_retry": retry,
    "import_released_pack": released,
    "import_refused_key": refused,
    "import_cancelled": cancelled,
}
UNORDERED = {
    "import_archive": archive,
    "import_broken_archive": broken_archive,
    "import_closed_archive": closed_archive,
    "import_packed_again": packed_again,
}
