"""A call that waits for a person outlives everything that runs, and so does what the person decides."""

import asyncio
import signal
from typing import Any

from tests.gemini_double import GeminiDouble
from tests.person import Person
from tests.processes import Api, Deployment, Worker

_PAUSE = 0.1


async def a_waiting_turn(person: Person, double: GeminiDouble) -> str:
    """The path of a turn whose agent waits for a person."""
    tool = {"type": "search_documents", "needs_approval": True}
    await person.client.patch(f"/bots/{person.bot}", json={"configuration": {"agent_type": "react", "tools": [tool]}})
    double.tool_steps.append([("search_documents", {"query": "warranty"})])
    double.answer = "It was allowed."
    conversation = await person.conversation()
    message, wanted = {"content": "How long?"}, {"Prefer": "respond-async"}
    turn = await person.post(f"/conversations/{conversation}/messages", json=message, headers=wanted)
    path = f"/turns/{turn['id']}"
    await until(person, path, "approvals")
    return path


async def until(person: Person, path: str, key: str) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while True:
            now = await person.get(path)
            if now[key]:
                return now
            await asyncio.sleep(_PAUSE)


async def test_the_death_of_everything_keeps_a_waiting_call_and_a_decision_that_nobody_could_be_told_of(
    deployed: Deployment, double: GeminiDouble, worker: Worker, api: Api, person: Person
) -> None:
    path = await a_waiting_turn(person, double)
    await asyncio.gather(worker.kill(), api.kill())
    await deployed.temporal.stop(signal.SIGKILL)
    await deployed.postgres.kill()
    await deployed.postgres.start()

    other = await deployed.api()  # Temporal is away: the run cannot be told
    async with other.client() as client:
        client.headers["Authorization"] = person.client.headers["Authorization"]
        person.client = client
        assert (await person.get(path))["approvals"][0]["approved"] is None
        decided = await person.post(f"{path}/approvals/1", json={"approved": True})
        assert decided["approvals"][0]["approved"] is True

        await deployed.temporal.start()
        await deployed.worker()
        answered = await until(person, path, "answer")
    assert (answered["status"], answered["answer"]["content"]) == ("complete", "It was allowed.")
    assert double.calls["generate"] == 2
