"""Databases of each earlier layout, and of a later one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sqlalchemy import Connection, inspect, text

from chatpb.store import Layout, Listing, StoreError, _migrations, check, migrate
from chatpb.store._opening import database_at
from chatpb.store._tables import METADATA
from support.stored import opened, stored


@pytest.fixture(params=["file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that others can open too."""
    if request.param == "postgresql":
        new: str = request.getfixturevalue("server").new_database()
        return new
    return f"sqlite:///{tmp_path}/store.db"


def run(url: str, work: Any) -> Any:
    """Calls a function in a transaction."""

    async def write() -> Any:
        database = database_at(url, 10)
        try:
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(write())


def version_1(connection: Connection) -> None:
    """Sets up a database as the first layout was, with a completion."""
    _migrations.migrate(connection, "test", 1)
    connection.execute(
        text(
            "INSERT INTO chatpb_completion (caller, id, model, created, stored_at, body)"
            " VALUES ('a', 'c1', 'm', 1, 1, :body)"
        ),
        {"body": zstandard.compress(stored("c1").record)},
    )


def test_an_older_layout_is_migrated(url: str) -> None:
    run(url, version_1)

    async def use() -> None:
        async with opened(url) as store:
            assert stored("c1") == await store.get("a", "c1")
            assert await store.delete("a", "c1")
            await store.put("a", stored("c2"))
            page = await store.list("a", Listing(after="c1"))
            assert [stored("c2")] == page.completions

    with pytest.raises(StoreError, match="this release of chatpb needs 2: run `chatpb-server"):
        asyncio.run(use())
    before = check(url)
    assert (1, 1, 2, False) == (*before[1:], before.is_current)
    assert Layout(before.database, 1, 2, 2) == migrate(url)
    assert Layout(before.database, 2, 2, 2) == migrate(url) == check(url)
    asyncio.run(use())


def test_a_newer_layout_is_left_alone(url: str) -> None:
    migrate(url)
    run(url, lambda each: each.execute(text("UPDATE chatpb_layout SET version = 99")))

    async def use() -> None:
        async with opened(url):
            pass

    for attempt in (lambda: migrate(url), lambda: asyncio.run(use())):
        with pytest.raises(
            StoreError, match="a newer release of chatpb wrote; this one knows 2: upgrade"
        ):
            attempt()
    assert "newer than this release" in str(check(url))


def test_the_newest_layout_is_what_the_statements_know(url: str) -> None:
    assert 0 == migrate(url).found

    def tables(connection: Connection) -> dict[str, set[str]]:
        seen = inspect(connection)
        return {
            name: {each["name"] for each in seen.get_columns(name)}
            for name in seen.get_table_names()
            if name.startswith("chatpb_")
        }

    expected = {table.name: {*table.columns.keys()} for table in METADATA.sorted_tables}
    assert expected == run(url, tables)


def test_many_open_a_new_database_at_once(url: str) -> None:
    async def use(number: int) -> None:
        async with opened(url, timeout=30) as store:
            await store.put("a", stored(f"c{number}"))

    async def all_of_them() -> int:
        await asyncio.gather(*(use(number) for number in range(8)))
        async with opened(url) as store:
            return len((await store.list("a", Listing())).completions)

    assert 8 == asyncio.run(all_of_them())


def test_a_database_that_is_not_there_is_not_made_by_a_check(tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    with pytest.raises(StoreError, match="no such file"):
        check(f"sqlite:///{path}")
    assert not path.exists()


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE others (a)")
    before = path.read_bytes()
    assert 0 == check(f"sqlite:///{path}").version
    assert (before, [path]) == (path.read_bytes(), [*tmp_path.iterdir()])
