"""The store on a database of `_database`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import Connection

from chatpb.store import _numbers, _rows
from chatpb.store._bodies import Bodies, Body, DamagedBodyError
from chatpb.store._database import Database
from chatpb.store._errors import RowError, StoreError, UnknownCursorError
from chatpb.store._learning import Learning
from chatpb.store._rows import Row
from chatpb.store._store import Store
from chatpb.store._values import Listing, Page, StoredCompletion
from chatpb.store._writing import Writing

_T = TypeVar("_T")
_LONG: Final = 64 << 10  # bytes; more are compressed outside of the event loop
_LONGEST: Final = 512  # characters of an identifier or a model, which must fit into an index
_MOST_SECONDS: Final = (1 << 63) - 1


class SqlStore(Store):
    """See `Store`."""

    def __init__(self, database: Database, timeout: float) -> None:
        self._database = database
        self._timeout = timeout
        self._bodies = Bodies()
        self._writing = Writing(database)
        self._learning = Learning(database, self._bodies)
        self._is_closed = False

    async def prepare(self) -> None:
        """Reads what new bodies need."""
        await self._limited(self._learning.load())

    async def put(self, caller: str, completion: StoredCompletion) -> None:
        self._check_open()
        self._check(caller)
        for text in (completion.id, completion.model):
            self._check(text, _LONGEST)
        if not -_MOST_SECONDS <= completion.created <= _MOST_SECONDS:
            raise RowError(self._database.name, "the time of creation is out of range")
        body = await self._aside(len(completion.record), self._bodies.compress, completion.record)
        row = {
            "caller": caller,
            "id": completion.id,
            "model": completion.model,
            "created": completion.created,
            "stored_at": _now_us(),
            "metadata": self._metadata(completion.metadata),
            "body": body.data,
            "dictionary": body.dictionary,
        }
        await self._limited(self._writing.put(row))
        self._learning.note()

    async def get(self, caller: str, id: str) -> StoredCompletion | None:  # noqa: A002
        if not _can_be_kept(caller, id):
            return None

        def work(connection: Connection) -> Sequence[Row]:
            row = _rows.get(connection, caller, id)
            return [] if row is None else [row]

        return await self._first(await self._read(self._learning.with_dictionaries(work)))

    async def list(self, caller: str, listing: Listing) -> Page:
        if listing.after is not None and not _can_be_kept(listing.after):
            raise UnknownCursorError(listing.after)
        pairs = [text for pair in listing.metadata.items() for text in pair]
        if not _can_be_kept(caller, listing.model or "", *pairs):
            return Page((), False)

        def work(connection: Connection) -> Sequence[Row]:
            after = last = None
            if listing.after is not None:
                after = _rows.place(connection, caller, listing.after)
                if after is None:
                    raise UnknownCursorError(listing.after)
            if not listing.is_descending:
                last = _numbers.settled(connection, self._database.name, self._timeout)
            return _rows.page(connection, caller, listing, after, last)

        rows = await self._read(self._learning.with_dictionaries(work))
        completions = await self._completions(rows[: listing.limit])
        return Page(completions, len(rows) > listing.limit)

    async def update(
        self,
        caller: str,
        id: str,  # noqa: A002
        metadata: Mapping[str, str],
    ) -> StoredCompletion | None:
        if not _can_be_kept(caller, id):
            return None
        text = self._metadata(metadata)

        def work(connection: Connection) -> Sequence[Row]:
            row = _rows.set_metadata(connection, caller, id, text)
            return [] if row is None else [row]

        return await self._first(await self._write(self._learning.with_dictionaries(work)))

    async def delete(self, caller: str, id: str) -> bool:  # noqa: A002
        if not _can_be_kept(caller, id):
            return False
        now = _now_us()
        found = await self._write(lambda connection: _rows.remove(connection, caller, id, now))
        if found:
            await self._database.clean()
        return found

    async def forget(self, older_than: datetime, most: int = 500) -> int:
        before, now = round(older_than.timestamp() * 1_000_000), _now_us()
        count = await self._write(
            lambda connection: _rows.remove_old(connection, before, most, now)
        )
        if count:
            await self._database.clean()
        return count

    async def close(self) -> None:
        self._is_closed = True
        await self._writing.close()
        await self._learning.close()
        await self._database.close()

    async def _read(self, work: Callable[[Connection], _T]) -> _T:
        self._check_open()
        return await self._limited(self._database.read(work))

    async def _write(self, work: Callable[[Connection], _T]) -> _T:
        self._check_open()
        return await self._limited(self._database.write(work))

    async def _limited(self, operation: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._timeout):
                return await operation
        except TimeoutError:
            raise StoreError(
                self._database.name, f"no answer within {self._timeout:g} seconds"
            ) from None

    async def _first(self, rows: Sequence[Row]) -> StoredCompletion | None:
        return (await self._completions(rows))[0] if rows else None

    async def _completions(self, rows: Sequence[Row]) -> Sequence[StoredCompletion]:
        return await self._aside(sum(len(row.body) for row in rows), self._decoded, rows)

    def _decoded(self, rows: Sequence[Row]) -> Sequence[StoredCompletion]:
        completions = []
        for row in rows:
            try:
                record = self._bodies.decompress(Body(row.dictionary, row.body))
            except DamagedBodyError as error:
                raise StoreError(self._database.name, f"{row.id!r} is damaged: {error}") from None
            metadata = {} if row.metadata is None else orjson.loads(row.metadata)
            completions.append(StoredCompletion(row.id, row.model, row.created, metadata, record))
        return completions

    async def _aside(self, size: int, function: Callable[[Any], _T], argument: Any) -> _T:
        """Calls a function, outside of the event loop if it takes long."""
        if size < _LONG:
            return function(argument)
        return await asyncio.to_thread(function, argument)

    def _metadata(self, metadata: Mapping[str, str]) -> str | None:
        for pair in metadata.items():
            for text in pair:
                self._check(text)
        return orjson.dumps(dict(metadata)).decode() if metadata else None

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreError(self._database.name, "the store is closed")

    def _check(self, text: str, longest: int | None = None) -> None:
        """Refuses a text that not every database can keep."""
        if not _can_be_kept(text):
            raise RowError(self._database.name, "texts with U+0000 or surrogates cannot be stored")
        if longest is not None and len(text) > longest:
            raise RowError(
                self._database.name,
                f"identifiers and models of more than {longest} characters cannot be stored",
            )


def _now_us() -> int:
    return time.time_ns() // 1000


def _can_be_kept(*texts: str) -> bool:
    """Whether every database can keep texts: no other text is in any."""
    try:
        return not any(b"\0" in text.encode() for text in texts)
    except UnicodeEncodeError:
        return False
