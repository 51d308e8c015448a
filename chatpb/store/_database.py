"""What the store needs of a database: transactions, each a function of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, StatementError

from chatpb.store._errors import RowError, StoreError

T = TypeVar("T")
#: PostgreSQL's class of errors for values that are beyond its limits, such as that of an index.
_TOO_LARGE: Final = "54"


class Database(Protocol):
    """A database. The functions that it calls may be called again after a failure.

    Attributes:
        name: Its URL, without a password.
    """

    name: str

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Calls a function that only reads.

        Raises:
            StoreError: The database cannot be used.
        """

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Calls a function in a transaction, and commits it.

        Raises:
            StoreError: The database cannot be used. The transaction was rolled back, unless the
                connection broke in its commit.
        """

    async def clean(self) -> None:
        """Removes what a committed transaction deleted from where the database still has it."""

    async def close(self) -> None:
        """Closes the connections."""


def store_error(database: str, error: Exception) -> StoreError:
    """The error of a store for one of SQLAlchemy, of a driver or of the system.

    Their own texts may contain values, so only the first line of the driver's is taken.
    """
    cause: BaseException = error
    if isinstance(error, StatementError) and error.orig is not None:
        cause = error.orig
    lines = str(cause).strip().splitlines()
    reason = lines[0].rpartition("'>: ")[2] if lines else type(cause).__name__
    kind = StoreError
    is_value = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    is_value = is_value or str(getattr(cause, "sqlstate", "")).startswith(_TOO_LARGE)
    if is_value or type(error).__name__ in ("DataError", "IntegrityError", "ProgrammingError"):
        kind = RowError
    return kind(database, reason[:1].lower() + reason[1:])
