"""When dictionaries are made, and how they come from the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from sqlalchemy import Connection

from chatpb.store import _records
from chatpb.store._bodies import Bodies, Body, DamagedBodyError
from chatpb.store._database import Database
from chatpb.store._errors import StoreError
from chatpb.store._records import NumberedBody
from chatpb.store._rows import Row
from chatpb.store._training import trained

_Row = TypeVar("_Row", Row, NumberedBody)
#: The first dictionary is made of as many completions; each other one when there are `_TIMES` as
#: many as for the one before, since what is asked changes.
FIRST: Final = 1024
_TIMES: Final = 16
_EVERY: Final = 256  # puts of this process after which it looks
_SAMPLES: Final = (1024, 16 << 10)  # the newest completions, each with a body of so many bytes


class Learning:
    """Has the dictionaries of a database, and adds new ones.

    Args:
        database: The database.
        bodies: What needs the dictionaries.
    """

    def __init__(self, database: Database, bodies: Bodies) -> None:
        self._database = database
        self._bodies = bodies
        self._puts = 0
        self._task: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Reads the newest dictionary, which another process may have added."""

        def work(connection: Connection) -> None:
            newest = _records.newest_dictionary(connection)
            self._add(connection, [newest])

        await self._database.read(work)

    def with_dictionaries(
        self, work: Callable[[Connection], Sequence[_Row]]
    ) -> Callable[[Connection], Sequence[_Row]]:
        """A function that also reads the dictionaries of the rows that another one reads."""

        def both(connection: Connection) -> Sequence[_Row]:
            rows = work(connection)
            self._add(connection, [row.dictionary for row in rows])
            return rows

        return both

    def note(self) -> None:
        """Notes that a completion was stored: now and then a dictionary is due."""
        self._puts += 1
        if self._puts % _EVERY == 0 and self._task is None:
            self._task = asyncio.create_task(self._learn())

    async def close(self) -> None:
        """Ends what is going on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _add(self, connection: Connection, numbers: Sequence[int | None]) -> None:
        if missing := self._bodies.missing(numbers):
            for number, content in _records.dictionaries(connection, missing):
                self._bodies.add(number, content)

    async def _learn(self) -> None:
        try:
            with suppress(StoreError):  # rows are stored without, and the next time may be better
                await self._make()
        finally:
            self._task = None

    async def _make(self) -> None:
        """Makes a dictionary if one is due."""
        await self.load()
        number = (self._bodies.newest or 0) + 1
        if await self._database.read(_records.last_number) < FIRST * _TIMES ** (number - 1):
            return
        rows = await self._database.read(
            self.with_dictionaries(lambda connection: _records.newest(connection, *_SAMPLES))
        )
        content = await asyncio.to_thread(self._trained, rows)
        if content is not None:
            await self._database.write(
                lambda connection: _records.add_dictionary(connection, number, content)
            )
            await self.load()

    def _trained(self, rows: Sequence[NumberedBody]) -> bytes | None:
        records = []
        for row in rows:
            with suppress(DamagedBodyError):
                records.append(self._bodies.decompress(Body(row.dictionary, row.body)))
        return trained(records)
