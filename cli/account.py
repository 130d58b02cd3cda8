"""`chatsphere login` and `logout`: a key of this machine's own, in a file that only its owner reads."""

import platform
from typing import Annotated

import typer

from cli.console import out
from cli.session import Session, Target, client, store_key

Email = Annotated[str, typer.Option(prompt=True, help="The account's e-mail address.")]
Password = Annotated[
    str, typer.Option(prompt=True, hide_input=True, envvar="CHATSPHERE_PASSWORD", help="Asked for where it is not set.")
]


def login(
    context: typer.Context,
    email: Email,
    password: Password,
    register: Annotated[bool, typer.Option("--register", help="Make the account first.")] = False,
) -> None:
    """Sign in: make an API key for this machine and store it."""
    target: Target = context.obj
    with client(target.url) as http:
        session = Session(http)
        if register:
            session.post("/auth/register", json={"email": email, "password": password})
        token = session.post("/auth/token", data={"username": email, "password": password})
        http.headers["Authorization"] = f"Bearer {token['access_token']}"
        key = session.post("/api-keys", json={"name": f"chatsphere on {platform.node() or 'a machine'}"[:100]})
    store_key(target.url, key["key"])
    out.print(f"Signed in at {target.url} as {email}.", markup=False)


def logout(context: typer.Context) -> None:
    """Forget this machine's key. Delete it for good with DELETE /api-keys/{id}."""
    target: Target = context.obj
    store_key(target.url, None)
    out.print(f"Signed out at {target.url}.", markup=False)
