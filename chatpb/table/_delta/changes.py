"""What a commit changes, and what it notes about itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

#: In the metadata of a commit: what was done, to how many rows, by which program.
NOTE: Final = "chatpb"
#: The app transaction by which a writer finds its own commit.
MARK: Final = "chatpb:commit:"
_NAME: Final = re.compile(
    r"part-([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}-[0-9a-f]{32}-[0-9a-f]{16}"
    r"\.parquet"
)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A Parquet file that was written, to be added by a commit.

    Attributes:
        name: Its path in the table.
        size: Its bytes.
        rows: How many rows it has.
        json_bytes: The bytes of the JSON of its records.
        stats: Delta's statistics of its columns, as JSON.
        partition: The value of each partition column.
        time: When it was written, in milliseconds since 1970.
    """

    name: str
    size: int
    rows: int
    json_bytes: int
    stats: str
    partition: Mapping[str, str | None]
    time: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What `vacuum` removes once the commit that says so is in the log.

    Writers whose commits come later see it, so that none of them names a file that is about to be
    removed.

    Attributes:
        until: Files that no version contains and that were ended until then, in milliseconds since
            1970.
        oldest: The oldest version that is kept. None: the one that the commit makes.
    """

    until: int
    oldest: int | None = None


class Input(Protocol):
    """Input that a commit takes. Can be pickled."""

    def include(self, names: Iterable[str]) -> bool:
        """Whether app transactions, by their IDs, may be of the same input."""


@dataclass(frozen=True)
class Changes:
    """What a commit changes, all at once.

    Attributes:
        adds: Files that become part of the table.
        removes: Names of files that are no longer part of it. Somebody else's commit that removes
            one of them is a conflict.
        data_change: Whether records come or go, rather than being stored in other files.
        transactions: What was taken of which input: versions of Delta's app transactions by their
            IDs. Somebody else's commit with one of the IDs is a conflict.
        taken: Input whose app transactions may have other IDs in somebody else's commit, which is a
            conflict too.
        metadata: Other notes for the history of the table; values are JSON.
        partition_by: Partition columns with their types, if the commit creates the table.
        exact: Whether somebody else's commit that adds or removes any file is a conflict.
        forget: Whether checkpoints need not know the removed files, which are deleted at once.
        removal: What is removed from disk afterwards.
    """

    adds: Sequence[NewFile] = ()
    removes: Sequence[str] = ()
    data_change: bool = True
    transactions: Mapping[str, int] = field(default_factory=dict)
    taken: Input | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    partition_by: Sequence[tuple[str, str]] = ()
    exact: bool = False
    forget: bool = False
    removal: Removal | None = None


def ended(name: str) -> int | None:
    """When the file of a name was ended, in milliseconds since 1970; None if chatpb did not."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found[1] + found[2], 16)
