"""Delta Lake: all that knows the package `deltalake`.

A table is a log of commits in ``_delta_log``, each of which adds and removes files. Here the log is
read and commits are written; the Parquet files are written by `_files` and read by `_parts`.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from chatpb.table._delta.away import in_own_process
from chatpb.table._delta.diagnosis import LOG as LOG
from chatpb.table._delta.diagnosis import damage, emptied
from chatpb.table._delta.location import Location
from chatpb.table._delta.statistics import COUNTED
from chatpb.table._errors import DatasetConflictError, DatasetError, one_line
from chatpb.table._rows.columns import SCHEMA

MARK: Final = "chatpb:commit:"  # the app transaction by which a writer finds its own commit
_MARKS: Final = 256  # kept in every checkpoint, so not one for each commit
_STATISTICS: Final = "delta.dataSkippingStatsColumns"  # by default, the first 32 columns
_ATTEMPTS: Final = 30  # while other writers commit
_FAILURES: Final = 3  # that are no conflict; the store has been asked several times for each
_READER_FEATURES: Final = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


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
class Snapshot:
    """A table at one version.

    Attributes:
        location: Where it is.
        version: The version.
        adds: Its files as Delta describes them, in the order in which they were added.
        columns: Its columns, without those of `partition_by`.
        partition_by: Its partition columns.
        id: The identifier that it got when it was created.
    """

    location: Location
    version: int
    adds: pa.Table = field(repr=False)
    columns: pa.Schema = field(repr=False)
    partition_by: tuple[str, ...]
    id: str

    @cached_property
    def names(self) -> list[str]:
        """The paths of its files, in the table or, of files elsewhere, as URIs."""
        return [unquote(path) for path in self.adds.column("path").to_pylist()]

    def described(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """What Delta's log has of each file, of these columns of `adds`."""
        found: list[dict[str, Any]] = self.adds.select(
            [name for name in columns if name in self.adds.schema.names]
        ).to_pylist()
        return found


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


def plain(kind: pa.DataType) -> pa.DataType:
    """A type as Delta has it: without dictionaries, everything nullable."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(each.name, plain(each.type)) for each in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    return kind


#: The columns of a table in Delta's schema.
COLUMNS: Final = pa.schema([pa.field(each.name, plain(each.type)) for each in SCHEMA])


@in_own_process
def load(location: Location, version: int | datetime | None = None) -> Snapshot | None:
    """Reads a table's log; None if there is no table.

    Args:
        location: Where it is.
        version: Which version, or that of which time. Default: the last one.

    Raises:
        DatasetError: The log is damaged, there is no such version, or the table uses a feature of
            Delta that chatpb does not read.
    """
    table = _opened(location, version)
    if table is not None and version is None and (found := emptied(location)) is not None:
        raise found
    return None if table is None else _snapshot(location, table)


def _opened(location: Location, version: int | datetime | None = None) -> DeltaTable | None:
    with _errors(location, "cannot be opened"):
        try:
            if isinstance(version, datetime):
                table = DeltaTable(location.delta_uri, None, _options(location))
                table.load_as_version(version)
                return table
            return DeltaTable(location.delta_uri, version, _options(location))
        except DeltaError as error:
            if version is None and _absent(location):
                return None
            if (found := damage(location)) is not None:
                raise found from error
            if isinstance(error, TableNotFoundError):
                return None
            raise error


def _absent(location: Location) -> bool:
    return location.folder is not None and not (location.folder / LOG).is_dir()


def _options(location: Location) -> dict[str, str] | None:
    return dict(location.options) or None


def _snapshot(location: Location, table: DeltaTable) -> Snapshot:
    with _errors(location, "cannot be opened"):
        protocol = table.protocol()
        unknown = sorted(set(protocol.reader_features or ()) - _READER_FEATURES)
        if unknown == ["deletionVectors"] and not _has_deletion_vectors(table):
            unknown = []
        if unknown or (protocol.min_reader_version == 2):
            what = ", ".join(unknown) or "columnMapping"
            raise DatasetError(location.uri, f"chatpb does not read tables with {what}{_WAY_OUT}")
        adds = pa.table(table.get_add_actions())
        metadata = table.metadata()
        partition_by = tuple(metadata.partition_columns)
        schema = pa.schema(table.schema().to_arrow())
    order = [("modification_time", "ascending"), ("path", "ascending")]
    columns = pa.schema([each for each in schema if each.name not in partition_by])
    return Snapshot(
        location, table.version(), adds.sort_by(order), columns, partition_by, str(metadata.id)
    )


def _has_deletion_vectors(table: DeltaTable) -> bool:
    try:
        return bool(pa.table(table.deletion_vectors()).num_rows)
    except DeltaError:
        return True


_WAY_OUT: Final = (
    "; let the tool that wrote it rewrite the files without it (for deletionVectors, Spark's"
    " REORG TABLE ... APPLY (PURGE))"
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
            with _errors(location, "cannot be written to; it is unknown whether it was"):
                table = _opened(location)
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
        return _opened(location, base)
    except DatasetError:  # `vacuum` has removed the entries of the log
        if changes.transactions or changes.removes or changes.exact:
            reason = f"version {base} was removed while something was made of it"
            raise DatasetConflictError(location.uri, reason) from None
        return _opened(location)


def _names(table: DeltaTable) -> set[str]:
    return set(map(unquote, pa.table(table.get_add_actions()).column("path").to_pylist()))


def _check_files(location: Location, changes: Changes) -> None:
    """Whether the new files are still there: they are garbage for a `vacuum` until now."""
    for file in changes.adds:
        path = location.local(file.name)
        if path is not None and not os.path.exists(path):
            raise DatasetError(path, "was removed before it was committed; write it again")


@in_own_process
def make_checkpoint(location: Location, version: int) -> None:
    """Writes the whole state at a version to the log, so that earlier entries are not needed."""
    table = _opened(location, version)
    with _errors(location, "cannot be written to"):
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
        table = _opened(location)
        with _errors(location, f"cannot be restored to version {version}"):
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
    partitions = [_partition_field(name, kind) for name, kind in changes.partition_by]
    schema = Schema([*Schema.from_arrow(COLUMNS).fields, *partitions])
    create_table_with_add_actions(
        location.delta_uri,
        schema,
        [_add(each, changes) for each in changes.adds],
        mode="error",
        partition_by=[name for name, _ in changes.partition_by],
        configuration={_STATISTICS: ",".join(COUNTED)},
        storage_options=_options(location),
        commit_properties=properties,
    )


def _partition_field(name: str, kind: str) -> Field:
    return Field.from_json(
        json.dumps({"name": name, "type": kind, "nullable": True, "metadata": {}})
    )


def _write(
    location: Location, table: DeltaTable, changes: Changes, properties: CommitProperties
) -> int:
    if changes.adds:
        _add_columns(location, table)
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


def _add_columns(location: Location, table: DeltaTable) -> None:
    """Gives a table the columns that it lacks, because an older chatpb created it."""
    schema = table.schema()
    there = pa.schema(schema.to_arrow())
    lacking = []
    for field_ in Schema.from_arrow(COLUMNS).fields:
        kind = COLUMNS.field(field_.name).type
        if field_.name not in there.names:
            lacking.append(field_)
        elif (found := there.field(field_.name).type) != kind:
            if not _widens(found, kind):
                reason = f"its column {field_.name} is of type {found}, not {kind}"
                raise DatasetError(location.uri, f"not a table of chatpb: {reason}")
            if not _covers(found, kind):
                lacking.append(field_)
    if lacking:
        table.alter.add_columns(lacking)
        table.update_incremental()


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether all fields that both types have are of the same types."""
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        names = {each.name: each.type for each in new}
        return all(_widens(each.type, names.get(each.name, each.type)) for each in old)
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _widens(old.value_type, new.value_type)
    return bool(old == new)


def _covers(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether a type has all fields of another one."""
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        names = {each.name: each.type for each in old}
        return all(each.name in names and _covers(names[each.name], each.type) for each in new)
    if pa.types.is_list(old) and pa.types.is_list(new):
        return _covers(old.value_type, new.value_type)
    return True


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


class _errors:  # noqa: N801
    """Turns Delta's errors into those of tables."""

    def __init__(self, location: Location, what: str) -> None:
        self._location = location
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DeltaError | OSError | ValueError):
            reason = f"{self._what}: {one_line(error)}"
            raise DatasetError(self._location.uri, reason) from error
