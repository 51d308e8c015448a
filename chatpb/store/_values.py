"""The values that go into a store and come out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """A completion as it is stored.

    Attributes:
        id: Its identifier, unique for each caller.
        model: The model that answered.
        created: When it was made, in seconds since the Unix epoch, as the answer has it.
        metadata: The pairs that it is listed by.
        record: The binary form of a `CompletionRecord`, with the request and the completion. Its
            metadata is that of the request: `metadata` may be newer.
    """

    id: str
    model: str
    created: int
    metadata: Mapping[str, str]
    record: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """Which completions a page has.

    Attributes:
        after: The identifier of the completion after which the page begins, which may have been
            deleted less than a day ago. Default: the page begins with the first.
        limit: The most completions of the page.
        is_descending: Whether the newest comes first.
        model: The model that answered. Default: any.
        metadata: Pairs that the metadata of each completion has.
    """

    after: str | None = None
    limit: int = 20
    is_descending: bool = False
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Page(NamedTuple):
    """A page of a list.

    Attributes:
        completions: The completions, in the order in which they were stored, or in reverse.
        has_more: Whether there are others after them.
    """

    completions: Sequence[StoredCompletion]
    has_more: bool


class Layout(NamedTuple):
    """The layout of a database, by `check` and `migrate`.

    Attributes:
        database: The URL of the database, without a password.
        found: The version that it had. 0: it was empty.
        version: The version that it has now.
        newest: The version that this release of chatpb needs.
    """

    database: str
    found: int
    version: int
    newest: int

    @property
    def is_current(self) -> bool:
        """Whether a store can be opened on the database."""
        return self.version == self.newest

    def __str__(self) -> str:
        if self.found != self.version:
            text = f"brought from version {self.found} to {self.version}"
        elif self.is_current:
            text = f"has version {self.version}, which is the newest"
        elif self.version < self.newest:
            text = f"has version {self.version}, and this release needs {self.newest}"
        else:
            text = f"has version {self.version}, which is newer than this release, {self.newest}"
        return f"{self.database}: {text}"
