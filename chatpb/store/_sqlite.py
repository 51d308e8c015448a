"""SQLite. Each transaction is one step of a thread.

An asynchronous driver hands each statement to a thread: a `put` has five. So the threads here run
whole transactions, with the driver of the standard library.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import URL, Connection, StaticPool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from chatpb._errors import os_error_text
from chatpb.store._database import T, store_error
from chatpb.store._errors import StoreError

_READERS: Final = 2
_BUSY: Final = 0.9  # of the time limit: the lock gives up first, since its error says more
_LEVELS: Final = ("normal", "full", "extra")


class SqliteDatabase:
    """A file, or memory, see `Database`.

    Readers see the last commit and wait for nobody. Writers of all processes take turns.

    Args:
        url: Its URL.
        timeout: How long a transaction waits for those of others, in seconds.
        must_exist: Whether to refuse a file that is not there, rather than to create it; and to
            leave the mode of its log as it is.

    Raises:
        StoreError: The URL has an unknown option, or the file cannot be opened.
    """

    def __init__(self, url: URL, timeout: float, *, must_exist: bool) -> None:
        self.name = url.render_as_string()
        self._level = _synchronous(url, self.name)
        self._may_set_up = not must_exist
        self._milliseconds = round(timeout * _BUSY * 1000)
        is_memory = url.database in (None, "", ":memory:")
        self._path = "" if is_memory else os.path.abspath(str(url.database))
        if not is_memory:
            self._file = _touch(self._path, self.name, 0 if must_exist else os.O_CREAT)
        self._engine = create_engine(
            url.set(drivername="sqlite+pysqlite", query={}),
            poolclass=StaticPool if is_memory else NullPool,
            connect_args={"check_same_thread": False, "isolation_level": None},
            hide_parameters=True,
        )
        event.listen(self._engine, "connect", self._prepare)
        # Each thread has a connection of its own.
        self._writer = ThreadPoolExecutor(1, "chatpb-store-write")
        self._reader = self._writer
        if not is_memory:
            self._reader = ThreadPoolExecutor(_READERS, "chatpb-store-read")
        self._own = threading.local()
        self._connections: list[Connection] = []

    async def read(self, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, self._transact, "BEGIN", work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._transact, "BEGIN IMMEDIATE", work)

    async def clean(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, self._checkpoint)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for executor in (self._writer, self._reader):
            executor.shutdown()
        for connection in self._connections:
            connection.close()
        self._engine.dispose()

    def _transact(self, begin: str, work: Callable[[Connection], T]) -> T:
        """Calls a function in a transaction, in one of the threads."""
        self._check_file()
        try:
            connection = self._connection()
            try:
                # The driver's own calls: those of SQLAlchemy take longer than a short transaction.
                driver: Any = connection.connection.dbapi_connection
                driver.execute(begin)
                result = work(connection)
                if connection.in_transaction():
                    connection.commit()
                else:
                    driver.commit()
            except BaseException:
                self._forget(connection)
                raise
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise store_error(self.name, error) from None
        return result

    def _check_file(self) -> None:
        """Refuses to go on with a file that only this process still has.

        SQLite does not notice, and what it commits there would be lost.
        """
        if not self._path:
            return
        try:
            is_same = _identity(os.stat(self._path)) == self._file
        except OSError:
            is_same = False
        if not is_same:
            raise StoreError(
                self.name, "the file was deleted or replaced while it was open: start again"
            )

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._engine.connect()
            self._connections.append(connection)
        return connection

    def _forget(self, connection: Connection) -> None:
        """Rolls back and closes a connection after a failure, whatever its state is."""
        self._own.connection = None
        self._connections.remove(connection)
        try:
            connection.close()
        except (SQLAlchemyError, sqlite3.Error):
            connection.invalidate()

    def _checkpoint(self) -> None:
        """Moves all pages from the write-ahead log to the file, and empties it.

        Without waiting for those who read old pages: then the next checkpoint does it.
        """
        connection = None
        try:
            connection = self._connection()
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {self._milliseconds}")
            connection.commit()
        except (SQLAlchemyError, sqlite3.Error):  # such as a full disk; the rows are deleted
            if connection is not None:
                self._forget(connection)

    def _prepare(self, connection: Any, _: Any) -> None:
        """Sets up a new connection."""
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {self._milliseconds}")
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        if self._may_set_up and mode not in ("wal", "memory"):
            self._use_wal(cursor)
        # In WAL mode NORMAL does not wait for the disk at a commit: the system has the bytes, so
        # the end of the process loses nothing, but a power failure may lose the last commits.
        cursor.execute(f"PRAGMA synchronous = {self._level}")
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()

    def _use_wal(self, cursor: sqlite3.Cursor) -> None:
        """Turns on the write-ahead log, for which SQLite itself does not wait for locks."""
        end = time.monotonic() + self._milliseconds / 1000
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.01)


def _synchronous(url: URL, name: str) -> str:
    options = dict(url.query)
    level = str(options.pop("synchronous", _LEVELS[0])).lower()
    if options:
        raise StoreError(name, f"unknown option {next(iter(options))!r}; there is `synchronous`")
    if level not in _LEVELS:
        raise StoreError(name, f"synchronous must be one of {', '.join(_LEVELS)}, got {level!r}")
    return level


def _touch(path: str, name: str, flags: int) -> tuple[int, int]:
    """Opens the file, which is created for its owner alone, as SQLite's other files then are.

    Returns:
        Which file it is.
    """
    try:
        file = os.open(path, os.O_RDWR | flags, 0o600)
        try:
            return _identity(os.fstat(file))
        finally:
            os.close(file)
    except OSError as error:
        raise StoreError(name, os_error_text(error)) from None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
