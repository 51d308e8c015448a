"""The errors of tables."""

from __future__ import annotations

import os

from chatpb._errors import ChatpbError


class DatasetError(ChatpbError):
    """A dataset that cannot be read or written.

    Attributes:
        path: The file or directory, or its URI.
        reason: What is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(self.path, reason)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DatasetConflictError(DatasetError):
    """A commit that another writer's commit made impossible. Nothing was changed.

    The other one took the same input, or removed or replaced the same files. Read the table again
    to see what is left to do.
    """


class QueryError(ChatpbError, ValueError):
    """SQL that is wrong.

    Attributes:
        reason: What is wrong, in one line, with the place if it is known.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
