"""The errors of stores."""

from __future__ import annotations

from chatpb._errors import ChatpbError


class StoreError(ChatpbError):
    """A database that cannot be used, or not now.

    Attributes:
        database: The URL of the database, without a password.
        reason: What is wrong and the way out, in lower case.
    """

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason)
        self.database = database
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.database}: {self.reason}"


class RowError(StoreError):
    """The database works, but does not take a value: others in the same transaction may be fine."""


class UnknownCursorError(ChatpbError):
    """`Listing.after` names no completion of the caller.

    Attributes:
        after: The identifier.
    """

    def __init__(self, after: str) -> None:
        super().__init__(after)
        self.after = after

    def __str__(self) -> str:
        return f"no stored completion {self.after!r} to list after"
