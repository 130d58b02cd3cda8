"""Lists are stable, bounded, and take their own cursors only."""

import pytest

from tests.api.conftest import Caller


async def make(owner: Caller, *names: str) -> None:
    for name in names:
        assert (await owner.http.post("/api/v1/bots", json={"name": name})).status_code == 201


async def names(owner: Caller, **params: str | int) -> tuple[list[str], str | None]:
    response = await owner.http.get("/api/v1/bots", params=params)
    assert response.status_code == 200, response.text
    page = response.json()
    assert page["object"] == "list"
    assert page["has_more"] is (page["next"] is not None)
    return [bot["name"] for bot in page["data"]], page["next"]


async def test_pages_follow_each_other_in_both_orders(owner: Caller) -> None:
    await make(owner, "a", "b", "c")

    first, after = await names(owner, limit=2)
    assert (first, await names(owner, limit=2, after=after or "")) == (["c", "b"], (["a"], None))
    first, after = await names(owner, limit=2, order="asc")
    assert (first, await names(owner, limit=2, order="asc", after=after or "")) == (["a", "b"], (["c"], None))
    assert await names(owner, limit=3) == (["c", "b", "a"], None)


async def test_what_is_added_meanwhile_shifts_nothing(owner: Caller) -> None:
    await make(owner, "a", "b", "c")
    first, after = await names(owner, limit=2)
    await make(owner, "d")

    assert (first, (await names(owner, limit=2, after=after or ""))[0]) == (["c", "b"], ["a"])


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x"])
async def test_a_limit_out_of_bounds_is_422(owner: Caller, limit: str) -> None:
    response = await owner.http.get("/api/v1/bots", params={"limit": limit})

    assert (response.status_code, response.json()["error"]["param"]) == (422, "limit")


async def test_a_cursor_from_elsewhere_is_refused(owner: Caller, stranger: Caller) -> None:
    await make(owner, "a", "b")
    await make(stranger, "a", "b")
    _, after = await names(owner, limit=1)
    _, theirs = await names(stranger, limit=1)
    assert after is not None
    assert theirs is not None

    elsewhere = [
        ("/api/v1/bots", {"after": theirs}),
        ("/api/v1/bots", {"after": after, "order": "asc"}),
        ("/api/v1/api-keys", {"after": after}),
        ("/api/v1/bots", {"after": after[:-2] + ("AA" if after[-2:] != "AA" else "BB")}),
        *[("/api/v1/bots", {"after": bad}) for bad in ("x", "\u00fc", "", "=" * 10, "\0", "A" * 400)],
    ]
    for path, params in elsewhere:
        response = await owner.http.get(path, params=params)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (422, "invalid_cursor", "after"), params
