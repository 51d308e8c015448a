"""Several who write at once: pages in ascending order pass over nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chatpb.store import Listing, Store, StoreError
from chatpb.store._errors import RowError
from support.limits import within
from support.stored import ids, opened, stored

COUNT = 150


@pytest.fixture(params=["file", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that others can open too."""
    if request.param == "postgresql":
        new: str = request.getfixturevalue("server").new_database()
        return new
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def postgresql(request: pytest.FixtureRequest) -> str:
    """The URL of a new database of PostgreSQL."""
    new: str = request.getfixturevalue("server").new_database()
    return new


@asynccontextmanager
async def transaction(url: str, name: str) -> AsyncIterator[Any]:
    """A transaction that has inserted a completion, as another relay does."""
    connection = await asyncpg.connect(url)
    try:
        running = connection.transaction()
        await running.start()
        await connection.execute(
            "INSERT INTO chatpb_completion (caller, id, model, created, stored_at, body)"
            " SELECT caller, $1, model, created, stored_at, body FROM chatpb_completion LIMIT 1",
            name,
        )
        yield running
    finally:
        await connection.close()


async def test_names_that_no_index_takes_fail_alone(postgresql: str) -> None:
    caller, name = ("".join(chr(0x4E00 + 37 * n % 20_000) for n in range(k)) for k in (900, 512))
    async with opened(postgresql) as store:
        puts = [store.put("a", stored("c1")), store.put(caller, stored(name))]
        assert None is (done := await asyncio.gather(*puts, return_exceptions=True))[0]
        assert isinstance(done[1], RowError)  # which says nothing against the database
        assert ["c1"] == await ids(store, "a")


async def test_a_slow_transaction_is_not_passed_over(postgresql: str) -> None:
    async with opened(postgresql, timeout=60) as store:
        await store.put("a", stored("first"))
        async with transaction(postgresql, "slow") as slow:
            await store.put("a", stored("fast"))  # it has a higher number and is committed
            page = asyncio.create_task(ids(store, "a", after="first"))
            assert set() == (await asyncio.wait([page], timeout=0.2))[0]
            assert ["fast", "first"] == await ids(store, "a", is_descending=True)
            await slow.commit()
            assert ["slow", "fast"] == await within(page)


async def test_a_transaction_that_fails_holds_nobody_up(postgresql: str) -> None:
    async with opened(postgresql, timeout=60) as store:
        await store.put("a", stored("first"))
        async with transaction(postgresql, "lost"):
            page = asyncio.create_task(ids(store, "a"))
            assert set() == (await asyncio.wait([page], timeout=0.1))[0]
        assert ["first"] == await within(page)  # its connection is closed


async def test_a_transaction_that_does_not_end_is_an_error(postgresql: str) -> None:
    async with opened(postgresql, timeout=0.5) as store:
        await store.put("a", stored("first"))
        async with transaction(postgresql, "slow"):
            with pytest.raises(StoreError, match=r"too long|no answer within"):
                await store.list("a", Listing())
            assert ["first"] == await ids(store, "a", is_descending=True)


async def test_the_pages_have_all_that_many_stored_meanwhile(url: str) -> None:
    async with opened(url, timeout=60) as one, opened(url, timeout=60) as two:
        writers = [
            asyncio.create_task(_write(store, f"{name}-{writer}"))
            for name, store in (("one", one), ("two", two))
            for writer in range(3)
        ]
        seen: list[str] = []
        done = False
        while not done:
            done = all(writer.done() for writer in writers)
            after = seen[-1] if seen else None
            seen += await within(ids(two, "a", after=after, limit=7))
            while done and (more := await ids(one, "a", after=seen[-1], limit=100)):
                seen += more
        await asyncio.gather(*writers)
    expected = {
        f"{name}-{writer}-{n}"
        for name in ("one", "two")
        for writer in range(3)
        for n in range(COUNT)
    }
    assert expected == set(seen)
    assert len(expected) == len(seen)


async def _write(store: Store, name: str) -> None:
    for number in range(COUNT):
        await store.put("a", stored(f"{name}-{number}"))
