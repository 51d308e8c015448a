"""The records of a store one after the other, for what is not in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from sqlalchemy import Connection

from chatpb.store import _migrations, _numbers, _records
from chatpb.store._bodies import Bodies, Body, DamagedBodyError
from chatpb.store._database import Database
from chatpb.store._errors import StoreError
from chatpb.store._opening import database_at

_PAGE: Final = 20  # records may be large
_TIMEOUT: Final = 30.0  # seconds, for a transaction of others


class Numbered(NamedTuple):
    """A record, and its place in the order of arrival.

    Attributes:
        number: The place, which no other record gets.
        record: The record, in binary form.
    """

    number: int
    record: bytes


class Reader:
    """Reads records.

    Attributes:
        id: The identifier of the database. A copy of it has the same.
    """

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        self._runner = runner
        self._database = database
        self._bodies = Bodies()
        _migrations.require(runner.run(database.read(_migrations.version)), database.name)
        self.id = runner.run(database.read(_records.database_id))

    def after(self, number: int) -> Iterator[Numbered]:
        """The records of all callers after a number, up to the last one that is there now.

        Raises:
            StoreError: The database cannot be used, or a record is damaged.
        """
        last = self._runner.run(self._database.read(self._last))
        while rows := self._page(number, last):
            for row in rows:
                number = row.number
                yield Numbered(number, self._record(row))

    def _last(self, connection: Connection) -> int:
        last = _numbers.settled(connection, self._database.name, _TIMEOUT)
        return _records.last_number(connection) if last is None else last

    def _page(self, after: int, last: int) -> Sequence[_records.NumberedBody]:
        def work(connection: Connection) -> Sequence[_records.NumberedBody]:
            rows = _records.bodies(connection, after, last, _PAGE)
            if missing := self._bodies.missing(row.dictionary for row in rows):
                for number, content in _records.dictionaries(connection, missing):
                    self._bodies.add(number, content)
            return rows

        return self._runner.run(self._database.read(work))

    def _record(self, row: _records.NumberedBody) -> bytes:
        try:
            return self._bodies.decompress(Body(row.dictionary, row.body))
        except DamagedBodyError as error:
            raise StoreError(
                self._database.name, f"completion number {row.number} is damaged: {error}"
            ) from None


@contextmanager
def reader(url: str) -> Iterator[Reader]:
    """Opens a database to read it. Not to be called in an event loop.

    Raises:
        StoreError: The database cannot be used, or has another layout than the newest.
    """
    with asyncio.Runner() as runner:
        database = database_at(url, _TIMEOUT, must_exist=True)
        try:
            yield Reader(runner, database)
        finally:
            runner.run(database.close())
