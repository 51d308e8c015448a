"""Commits: files are added to a table and removed from it, by any number of writers.

The Parquet files are written by `chatpb.table._files`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from chatpb.table._delta.away import in_own_process
from chatpb.table._delta.diagnosis import LOG
from chatpb.table._delta.location import Location
from chatpb.table._delta.schema import COLUMNS, add_columns, partition_field
from chatpb.table._delta.snapshot import arrow_table, delta_errors, opened, options_of
from chatpb.table._delta.statistics import COUNTED
from chatpb.table._errors import DatasetConflictError, DatasetError, one_line

MARK: Final = "chatpb:commit:"  # the app transaction by which a writer finds its own commit
_MARKS: Final = 256  # kept in every checkpoint, so not one for each commit
_STATISTICS: Final = "delta.dataSkippingStatsColumns"  # by default, the first 32 columns
_ATTEMPTS: Final = 30  # while other writers commit
_FAILURES: Final = 3  # that are no conflict; the store has been asked several times for each


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
        metadata: Other notes for the history of the table; values are JSON.
        partition_by: Partition columns with their types, if the commit creates the table.
        exact: Whether somebody else's commit that adds or removes any file is a conflict.
        forget: Whether checkpoints need not know the removed files, which are deleted at once.
    """

    adds: Sequence[NewFile] = ()
    removes: Sequence[str] = ()
    data_change: bool = True
    transactions: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    partition_by: Sequence[tuple[str, str]] = ()
    exact: bool = False
    forget: bool = False


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
            the app transactions, since `base`. Nothing was changed.
        DatasetError: The table cannot be written to, or has columns of other types.
    """
    mark = f"{MARK}{random.randrange(_MARKS):02x}"
    number = time.time_ns() // 1000 << 10 | random.randrange(1 << 10)
    transactions = {**changes.transactions, mark: number}
    properties = CommitProperties(
        custom_metadata=dict(changes.metadata) or None,
        # Delta's client overlooks that files were removed, and describes a new table twice.
        max_commit_retries=0,
        app_transactions=[Transaction(name, at) for name, at in transactions.items()],
    )
    before = None if base is None else _before(location, base, changes)
    noted = {name: _noted(before, name) for name in changes.transactions}
    names = _names(before) if changes.exact and before is not None else None
    table = before
    if table is not None:  # files may have been listed before `base`
        _check_conflicts(location, table, changes, {})
    failure: Exception | None = None
    failures = 0
    known = -1  # the version that the last attempt began with
    for attempt in range(_ATTEMPTS + 1):
        if attempt:
            with delta_errors(location, "cannot be written to; it is unknown whether it was"):
                table = opened(location)
            if table is not None:
                if _noted(table, mark) == number:
                    _make_durable(location, known + 1, table.version())
                    return table.version()
                _check_conflicts(location, table, changes, noted)
                if names is not None and names != _names(table):
                    reason = "another writer has added or replaced files meanwhile"
                    raise DatasetConflictError(location.uri, reason)
            if failures == _FAILURES or attempt == _ATTEMPTS:
                break
            time.sleep(random.uniform(0, min(0.02 * 2**attempt, 2)))
        try:
            _check_files(location, changes)
            known = -1 if table is None else table.version()
            if table is None:
                _create(location, changes, properties)
                version = 0
            else:
                version = _write(location, table, changes, properties)
        except (DeltaError, OSError) as error:
            failure = error
            failures += not isinstance(error, CommitFailedError)
            continue
        _make_durable(location, known + 1, version)
        return version
    raise DatasetError(location.uri, f"cannot be written to: {one_line(failure)}") from failure


def _before(location: Location, base: int, changes: Changes) -> DeltaTable | None:
    """The table that changes were made from; the last version, if that does for an addition."""
    try:
        return opened(location, base)
    except DatasetError:  # `vacuum` has removed the entries of the log
        if changes.transactions or changes.removes or changes.exact:
            reason = f"version {base} was removed while something was made of it"
            raise DatasetConflictError(location.uri, reason) from None
        return opened(location)


def _names(table: DeltaTable) -> set[str]:
    return set(map(unquote, arrow_table(table.get_add_actions()).column("path").to_pylist()))


def _check_files(location: Location, changes: Changes) -> None:
    """Whether the new files are still there: they are garbage for a `vacuum` until now."""
    for file in changes.adds:
        path = location.local(file.name)
        if path is not None and not os.path.exists(path):
            raise DatasetError(path, "was removed before it was committed; write it again")


@in_own_process
def make_checkpoint(location: Location, version: int) -> None:
    """Writes the whole state at a version to the log, so that earlier entries are not needed."""
    table = opened(location, version)
    with delta_errors(location, "cannot be written to"):
        if table is not None:
            table.create_checkpoint()


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
    properties = CommitProperties(
        custom_metadata=dict(metadata),
        max_commit_retries=0,
        app_transactions=[Transaction(name, at) for name, at in transactions.items()],
    )
    for attempt in range(_ATTEMPTS):
        table = opened(location)
        with delta_errors(location, f"cannot be restored to version {version}"):
            assert table is not None
            known = table.version()
            try:
                table.restore(version, commit_properties=properties)
            except CommitFailedError:
                time.sleep(random.uniform(0, min(0.02 * 2**attempt, 2)))
                continue
            table.update_incremental()
        _make_durable(location, known + 1, table.version())
        return table.version()
    raise DatasetConflictError(location.uri, "other writers are faster, again and again")


def _noted(table: DeltaTable | None, name: str) -> int | None:
    return None if table is None else table.transaction_version(name)


def _check_conflicts(
    location: Location, table: DeltaTable, changes: Changes, noted: Mapping[str, int | None]
) -> None:
    for name, before in noted.items():
        if _noted(table, name) != before:
            raise DatasetConflictError(location.uri, "another writer has taken the same input")
    if changes.removes and (gone := sorted(set(changes.removes) - _names(table))):
        raise DatasetConflictError(
            location.place(gone[0]), "another writer has removed or replaced it meanwhile"
        )


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
) -> int:
    if changes.adds:
        add_columns(location, table)
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
    table.update_incremental()
    return table.version()


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
