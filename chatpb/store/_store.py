"""What a store can do. `_sql` does it; this module needs no SQLAlchemy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime

from chatpb.store._values import Listing, Page, StoredCompletion


class Store(ABC):
    """Completions in a database. Belongs to the event loop in which it was opened.

    Each method but `close` raises a `StoreError` if the database cannot be used, at the latest
    when the time limit of `open_store` has passed. What was asked may be done later even so.
    """

    @abstractmethod
    async def put(self, caller: str, completion: StoredCompletion) -> None:
        """Stores a completion, and returns when its transaction is committed.

        One with the same identifier is replaced, and the new one takes its place in lists.

        Args:
            caller: The name of who may read it. Empty: callers have no names.
            completion: The completion.
        """

    @abstractmethod
    async def get(self, caller: str, id: str) -> StoredCompletion | None:  # noqa: A002
        """A completion of the caller, or None."""

    @abstractmethod
    async def list(self, caller: str, listing: Listing) -> Page:
        """A page of the completions of the caller.

        In ascending order, following the pages meets every completion that is there from the
        first page to the last, however many are stored and deleted meanwhile, by whomever.

        Raises:
            UnknownCursorError: `Listing.after` names no completion of the caller.
        """

    @abstractmethod
    async def update(
        self,
        caller: str,
        id: str,  # noqa: A002
        metadata: Mapping[str, str],
    ) -> StoredCompletion | None:
        """Replaces the metadata of a completion.

        Returns:
            The completion with them; None if the caller has no such completion.
        """

    @abstractmethod
    async def delete(self, caller: str, id: str) -> bool:  # noqa: A002
        """Deletes a completion; only its identifier is kept for a day, for `Listing.after`.

        Returns:
            Whether the caller had such a completion.
        """

    @abstractmethod
    async def forget(self, older_than: datetime, most: int = 500) -> int:
        """Deletes completions of all callers that were stored before a time.

        Args:
            older_than: The time, with its zone.
            most: The most completions to delete, so that others can write in between.

        Returns:
            The number of completions that were deleted.
        """

    @abstractmethod
    async def close(self) -> None:
        """Waits for what is being written and closes the connections."""
