"""A table: Parquet files of records, and a log of commits that says which of them belong to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from google.protobuf.message import Message

from chatpb.table._care.care import Care
from chatpb.table._care.verify import Verified, verify
from chatpb.table._delta.location import absence, located
from chatpb.table._delta.partitions import PARTITIONINGS, Partitioning, partitioning_of
from chatpb.table._delta.snapshot import Snapshot, load
from chatpb.table._errors import DatasetError
from chatpb.table._files.file_writer import Limits
from chatpb.table._files.parts import Part, parts
from chatpb.table._rows.batches import batch_to_lines, from_batches
from chatpb.table._writer import Added, DatasetWriter
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord

if TYPE_CHECKING:
    import pyarrow.compute as pc
    from duckdb import DuckDBPyConnection


class Dataset(Care):
    """A Delta Lake table with records, one in each row.

    DuckDB, Polars, pandas, Spark and others read it as a Delta table. Several processes may read it
    and add to it at the same time, on one machine or many; each reading sees whole commits.

    A forked child may read it too, and may add to it after the parent's `writer` has ended. A
    writer that was open at the fork is the parent's alone. On object stores, a forked child of a
    process that has used tables cannot do either.

    Args:
        uri: A directory, or a URI such as ``s3://bucket/table``, ``gs://...``, ``az://...`` or
            ``file:///...``. It need not exist to be written to.
        storage_options: What the object store needs, as delta-rs names it, such as
            ``AWS_ENDPOINT_URL``. What is missing is taken from the environment.
    """

    def __init__(
        self,
        uri: str | os.PathLike[str],
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._location = located(uri, storage_options)
        self._version: int | None = None

    @property
    def uri(self) -> str:
        """Where it is, as it was given."""
        return self._location.uri

    @property
    def path(self) -> Path:
        """Its directory.

        Raises:
            DatasetError: It is on an object store.
        """
        if self._location.folder is None:
            raise DatasetError(self.uri, "has no path: it is on an object store")
        return self._location.folder

    def at(self, version: int | datetime) -> Dataset:
        """The table as it was at a version, or at a time. It cannot be written to.

        Args:
            version: The number of a commit, or a time with its zone.

        Raises:
            DatasetError: There is no such version.
        """
        if isinstance(version, datetime) and version.tzinfo is None:
            raise DatasetError(self.uri, f"the time {version} has no zone; give it one")
        other = Dataset(self.uri, self._location.options)
        snapshot = load(self._location, version)
        if snapshot is None:
            raise DatasetError(self.uri, absence(self._location))
        other._version = snapshot.version
        return other

    def exists(self) -> bool:
        """Whether there is a table.

        Raises:
            DatasetError: There is one that cannot be read.
        """
        return load(self._location, self._version, checked=False) is not None

    def version(self) -> int:
        """The number of its last commit, from 0.

        Raises:
            DatasetError: There is no table.
        """
        return self._snapshot(checked=False).version

    def id(self) -> str:
        """The identifier that it got when it was created; a copy has the same.

        Raises:
            DatasetError: There is no table.
        """
        return self._snapshot(checked=False).id

    def files(self, where: pc.Expression | None = None) -> list[Part]:
        """Its files at this moment, in the order in which they were added.

        Args:
            where: As for `scan`: leaves out files that, by their statistics in the log, have no
                rows that match.

        Raises:
            DatasetError: There is no table, or it cannot be read.
        """
        return parts(self._snapshot(), where)

    def _snapshot(self, *, checked: bool = True) -> Snapshot:
        snapshot = load(self._location, self._version, checked=checked)
        if snapshot is None:
            raise DatasetError(self.uri, absence(self._location))
        return snapshot

    def scan(
        self, columns: list[str] | None = None, where: pc.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Reads rows, in order and a few at a time.

        Reads only the columns that are needed, and only files and row groups that may contain rows
        that match.

        Args:
            columns: The names of the columns, of those in `SCHEMA`. Default: all.
            where: Which rows to read, such as ``pyarrow.compute.field("model") == "gpt-5"``.

        Raises:
            DatasetError: There is no table, or a file of it cannot be read.
            KeyError: There is no such column.
        """
        for part in self.files(where):
            yield from part.batches(columns, where)

    def records(self, where: pc.Expression | None = None) -> Iterator[bytes]:
        """Reads records in binary form, as they were added.

        The law: after `append(records)` to a new table, these are the same messages in the same
        order, unless the table is partitioned.

        Args:
            where: As for `scan`.

        Raises:
            ConversionError: The rows are not what chatpb wrote.
            DatasetError: As for `scan`.
        """
        return from_batches(self._rows(where))

    def _rows(self, where: pc.Expression | None) -> Iterator[pa.RecordBatch]:
        """The rows to make records of."""
        for part in self.files(where):
            yield from part.rows_stored() if where is None else part.batches(None, where)

    def lines(
        self,
        message_type: type[Message] = ChatCompletion,
        where: pc.Expression | None = None,
    ) -> Iterator[bytes]:
        """Reads JSON lines: the message of a type of each record that has one.

        The result is the same as of reading the records and writing their messages, but faster.

        Args:
            message_type: The type of the messages, such as completions or requests.
            where: As for `scan`.

        Yields:
            Whole lines, many at a time.

        Raises:
            ConversionError: As for `records`, or a message has no JSON.
            DatasetError: As for `scan`.
        """
        for batch in self._rows(where):
            lines = [batch_to_lines(batch, message_type)]
            del batch  # a record may take most of the memory
            yield lines.pop()

    def verify(self, advance: Callable[[int], object] = int) -> Verified:
        """Reads all files, and compares them with the digests of what was written.

        Delta's log too: the entries with the digests of commits, checkpoints with the entries
        before them, what it says of files with their rows.

        Args:
            advance: Called with the number of bytes read, as they are read.

        Returns:
            What was found, with the errors of files that are missing or damaged.

        Raises:
            DatasetError: There is no table, or its log is damaged.
        """
        return verify(
            self._location, parts(self._snapshot(checked=False), with_statistics=True), advance
        )

    def sql(
        self, *, before: int | None = None, temp_directory: str | None = None
    ) -> DuckDBPyConnection:
        """Opens a connection to DuckDB with the views that docs/queries.md describes.

        It shows the table as it is at this moment. Needs the extra ``sql``.

        Args:
            before: A version. The views over the table as it was then are in the schema
                ``before``, such as ``before.exchanges``.
            temp_directory: Where queries that need more than the memory may write. Default: they
                fail.

        Raises:
            DatasetError: There is no table, or no such version.
            QueryError: A file is not a Parquet file.
        """
        from chatpb.table._sql.views import over  # needs an extra of its own

        earlier = None if before is None else self.at(before).files()
        return over(self.files(), earlier, temp_directory=temp_directory)

    @contextmanager
    def writer(
        self,
        *,
        level: int = 3,
        max_file_bytes: int = 1 << 30,
        row_group_bytes: int = 64 << 20,
        row_group_rows: int = 100_000,
        partition_by: str | None = None,
    ) -> Iterator[DatasetWriter]:
        """Adds records: all that were written when the block ends, or none if it fails.

        Args:
            level: The level of zstd, from 1 to 22.
            max_file_bytes: The most bytes of records in binary form, about, of one file.
            row_group_bytes: The most bytes of one row group, about, which are held in memory. Texts
                that it has already do not count, but in all it has at most four times as much.
            row_group_rows: The most rows of one row group.
            partition_by: ``day``, ``month``, ``model`` or ``caller``: which rows share a file. A
                table keeps what it was created with. Default: as it was created, or none.

        Raises:
            DatasetConflictError: Another writer took the same input; see `DatasetWriter.taken`.
            DatasetError: There is a table that chatpb cannot add to.
            OSError: The files cannot be written. What was there before is whole.
        """
        with self.detached_writer(
            level=level,
            max_file_bytes=max_file_bytes,
            row_group_bytes=row_group_bytes,
            row_group_rows=row_group_rows,
            partition_by=partition_by,
        ) as writer:
            yield writer
            writer.commit()

    @contextmanager
    def detached_writer(
        self,
        *,
        level: int = 3,
        max_file_bytes: int = 1 << 30,
        row_group_bytes: int = 64 << 20,
        row_group_rows: int = 100_000,
        partition_by: str | None = None,
    ) -> Iterator[DatasetWriter]:
        """Writes files that are not added when the block ends: a `writer` has to `take` them.

        What `DatasetWriter.finish` returns may be sent to another process or machine.

        Args:
            level: As for `writer`, as are the others.
            max_file_bytes: As for `writer`.
            row_group_bytes: As for `writer`.
            row_group_rows: As for `writer`.
            partition_by: As for `writer`.

        Raises:
            DatasetError: There is a table that chatpb cannot add to.
            OSError: The files cannot be written.
        """
        if self._version is not None:
            raise DatasetError(self.uri, "cannot be written to at an older version")
        snapshot = load(self._location)
        if snapshot is None and self._location.folder is not None:
            self._location.folder.mkdir(parents=True, exist_ok=True)
        partitioning = self._partitioning(snapshot, partition_by)
        limits = Limits(max_file_bytes, row_group_bytes, row_group_rows)
        writer = DatasetWriter(self._location, snapshot, level, limits, partitioning)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise

    def _partitioning(self, snapshot: Snapshot | None, wanted: str | None) -> Partitioning | None:
        if wanted is not None and wanted not in PARTITIONINGS:
            raise DatasetError(
                self.uri, f"cannot be partitioned by {wanted}; try {', '.join(PARTITIONINGS)}"
            )
        if snapshot is None:
            return None if wanted is None else PARTITIONINGS[wanted]
        try:
            found = partitioning_of(snapshot.partition_by)
        except LookupError:
            names = ", ".join(snapshot.partition_by)
            raise DatasetError(
                self.uri, f"is partitioned by {names}, so chatpb can read it, but not add to it"
            ) from None
        if wanted is not None and found != PARTITIONINGS[wanted]:
            there = "not partitioned" if found is None else f"partitioned by {found.name}"
            raise DatasetError(self.uri, f"is {there}, which is decided when a table is created")
        return found

    def append(self, records: Iterable[bytes | CompletionRecord], **options: Any) -> Added:
        """Adds records, all or none.

        Args:
            records: The records, as messages or in binary form.
            **options: As for `writer`.

        Returns:
            How many records were added, and in which files.

        Raises:
            ConversionError: Bytes are not the binary form of a record.
            DatasetError: There is a table that chatpb cannot add to.
            OSError: The files cannot be written. What was there before is whole.
        """
        with self.writer(**options) as writer:
            for record in records:
                writer.write(record)
        return writer.added
