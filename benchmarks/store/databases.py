"""How fast a store is, what a row takes, and what the same exchanges take as JSON."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

from chatpb.store import Listing, Store, StoredCompletion, open_store

_AT_ONCE: Final = 64
_LISTS: Final = 200
_CALLER: Final = "alice"
_SECONDS: Final = 60.0


async def speeds(url: str, rows: Iterable[StoredCompletion], most: int) -> dict[str, float]:
    """Puts rows, gets some, and lists some.

    Args:
        url: The database.
        rows: The rows.
        most: How many are got, one after the other.

    Returns:
        ``put/s`` and ``put/s and core``, ``get/s and core``; ``get p50``, ``list p50`` and ``list
        p99`` of 20 rows in milliseconds.
    """
    store = await open_store(url, timeout=_SECONDS)
    try:
        ids: list[str] = []
        found = await _putting(store, iter(rows), ids)
        rng = random.Random(1)
        wanted = rng.sample(ids, min(most, len(ids)))
        times, cpu = await _timed(wanted, lambda name: store.get(_CALLER, name))
        found |= {"get p50": median(times), "get/s and core": len(wanted) / cpu}
        after = rng.choices(ids, k=_LISTS)
        times, _ = await _timed(after, lambda name: store.list(_CALLER, Listing(after=name)))
        return found | {"list p50": median(times), "list p99": sorted(times)[-(_LISTS // 100)]}
    finally:
        await store.close()


async def _putting(
    store: Store, rows: Iterator[StoredCompletion], ids: list[str]
) -> dict[str, float]:
    """Puts rows, many at once; the time to make them does not count."""
    wall = cpu = 0.0
    while batch := [*islice(rows, 100 * _AT_ONCE)]:
        began, used = time.perf_counter(), time.process_time()
        waiting = iter(batch)

        async def put(waiting: Iterator[StoredCompletion] = waiting) -> None:
            for row in waiting:
                await store.put(_CALLER, row)

        await asyncio.gather(*(put() for _ in range(_AT_ONCE)))
        wall += time.perf_counter() - began
        cpu += time.process_time() - used
        ids += [row.id for row in batch]
    return {"put/s": len(ids) / wall, "put/s and core": len(ids) / cpu}


async def _timed(
    names: list[str], ask: Callable[[str], Awaitable[Any]]
) -> tuple[list[float], float]:
    """The milliseconds of each call, one after the other, and the CPU seconds of all."""
    times = []
    used = time.process_time()
    for name in names:
        began = time.perf_counter()
        assert await ask(name) is not None
        times.append(1000 * (time.perf_counter() - began))
    return times, time.process_time() - used


def sqlite_get(path: Path, names: list[str]) -> float:
    """The median of reading rows by the driver alone, in milliseconds."""
    import sqlite3

    times = []
    with closing(sqlite3.connect(path)) as database:
        for name in names:
            began = time.perf_counter()
            query = "SELECT * FROM chatpb_completion WHERE caller = ? AND id = ?"
            assert database.execute(query, (_CALLER, name)).fetchone() is not None
            times.append(1000 * (time.perf_counter() - began))
    return median(times)


async def postgres_bytes(url: str, texts: list[bytes]) -> dict[str, float]:
    """The bytes of each row: of the store, and of the JSON in tables with the same two indexes.

    Returns:
        Them, and those without indexes, by names that end with ``alone``. The store's table has
        metadata, model and times in columns of their own too, and the store an index of metadata.
    """
    import asyncpg

    connection = await asyncpg.connect(url)
    found: dict[str, float] = {}
    try:
        tables = await connection.fetch(
            "SELECT c.oid::bigint AS oid FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r'"
        )
        sizes = [
            await connection.fetchval("SELECT pg_total_relation_size($1::oid)", row["oid"])
            for row in tables
        ]
        found["store"] = sum(sizes) / len(texts)
        found["store alone"] = await _alone(connection, "chatpb_completion") / len(texts)
        for kind in ("jsonb", "text"):
            await connection.execute(f"DROP TABLE IF EXISTS as_{kind}")
            await connection.execute(
                f"CREATE TABLE as_{kind} (number bigserial PRIMARY KEY, caller text NOT NULL,"
                f" id text NOT NULL, body {kind} NOT NULL, UNIQUE (caller, id))"
            )
            await connection.executemany(
                f"INSERT INTO as_{kind} (caller, id, body) VALUES ('{_CALLER}', $1, $2)",
                [(str(number), body.decode()) for number, body in enumerate(texts)],
            )
            size = await connection.fetchval(f"SELECT pg_total_relation_size('as_{kind}')")
            found[kind] = size / len(texts)
            found[f"{kind} alone"] = await _alone(connection, f"as_{kind}") / len(texts)
    finally:
        await connection.close()
    return found


async def _alone(connection: Any, name: str) -> int:
    """The bytes of a table and of its large values, without indexes."""
    size: int = await connection.fetchval("SELECT pg_table_size($1::text::regclass)", name)
    return size
