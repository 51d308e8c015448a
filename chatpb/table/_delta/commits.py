"""Commits: files are added to a table and removed from it, by any number of writers.

The Parquet files are written by `chatpb.table._files`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from chatpb.table._delta.away import in_own_process
from chatpb.table._delta.changes import Changes, NewFile, Removal, ended
from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.digest import noted, signed
from chatpb.table._delta.listing import is_there
from chatpb.table._delta.location import Location
from chatpb.table._delta.outcome import noted_in
from chatpb.table._delta.schema import COLUMNS, add_columns, partition_field
from chatpb.table._delta.snapshot import delta_errors, gone, opened, options_of, while_it_changes
from chatpb.table._delta.state import (
    OLDEST,
    UNTIL,
    YOUNG,
    Mark,
    State,
    age,
    belongs,
    happened,
    new_mark,
    state_before,
    state_of,
)
from chatpb.table._delta.statistics import COUNTED
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetConflictError, DatasetError

_STATISTICS: Final = "delta.dataSkippingStatsColumns"  # by default, the first 32 columns
_ATTEMPTS: Final = 30  # while other writers commit
#: Why a commit is given up, of which it is certain that it did not happen.
OVERTAKEN: Final = "other writers are faster, again and again; nothing was changed, try again"
_FAILURES: Final = (
    3  # in a row, that are no conflict; the store has been asked several times for each
)


@in_own_process
def commit(location: Location, base: int | None, changes: Changes) -> int:
    """Adds and removes files in one step.

    Files of others that were added since `base` are kept. If the answer of the store is lost, the
    log is read again to find out whether the commit happened.

    Args:
        location: Where the table is. It is created if there is none.
        base: The version that the changes were made from; None: there was no table.
        changes: What to change.

    Returns:
        The version of the commit.

    Raises:
        DatasetConflictError: Another writer has removed one of the files, or has committed one of
            the app transactions, since `base`; or others were faster, again and again. Nothing was
            changed.
        DatasetError: The table cannot be written to, or has columns of other types.
    """
    mark = new_mark()
    failure: Exception | None = None
    failures = 0  # in a row, while nobody else commits
    may_be_there = False
    state = state_before(location, base, changes)
    then: Mapping[str, int | None] = (
        dict.fromkeys(changes.transactions) if state is None else state.noted
    )
    names = None if state is None else state.names
    if state is not None:  # files may have been listed before `base`
        _check_conflicts(location, state, changes, {})
    first = 0 if state is None else state.version + 1  # that may be this commit
    for attempt in range(_ATTEMPTS + 1):
        if attempt:
            last = None if state is None else state.version
            with delta_errors(location, "cannot be written to; it is unknown whether it was"):
                state = state_of(location, changes, mark)
            if state is not None:
                failures = failures if state.version == last else 0
                if happened(location, state, mark, changes, first):
                    _make_durable(location, first, state.version)
                    return state.version
                _check_conflicts(location, state, changes, then)
                _check_input(location, -1 if base is None else base, state.version, changes)
                if changes.exact and names is not None and names != state.names:
                    reason = "another writer has added or replaced files meanwhile"
                    raise DatasetConflictError(location.uri, reason)
            if failures == _FAILURES or attempt == _ATTEMPTS:
                break
            pause(attempt)
        _check_age(location, state, changes, may_be_there=may_be_there)
        try:
            is_written = _attempt(location, state, changes, mark)
        except (DeltaError, OSError) as error:
            failure = error
            if not isinstance(error, CommitFailedError):
                failures += 1
                may_be_there = True
            continue
        version = 0 if state is None else state.version + 1
        if is_written and belongs(location, version, mark, changes):
            _make_durable(location, version, version)
            return version
    if isinstance(failure, CommitFailedError) and not may_be_there:
        raise DatasetConflictError(location.uri, OVERTAKEN) from failure
    raise DatasetError(location.uri, f"cannot be written to: {one_line(failure)}") from failure


def pause(attempt: int, first: float = 0.02) -> None:
    """Waits before the next attempt, longer each time and at random, since others wait too.

    Args:
        attempt: How many attempts there were before the one that failed.
        first: The longest pause after the first attempt, in seconds; the longest of all is 2.
    """
    time.sleep(random.uniform(0, min(first * 2**attempt, 2)))


def _check_age(
    location: Location, state: State | None, changes: Changes, *, may_be_there: bool
) -> None:
    """Checks that new files are not what `vacuum` removes: they are garbage until now.

    Raises:
        DatasetConflictError: They may be. Nothing was changed.
    """
    until = None if state is None else state.noted.get(UNTIL)
    is_remote = location.folder is None
    for file in changes.adds:
        at = ended(file.name)
        if until is not None and at is not None and at <= until:
            reason = (
                "vacuum may have removed it, as it was not committed for longer than vacuum keeps"
                " such files; write it again"
            )
            raise DatasetConflictError(location.place(file.name), reason)
        if (is_remote and age([file]) <= YOUNG) or is_there(location, file.name):
            continue
        kind = DatasetError if may_be_there else DatasetConflictError
        reason = "was removed before it was committed; write it again"
        raise kind(location.place(file.name), reason)


def _attempt(location: Location, state: State | None, changes: Changes, mark: Mark) -> bool:
    """Writes a commit on exactly this state; False if the table has to be read again first."""
    transactions = {**changes.transactions, mark.name: mark.number}
    if changes.removal is not None and state is not None:
        oldest = changes.removal.oldest
        oldest = state.version + 1 if oldest is None else oldest
        # Not later than now, which a `vacuum` whose clock was ahead has said.
        until = min(state.noted[UNTIL] or 0, time.time_ns() // 1_000_000)
        transactions[UNTIL] = max(changes.removal.until, until)
        transactions[OLDEST] = max(oldest, state.noted[OLDEST] or 0)
    properties = _properties(transactions, noted(changes, transactions))
    if state is None:
        _create(location, changes, properties)
    elif changes.adds and add_columns(location, state.table):
        return False
    else:
        _write(location, state.table, changes, properties)
    return True


def _properties(transactions: Mapping[str, int], metadata: Mapping[str, Any]) -> CommitProperties:
    return CommitProperties(
        custom_metadata=dict(metadata),
        # Delta's client overlooks that files were removed, and describes a new table twice.
        max_commit_retries=0,
        app_transactions=[Transaction(name, at) for name, at in transactions.items()],
    )


@in_own_process
def make_checkpoint(location: Location, version: int) -> None:
    """Writes the whole state at a version to the log, so that earlier entries are not needed."""

    def make() -> None:
        table = opened(location, version)
        with delta_errors(location, "cannot be written to"):
            if table is not None:
                table.create_checkpoint()

    while_it_changes(location, make)


@in_own_process
def restore(
    location: Location, version: int, transactions: Mapping[str, int], metadata: Mapping[str, Any]
) -> int:
    """Makes the files of an older version those of the table again, in a new commit.

    Args:
        location: Where the table is.
        version: The older version.
        transactions: As for `Changes`.
        metadata: As for `Changes`.

    Returns:
        The version of the commit.

    Raises:
        DatasetConflictError: Other writers are faster, again and again.
        DatasetError: Files of the version are missing.
    """
    mark = new_mark()
    changes = Changes(removal=Removal(0))
    for attempt in range(_ATTEMPTS):
        state = state_of(location, changes, mark)
        assert state is not None
        if (state.noted[OLDEST] or 0) > version:
            raise DatasetError(location.uri, gone(version))
        properties = _properties({**transactions, mark.name: mark.number}, signed(metadata, {}))
        with delta_errors(location, f"cannot be restored to version {version}"):
            try:
                state.table.restore(version, commit_properties=properties)
            except CommitFailedError:
                pause(attempt)
                continue
        made = state.version + 1
        if belongs(location, made, mark, changes):
            _make_durable(location, made, made)
            return made
    raise DatasetConflictError(location.uri, OVERTAKEN)


def _check_conflicts(
    location: Location, state: State, changes: Changes, then: Mapping[str, int | None]
) -> None:
    for name in changes.transactions:
        if name in then and state.noted[name] != then[name]:
            raise DatasetConflictError(location.uri, "another writer has taken the same input")
    if changes.removes and (gone := sorted(set(changes.removes) - (state.names or set()))):
        raise DatasetConflictError(
            location.place(gone[0]), "another writer has removed or replaced it meanwhile"
        )


def _check_input(location: Location, base: int, version: int, changes: Changes) -> None:
    if changes.taken is not None:
        names = noted_in(location, base + 1, version)
        if names is None or changes.taken.include(names):
            raise DatasetConflictError(location.uri, "another writer may have taken the same input")


def _create(location: Location, changes: Changes, properties: CommitProperties) -> None:
    if location.folder is not None:
        location.folder.mkdir(parents=True, exist_ok=True)
    partitions = [partition_field(name, kind) for name, kind in changes.partition_by]
    schema = Schema([*Schema.from_arrow(COLUMNS).fields, *partitions])
    create_table_with_add_actions(
        location.delta_uri,
        schema,
        [_add(each, changes) for each in changes.adds],
        mode="error",
        partition_by=[name for name, _ in changes.partition_by],
        configuration={_STATISTICS: ",".join(COUNTED)},
        storage_options=options_of(location),
        commit_properties=properties,
    )


def _write(
    location: Location, table: DeltaTable, changes: Changes, properties: CommitProperties
) -> None:
    partition_by = table.metadata().partition_columns
    for each in changes.adds:
        if set(each.partition) != set(partition_by):
            raise DatasetError(
                location.uri, f"is partitioned by {', '.join(partition_by) or 'nothing'}"
            )
    now = 1 if changes.forget else time.time_ns() // 1_000_000
    sizes = table._table.get_add_file_sizes() if changes.removes else {}
    actions: list[AddAction | RemoveAction] = [
        *(
            RemoveAction(name, changes.data_change, now, sizes.get(name))
            for name in changes.removes
        ),
        *(_add(each, changes) for each in changes.adds),
    ]
    table.create_write_transaction(
        actions, "append", table.schema(), partition_by, commit_properties=properties
    )


def _add(file: NewFile, changes: Changes) -> AddAction:
    return AddAction(
        file.name, file.size, file.partition, file.time, changes.data_change, file.stats
    )


def _make_durable(location: Location, first: int, last: int) -> None:
    """Delta's client leaves it to the system when a commit reaches the disk.

    Args:
        location: Where the table is.
        first: The first version that may be this writer's commit.
        last: The last one. Other writers may have made some of them.
    """
    if location.folder is not None:
        log = location.folder / LOG
        commits = [log / f"{version:020}.json" for version in range(first, last + 1)]
        for path in (*commits, log, location.folder):
            with suppress(FileNotFoundError):
                sync(path)


def sync(path: str | os.PathLike[str]) -> None:
    """Makes a file or a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
