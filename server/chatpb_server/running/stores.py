"""Opens the store of completions that the settings name."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final

from chatpb._extras import install_command
from chatpb.store import Listing, Page, Store, StoredCompletion, StoreError, open_store
from chatpb_server.core.store_rules import StoreTable
from chatpb_server.running.config import ConfigError

#: How many seconds lie between two attempts to reach a database, at first and at most.
_FIRST_DELAY: Final = 1.0
_MOST_DELAY: Final = 30.0
#: PostgreSQL's classes of errors that go away: connections, resources, and its own start and end.
_PASSING: Final = ("08", "53", "57")

_logger = logging.getLogger(__name__)


def unstorable(table: StoreTable) -> Iterator[str]:
    """Yields why completions cannot be stored, as far as that is known without the database."""
    if table.url is None:
        return
    needed = ["sqlalchemy", "zstandard"]
    if table.url.startswith("postgres"):
        needed.append("asyncpg")
    for package in needed:
        if importlib.util.find_spec(package) is None:
            yield f"store: needs {package}: {install_command('store')}"
            return


@asynccontextmanager
async def opened_store(table: StoreTable) -> AsyncIterator[Store]:
    """The store at a URL. If the server of the database is down, it is one that is reached later.

    Raises:
        ConfigError: The database cannot be used, and that does not change by itself.
    """
    assert table.url is not None
    store: Store
    try:
        store = await open_store(table.url, timeout=table.timeout)
    except ModuleNotFoundError as error:
        raise ConfigError(f"store: {error}") from None
    except StoreError as error:
        if not is_passing(error):
            raise ConfigError(f"store: {error}") from None
        _logger.warning("completions are not stored until the database is there: %s", error)
        store = LateStore(table.url, table.timeout, error, _FIRST_DELAY)
    try:
        yield store
    finally:
        with suppress(StoreError):
            await store.close()


def check_store(table: StoreTable) -> None:
    """Checks that a store can be opened, now or later; it sets up a new database.

    Raises:
        ConfigError: The database cannot be used, and that does not change by itself.
    """

    async def check() -> None:
        assert table.url is not None
        try:
            store = await open_store(table.url, timeout=table.timeout)
        except StoreError as error:
            if not is_passing(error):
                raise ConfigError(f"store: {error}") from None
        else:
            await store.close()

    if table.url is not None:
        asyncio.run(check())


def is_passing(error: StoreError) -> bool:
    """Whether a database can be reached later without a change to the settings or to itself."""
    if error.database.startswith("sqlite"):
        return False
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):  # also TimeoutError
            return True
        if str(getattr(cause, "sqlstate", None) or "").startswith(_PASSING):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class LateStore(Store):
    """A store whose database was not there yet. Until it is, everything fails at once.

    Args:
        url: Its URL.
        timeout: As for `open_store`.
        error: Why it could not be opened.
        delay: How many seconds to wait before the second attempt. It doubles each time.
    """

    def __init__(self, url: str, timeout: float, error: StoreError, delay: float) -> None:
        self._error = error
        self._store: Store | None = None
        self._opening = asyncio.ensure_future(self._open(url, timeout, delay))

    async def put(self, caller: str, completion: StoredCompletion) -> None:
        """See `Store`."""
        await self._opened().put(caller, completion)

    async def get(self, caller: str, id: str) -> StoredCompletion | None:  # noqa: A002
        """See `Store`."""
        return await self._opened().get(caller, id)

    async def list(self, caller: str, listing: Listing) -> Page:
        """See `Store`."""
        return await self._opened().list(caller, listing)

    async def update(
        self,
        caller: str,
        id: str,  # noqa: A002
        metadata: Mapping[str, str],
    ) -> StoredCompletion | None:
        """See `Store`."""
        return await self._opened().update(caller, id, metadata)

    async def delete(self, caller: str, id: str) -> bool:  # noqa: A002
        """See `Store`."""
        return await self._opened().delete(caller, id)

    async def forget(self, older_than: datetime, most: int = 500) -> int:
        """See `Store`."""
        return await self._opened().forget(older_than, most)

    async def close(self) -> None:
        """Ends the attempts, and closes the store."""
        self._opening.cancel()
        with suppress(asyncio.CancelledError):
            await self._opening
        if self._store is not None:
            await self._store.close()

    def _opened(self) -> Store:
        if self._store is None:
            raise StoreError(self._error.database, self._error.reason)
        return self._store

    async def _open(self, url: str, timeout: float, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _MOST_DELAY)
            try:
                self._store = await open_store(url, timeout=timeout)
            except StoreError as error:
                self._error = error
                if not is_passing(error):
                    _logger.error("completions are not stored: %s", error)
            except Exception as error:  # goes on, whatever it is
                _logger.error("completions are not stored", exc_info=error)
            else:
                _logger.info("the database is there: completions are stored from now on")
                return
