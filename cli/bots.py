"""Which bot a command means."""

from uuid import UUID

from cli.console import fail, out
from cli.session import Json, Session


def find_bot(session: Session, wanted: str | None, *, make: bool = False) -> Json:
    """Give the bot of this id or name; with none named the only one. `make` makes a named one that is not there."""
    bots = list(session.all("/bots"))
    if wanted is None:
        if len(bots) == 1:
            return bots[0]
        if not bots and make:
            return _made(session, "Assistant")
        names = ", ".join(sorted(bot["name"] for bot in bots))
        fail(f"Name a bot with --bot. There are: {names}." if bots else "There is no bot yet. Ingest something first.")
    matching = [bot for bot in bots if bot["id"] == _as_id(wanted) or bot["name"] == wanted]
    if len(matching) > 1:
        fail(f"{len(matching)} bots are named {wanted}. Give the id: " + ", ".join(bot["id"] for bot in matching))
    if matching:
        return matching[0]
    if not make or _as_id(wanted):
        fail(
            f"There is no bot {wanted}. There are: " + (", ".join(sorted(bot["name"] for bot in bots)) or "none") + "."
        )
    return _made(session, wanted)


def _made(session: Session, name: str) -> Json:
    bot = session.post("/bots", json={"name": name})
    out.print(f"Made the bot [bold]{name}[/] ({bot['id']}).")
    return bot


def _as_id(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
