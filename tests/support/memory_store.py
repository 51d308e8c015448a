"""A store in memory, which fails and waits as a test tells it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from chatpb.store import Listing, Page, Store, StoredCompletion, StoreError, UnknownCursorError
from chatpb.v1 import CompletionRecord


class MemoryStore(Store):
    """A store that loses everything.

    Attributes:
        rows: The completions, by caller and id, in the order in which they came.
        failures: How many of the next operations fail.
        open: Cleared, operations wait until it is set.
        began: How many operations have begun.
        waiting: Set when an operation waits.
        forgotten: The times that `forget` was asked for.
        is_closed: Whether it is closed.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], StoredCompletion] = {}
        self.failures = 0
        self.open = asyncio.Event()
        self.open.set()
        self.began = 0
        self.waiting = asyncio.Event()
        self.forgotten: asyncio.Queue[datetime] = asyncio.Queue()
        self.is_closed = False
        self._times: dict[tuple[str, str], datetime] = {}
        self._numbers: dict[tuple[str, str], int] = {}  # of deleted ones too, for `Listing.after`
        self._count = count()

    @property
    def records(self) -> list[CompletionRecord]:
        """The records of all completions."""
        return [CompletionRecord.FromString(row.record) for row in self.rows.values()]

    async def put(self, caller: str, completion: StoredCompletion) -> None:
        """Stores a completion."""
        await self._trouble()
        key = caller, completion.id
        self.rows.pop(key, None)
        self.rows[key] = completion
        self._numbers[key] = next(self._count)
        self._times[key] = datetime.now(UTC)

    async def get(self, caller: str, id: str) -> StoredCompletion | None:  # noqa: A002
        """A completion of the caller."""
        await self._trouble()
        return self.rows.get((caller, id))

    async def list(self, caller: str, listing: Listing) -> Page:
        """A page of the completions of the caller."""
        await self._trouble()
        sign = -1 if listing.is_descending else 1
        begin = -math.inf
        if listing.after is not None:
            if (caller, listing.after) not in self._numbers:
                raise UnknownCursorError(listing.after)
            begin = sign * self._numbers[caller, listing.after]
        rows = [
            row
            for (name, key), row in list(self.rows.items())[::sign]
            if name == caller
            and sign * self._numbers[name, key] > begin
            and listing.model in (None, row.model)
            and listing.metadata.items() <= row.metadata.items()
        ]
        return Page(rows[: listing.limit], len(rows) > listing.limit)

    async def update(
        self,
        caller: str,
        id: str,  # noqa: A002
        metadata: Mapping[str, str],
    ) -> StoredCompletion | None:
        """Replaces the metadata of a completion."""
        await self._trouble()
        row = self.rows.get((caller, id))
        if row is not None:
            row = self.rows[caller, id] = replace(row, metadata=dict(metadata))
        return row

    async def delete(self, caller: str, id: str) -> bool:  # noqa: A002
        """Deletes a completion."""
        await self._trouble()
        return self.rows.pop((caller, id), None) is not None

    async def forget(self, older_than: datetime, most: int = 500) -> int:
        """Deletes old completions."""
        self.forgotten.put_nowait(older_than)
        await self._trouble()
        old = [key for key in self.rows if self._times[key] < older_than][:most]
        for key in old:
            del self.rows[key]
        return len(old)

    async def close(self) -> None:
        """Notes that it is closed."""
        self.is_closed = True

    async def _trouble(self) -> None:
        self.began += 1
        if self.failures:
            self.failures -= 1
            raise StoreError("memory", "out of order")
        if not self.open.is_set():
            self.waiting.set()
            await self.open.wait()
