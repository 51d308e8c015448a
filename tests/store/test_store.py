"""What a store does, on each kind of database; `make test-postgres` adds PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from chatpb.store import Listing, Page, Store, StoreError, UnknownCursorError
from support.stored import ids, stored

#: What somebody may try who thinks that texts become SQL.
ATTEMPTS = [
    "' OR '1'='1",
    "'; DROP TABLE chatpb_completion; --",
    '" OR ""="',
    "%",
    "_",
    "\\",
    "a\x00b",
    ":of_caller",
    "%(caller)s",
    "$1",
]


async def test_what_was_put_is_there(store: Store) -> None:
    completion = stored("c1", created=7, metadata={"k": "v", "": "ü\n"})
    await store.put("a", completion)
    assert completion == await store.get("a", "c1")
    assert Page([completion], False) == await store.list("a", Listing())
    assert None is await store.get("a", "c2")


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_any_bytes_are_kept(store: Store, size: int) -> None:
    record = bytes(range(256)) * (size // 256) + b"\0" * (size % 256)
    await store.put("a", stored("c1", record=record))
    found = await store.get("a", "c1")
    assert found is not None
    assert record == found.record


async def test_a_newer_one_replaces_what_has_the_same_id(store: Store) -> None:
    for name in ("c1", "c2"):
        await store.put("a", stored(name, metadata={"k": "old"}))
    newer = stored("c1", model="n", created=9, metadata={"k": "new"})
    await store.put("a", newer)
    assert newer == await store.get("a", "c1")
    assert ["c1", "c2"] == await ids(store, "a")
    assert ["c1"] == await ids(store, "a", metadata={"k": "new"})
    assert ["c2"] == await ids(store, "a", metadata={"k": "old"})


async def test_a_caller_sees_its_own_alone(store: Store) -> None:
    await store.put("a", stored("c1", metadata={"k": "v"}))
    assert None is await store.get("b", "c1")
    assert None is await store.update("b", "c1", {})
    assert not await store.delete("b", "c1")
    assert [] == await ids(store, "b", metadata={"k": "v"}, model="m")
    with pytest.raises(UnknownCursorError) as caught:
        await store.list("b", Listing(after="c1"))
    assert "c1" == caught.value.after
    other = stored("c1", metadata={"k": "w"})
    await store.put("b", other)
    assert await store.delete("a", "c1")
    assert other == await store.get("b", "c1")
    assert ["c1"] == await ids(store, "b", metadata={"k": "w"})


async def test_texts_are_never_sql(store: Store) -> None:
    await store.put("a", stored("c1", metadata={"k": "v"}))
    for attempt in ATTEMPTS:
        assert None is await store.get(attempt, "c1")
        assert None is await store.get("a", attempt)
        assert None is await store.update("a", attempt, {})
        assert not await store.delete("a", attempt)
        assert not await store.delete(attempt, "c1")
        assert [] == await ids(store, attempt)
        for metadata in ({"k": attempt}, {attempt: "v"}):
            assert [] == await ids(store, "a", metadata=metadata)
        assert [] == await ids(store, "a", model=attempt)
        with pytest.raises(UnknownCursorError):
            await store.list("a", Listing(after=attempt))
        if "\0" not in attempt:
            odd = stored(attempt, model=attempt, metadata={attempt: attempt})
            await store.put(attempt, odd)
            assert odd == await store.get(attempt, attempt)
            listing = Listing(model=attempt, metadata={attempt: attempt})
            assert Page([odd], False) == await store.list(attempt, listing)
        assert ["c1"] == await ids(store, "a")


async def test_pages(store: Store) -> None:
    for number in range(7):
        await store.put("a", stored(f"c{number}", created=9 - number))
        await store.put("b", stored(f"c{number}"))
    page = await store.list("a", Listing(limit=3))
    assert (["c0", "c1", "c2"], True) == ([each.id for each in page.completions], page.has_more)
    assert ["c3", "c4", "c5"] == await ids(store, "a", limit=3, after="c2")
    page = await store.list("a", Listing(limit=3, after="c3"))
    assert (["c4", "c5", "c6"], False) == (
        [each.id for each in page.completions],
        page.has_more,
    )
    assert [] == await ids(store, "a", after="c6")
    assert ["c6", "c5"] == await ids(store, "a", limit=2, is_descending=True)
    assert ["c1", "c0"] == await ids(store, "a", limit=9, is_descending=True, after="c2")


async def test_filters(store: Store) -> None:
    for number in range(12):
        metadata = {"half": str(number % 2), "third": str(number % 3), "all": "x"}
        await store.put("a", stored(f"c{number}", model=f"m{number % 4}", metadata=metadata))
    assert ["c1", "c7"] == await ids(store, "a", metadata={"half": "1", "third": "1"})
    assert ["c7"] == await ids(
        store, "a", metadata={"half": "1", "third": "1", "all": "x"}, model="m3"
    )
    assert ["c9", "c5"] == await ids(store, "a", model="m1", is_descending=True, limit=2)
    assert ["c8"] == await ids(store, "a", metadata={"half": "0"}, after="c6", limit=1)
    assert [] == await ids(store, "a", metadata={"half": "2"})
    # The boundary between key and value is a part of the pair.
    await store.put("a", stored("x", metadata={"ab": "c"}))
    assert [] == await ids(store, "a", metadata={"a": "bc"})


async def test_metadata_are_replaced(store: Store) -> None:
    completion = stored("c1", metadata={"k": "v", "l": "w"})
    await store.put("a", completion)
    await store.put("a", stored("c2", metadata={"k": "v"}))
    newer = stored("c1", metadata={"k": "v2"}, record=completion.record)
    assert newer == await store.update("a", "c1", {"k": "v2"})
    assert newer == await store.get("a", "c1")
    assert ["c1"] == await ids(store, "a", metadata={"k": "v2"})
    assert ["c2"] == await ids(store, "a", metadata={"k": "v"})
    assert [] == await ids(store, "a", metadata={"l": "w"})
    bare = await store.update("a", "c1", {})
    assert bare is not None
    assert {} == bare.metadata
    assert [] == await ids(store, "a", metadata={"k": "v2"})
    assert None is await store.update("a", "c3", {})


async def test_a_cursor_outlives_its_completion(store: Store) -> None:
    for number in range(5):
        await store.put("a", stored(f"c{number}"))
    assert await store.delete("a", "c2")
    assert not await store.delete("a", "c2")
    assert None is await store.get("a", "c2")
    assert ["c3", "c4"] == await ids(store, "a", after="c2")
    assert ["c1", "c0"] == await ids(store, "a", after="c2", is_descending=True)
    assert await store.delete("a", "c4")  # the last number is not given again
    await store.put("a", stored("c5"))
    assert ["c5"] == await ids(store, "a", after="c4")
    await store.put("a", stored("c2"))  # it is there again, as a new one
    assert ["c0", "c1", "c3", "c5", "c2"] == await ids(store, "a")
    assert [] == await ids(store, "a", after="c2")


async def test_old_ones_are_forgotten(store: Store) -> None:
    for caller in ("a", "b"):
        for number in range(3):
            await store.put(caller, stored(f"c{number}", metadata={"k": "v"}))
    now = datetime.now(UTC)
    assert 0 == await store.forget(now - timedelta(hours=1))
    later = now + timedelta(seconds=1)
    assert 4 == await store.forget(later, 4)
    assert ["c1", "c2"] == await ids(store, "b", metadata={"k": "v"})
    assert ["c1", "c2"] == await ids(store, "b", after="c0")
    assert 2 == await store.forget(later, 4)
    assert 0 == await store.forget(later, 4)
    assert [] == await ids(store, "a")


async def test_many_at_once(store: Store) -> None:
    await asyncio.gather(
        *(store.put("a", stored(f"c{number}", metadata={"k": "v"})) for number in range(250)),
        *(store.put("a", stored("same", created=number)) for number in range(50)),
    )
    names = {f"c{number}" for number in range(250)} | {"same"}
    assert names == set(await ids(store, "a", limit=1000))
    assert names - {"same"} == set(await ids(store, "a", limit=1000, metadata={"k": "v"}))
    same = await store.get("a", "same")
    assert same is not None
    assert 49 == same.created


async def test_one_that_cannot_be_stored_fails_alone(store: Store) -> None:
    good = [stored(f"c{number}") for number in range(5)]
    bad = [stored("a\0b"), stored("x" * 600), stored("y", metadata={"k": "\0"})]
    bad.append(stored("z", created=1 << 70, record=b""))
    done = await asyncio.gather(
        *(store.put("a", each) for each in [*good, *bad]), return_exceptions=True
    )
    assert [None] * 5 == done[:5]
    assert [True] * 4 == [isinstance(each, StoreError) for each in done[5:]]
    assert [each.id for each in good] == await ids(store, "a")


async def test_a_page_may_have_a_completion_of_a_moment_ago(store: Store) -> None:
    for number in range(30):
        await store.put("a", stored(f"c{number}"))
        assert [f"c{number}"] == await ids(store, "a", limit=1, is_descending=True)
        assert f"c{number}" == (await ids(store, "a", limit=100))[-1]


async def test_a_closed_store(store: Store) -> None:
    putting = asyncio.create_task(store.put("a", stored("c1")))
    await asyncio.sleep(0)
    await store.close()
    await putting  # what began is finished
    for operation in (
        store.put("a", stored("c2")),
        store.get("a", "c1"),
        store.list("a", Listing()),
        store.update("a", "c1", {}),
        store.delete("a", "c1"),
        store.forget(datetime.now(UTC)),
    ):
        with pytest.raises(StoreError, match="the store is closed"):
            await operation
    await store.close()
