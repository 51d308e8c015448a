"""Up to which number no completion can appear any more that is not there yet.

SQLite has one writer at a time, so numbers appear in order. In PostgreSQL a transaction takes its
numbers when it begins to write, and a slow one commits them after those of others: a page must not
pass over them. Each writer has a lock on the table until its commit is visible, so whoever sees the
last number, then the writers, and then waits until those have ended has seen all up to it.
"""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Connection, text

from chatpb.store._errors import StoreError

_LAST: Final = text("SELECT last_value FROM chatpb_completion_number_seq")
_WRITERS: Final = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND granted"
    " AND mode = 'RowExclusiveLock' AND relation = 'chatpb_completion'::regclass"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_SLEEP: Final = text("SELECT pg_sleep(:seconds)")
_PAUSES: Final = (0.001, 0.05)  # seconds: the first, and the longest


def settled(connection: Connection, database: str, timeout: float) -> int | None:
    """The last number that was taken, after all who took one have ended; None: no such limit.

    Each of its statements must see what was committed before it.

    Raises:
        StoreError: Somebody has not ended within the time limit.
    """
    if connection.dialect.name != "postgresql":
        return None
    last = int(connection.scalars(_LAST).one())
    writers = set(connection.scalars(_WRITERS))
    pause, longest = _PAUSES
    end = time.monotonic() + timeout
    while writers:
        if time.monotonic() >= end:
            raise StoreError(database, "another transaction writes completions for too long")
        connection.execute(_SLEEP, {"seconds": pause})
        pause = min(pause * 2, longest)
        writers &= set(connection.scalars(_WRITERS))
    return last
