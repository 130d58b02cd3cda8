"""Record golden histories and fingerprints: `python -m tests.replay.record [path …]`, all paths by default."""

import asyncio
import json
import sys

from adapters.temporal.client import ensure_search_attributes
from tests.replay.scenarios import FINGERPRINTS, fingerprint, paths, unordered_paths, write
from tests.servers import temporal_server


async def record(names: list[str]) -> None:
    """Play the named paths on a server of their own and store what it recorded."""
    known = json.loads(FINGERPRINTS.read_text()) if FINGERPRINTS.exists() else {}
    async with temporal_server() as server:
        client = await server.client()
        await ensure_search_attributes(client)
        ordered = paths()
        for name, play in (ordered | unordered_paths()).items():
            if names and name not in names:
                continue
            histories = await play(client)
            write(name, histories)
            if name in ordered:
                known[name] = [fingerprint(history) for history in histories]
    FINGERPRINTS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:]))
