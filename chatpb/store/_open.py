"""How a store is opened. Only then is SQLAlchemy imported, which needs time and memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from chatpb._extras import raise_hint
from chatpb.store._store import Store
from chatpb.store._values import Layout

if TYPE_CHECKING:
    from chatpb.store._opening import Opening

_TIMEOUT: Final = 2.0  # seconds


async def open_store(url: str, *, timeout: float = _TIMEOUT) -> Store:
    """Opens a store. A new or empty database is set up.

    Args:
        url: ``sqlite:///PATH``, with a fourth slash if the path is absolute, or
            ``postgresql://USER@HOST/DATABASE``. With ``?synchronous=full`` SQLite waits for the
            disk at each commit: then what was acknowledged survives a power failure too.
        timeout: The time limit of each operation, in seconds.

    Raises:
        ModuleNotFoundError: The extra is not installed.
        StoreError: The database cannot be used, or has the layout of another release.
    """
    return await _implementation().open_store(url, timeout)


def migrate(url: str) -> Layout:
    """Brings a database to the layout of this release. Not to be called in an event loop.

    Args:
        url: See `open_store`.

    Raises:
        StoreError: The database cannot be used, or has the layout of a newer release.
    """
    return asyncio.run(_implementation().migrate(url))


def check(url: str) -> Layout:
    """Says which layout a database has, and changes nothing. Not to be called in an event loop.

    Args:
        url: See `open_store`.

    Raises:
        StoreError: The database cannot be used.
    """
    return asyncio.run(_implementation().check(url))


def _implementation() -> type[Opening]:
    try:
        from chatpb.store._opening import Opening
    except ModuleNotFoundError as missing:
        raise_hint("chatpb.store", missing)
    return Opening
