"""Puts of many callers in common transactions."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from chatpb.store import _rows
from chatpb.store._database import Database
from chatpb.store._errors import RowError

_MOST: Final = 100  # rows of a transaction


class Writing:
    """Commits together what came while the last commit was running.

    So a slow disk or server costs a commit for each batch, not for each completion, and a lone
    completion waits for nobody.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, row: dict[str, Any]) -> None:
        """Stores a row, and returns when it is committed.

        Raises:
            StoreError: The database cannot be used.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        await done

    async def close(self) -> None:
        """Waits for what is being written."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                # Nobody waits for some any more: they must not hold others up.
                batch = [each for each in batch if not each[1].done()]
                if batch:
                    await self._commit(batch)
        finally:
            self._task = None

    async def _commit(self, batch: list[tuple[dict[str, Any], asyncio.Future[None]]]) -> None:
        # The newest of the same name replaces the others.
        rows = list({(row["caller"], row["id"]): row for row, _ in batch}.values())
        try:
            await self._database.write(lambda connection: _rows.put(connection, rows))
        except RowError as error:
            if len(batch) > 1:  # the others may be fine
                for each in batch:
                    await self._commit([each])
                return
            _fail(batch, error)
        except Exception as error:
            _fail(batch, error)
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)


def _fail(batch: list[tuple[dict[str, Any], asyncio.Future[None]]], error: Exception) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)
