"""What a commit needs to know of a table, and whether a commit belongs to it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from deltalake import DeltaTable

from chatpb.table._delta.changes import MARK, Changes, NewFile, ended
from chatpb.table._delta.listing import is_there
from chatpb.table._delta.location import Location
from chatpb.table._delta.outcome import entry, found_in, may_be_passed, remove_passed
from chatpb.table._delta.snapshot import (
    arrow_table,
    delta_errors,
    opened,
    removed,
    while_it_changes,
)
from chatpb.table._errors import DatasetConflictError, DatasetError

_MARKS: Final = 256  # kept in every checkpoint, so not one for each commit
#: The app transactions by which `vacuum` says what it removes, see `Removal`.
VACUUM: Final = "chatpb:vacuum:"
UNTIL: Final = f"{VACUUM}until"
OLDEST: Final = f"{VACUUM}oldest"
#: Seconds. What was ended later needs no check: `vacuum` keeps what is younger than an hour.
YOUNG: Final = 600.0


@dataclass(frozen=True)
class State:
    """A table at a version, as a commit needs to know it.

    Attributes:
        table: The table.
        version: The version.
        noted: The numbers of app transactions.
        names: Its files, if they are needed.
    """

    table: DeltaTable
    version: int
    noted: Mapping[str, int | None]
    names: set[str] | None


@dataclass(frozen=True, slots=True)
class Mark:
    """The app transaction by which a writer finds its own commit."""

    name: str
    number: int


def new_mark() -> Mark:
    number = time.time_ns() // 1000 << 10 | random.randrange(1 << 10)
    return Mark(f"{MARK}{random.randrange(_MARKS):02x}", number)


def state_of(
    location: Location, changes: Changes, mark: Mark | None = None, version: int | None = None
) -> State | None:
    """A table at a version, by default the last one; None if there is none.

    Raises:
        DatasetError: It cannot be read.
    """
    wanted = [*changes.transactions, *([] if mark is None else [mark.name])]
    if changes.removal is not None or age(changes.adds) > YOUNG:
        wanted += [UNTIL, OLDEST]

    def read() -> State | None:
        table = opened(location, version)
        if table is None:
            return None
        with delta_errors(location, "cannot be read"):
            noted = {name: table.transaction_version(name) for name in wanted}
            names = names_of(table) if changes.exact or changes.removes else None
            return State(table, table.version(), noted, names)

    return while_it_changes(location, read)


def state_before(location: Location, base: int | None, changes: Changes) -> State | None:
    """The table that changes were made from; the last version, if that does for an addition."""
    if base is None:
        return None
    try:
        return state_of(location, changes, None, base)
    except DatasetError:  # `vacuum` has removed the entries of the log
        if changes.transactions or changes.removes or changes.exact:
            raise DatasetConflictError(location.uri, removed(base)) from None
        return state_of(location, changes)


def names_of(table: DeltaTable) -> set[str]:
    return set(map(unquote, arrow_table(table.get_add_actions()).column("path").to_pylist()))


def happened(location: Location, state: State, mark: Mark, changes: Changes, first: int) -> bool:
    """Whether a commit is in the log; others may have used its mark since.

    Args:
        location: Where the table is.
        state: The table now.
        mark: The mark of the commit.
        changes: What it changes.
        first: The first version that may be it.

    Raises:
        DatasetError: That is unknown, as entries of the log were removed.
    """
    if state.noted[mark.name] == mark.number:
        return True
    found = found_in(location, first, state.version, mark.name, mark.number)
    return _is_named(location, state, mark, changes) if found is None else found


def _is_named(location: Location, state: State, mark: Mark, changes: Changes) -> bool:
    """Whether a commit is in the log, though its entry may have been removed since."""
    with delta_errors(location, "cannot be read"):
        if not names_of(state.table).isdisjoint(each.name for each in changes.adds):
            return True
    if changes.transactions:  # nobody else commits the same ones without a conflict
        return all(state.noted[name] == at for name, at in changes.transactions.items())
    last = state.noted[mark.name]
    if last is None or last < mark.number:  # nobody has used the mark since
        return False
    raise DatasetError(
        location.uri,
        "it is unknown whether it was written to: vacuum has removed entries of the log meanwhile;"
        " look for the records before you write them again",
    )


def belongs(location: Location, version: int, mark: Mark, changes: Changes) -> bool:
    """Whether a commit that was written belongs to the table; if not, it is removed.

    `vacuum` may have removed an entry of the log right before it was written anew: no reader looks
    there any more. It removes earlier entries first.
    """
    if not may_be_passed(location, version):
        return True
    with delta_errors(location, "cannot be written to; it is unknown whether it was"):
        state = state_of(location, changes, mark)
    if state is None or state.noted[mark.name] == mark.number:
        return True
    if is_there(location, entry(version - 1)) or _is_named(location, state, mark, changes):
        return True
    remove_passed(location, version, mark.name, mark.number)
    return False


def age(files: Iterable[NewFile]) -> float:
    """How many seconds ago the oldest file was ended."""
    times = [at for file in files if (at := ended(file.name)) is not None]
    return time.time() - min(times) / 1000 if times else 0.0
