"""PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chatpb.store._database import T, store_error
from chatpb.store._errors import StoreError

#: Connections: of those who write one commits what waits, another one deletes and updates.
_WRITERS: Final = 2
_READERS: Final = 4


class PostgresDatabase:
    """A database on a server, see `Database`.

    Connections are made when they are needed, and again after they broke.
    """

    def __init__(self, url: URL, timeout: float | None) -> None:
        self.name = url.render_as_string(hide_password=True)
        self._address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._timeout = timeout
        self._writing = self._engine(_WRITERS)
        # A statement that only reads is a transaction of its own: one round trip, not three.
        self._reading = self._engine(
            _READERS, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        async def transact() -> T:
            async with self._reading.connect() as connection:
                return await connection.run_sync(work)

        return await self._twice(transact)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async def transact() -> T:
            connection: AsyncConnection
            async with self._writing.begin() as connection:
                return await connection.run_sync(work)

        return await self._twice(transact)

    async def clean(self) -> None:
        """Nothing: the server's own VACUUM does it."""

    async def close(self) -> None:
        await self._writing.dispose()
        await self._reading.dispose()

    def _engine(self, connections: int, **options: Any) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self._timeout or 30,
            hide_parameters=True,
            **options,
        )

    async def _twice(self, transact: Callable[[], Awaitable[T]]) -> T:
        """Runs a transaction, again if the connection was broken, as after the server's restart."""
        try:
            try:
                return await transact()
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return await transact()
        except TimeoutError:
            raise StoreError(self.name, "no answer within the time limit") from None
        except (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise store_error(self.name, error) from None

    async def _connect(self) -> Any:
        """A new connection.

        The limits are for the server: a relay that hangs must not keep locks.
        """
        settings = {"application_name": "chatpb", "jit": "off"}
        if self._timeout is not None:
            limit = str(max(round(self._timeout * 1000), 1))
            settings["statement_timeout"] = limit
            settings["idle_in_transaction_session_timeout"] = limit
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncpg.connect(
                    self._address, command_timeout=self._timeout, server_settings=settings
                )
        except (ValueError, OverflowError) as error:  # what the URL says cannot be
            raise store_error(self.name, error) from None
