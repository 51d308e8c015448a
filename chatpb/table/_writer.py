"""Writes records to a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from google.protobuf.message import Message

from chatpb._errors import binary_of
from chatpb._forks import Owner
from chatpb._record import json_size
from chatpb.table._delta.changes import Changes, Input, NewFile
from chatpb.table._delta.commits import commit
from chatpb.table._delta.location import Location
from chatpb.table._delta.partitions import Partitioning
from chatpb.table._delta.snapshot import Snapshot, load, removed
from chatpb.table._delta.transactions import transactions
from chatpb.table._errors import DatasetConflictError, DatasetError
from chatpb.table._files.file_writer import FileWriter, Limits
from chatpb.table._rows.batches import json_to_batch, to_batch
from chatpb.table._rows.long import LONG, apart
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord

_SLICE_BYTES: Final = 8 << 20  # of records that become a batch at once
_SLICE_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Added:
    """What was added to a dataset.

    Attributes:
        records: How many records.
        json_bytes: The bytes of their JSON.
        table_bytes: The bytes of the files that hold them.
        parts: The names of the files.
    """

    records: int
    json_bytes: int
    table_bytes: int
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """Files that were written and not committed yet. Can be pickled.

    Attributes:
        files: The files.
        records: How many records are in them.
        json_bytes: The bytes of their JSON.
    """

    files: tuple[NewFile, ...]
    records: int
    json_bytes: int


class DatasetWriter:
    """Takes the records that are added to a dataset, see `Dataset.writer`.

    It belongs to the process that entered the block. In a forked child, its methods and the end of
    the block raise `DatasetError`, and nothing of the dataset changes.

    Attributes:
        taken: What is taken of which input: versions of Delta's app transactions by their IDs, to
            be committed with the records. If another writer commits one of them first, the end of
            the block raises `DatasetConflictError`.
        input: The input, if others may take it under other IDs. That is a conflict too.
        metadata: Other notes for the history of the table, as JSON.
    """

    def __init__(
        self,
        location: Location,
        snapshot: Snapshot | None,
        level: int,
        limits: Limits,
        partitioning: Partitioning | None,
    ) -> None:
        self.taken: dict[str, int] = {}
        self.input: Input | None = None
        self.metadata: dict[str, Any] = {}
        self._location = location
        self._snapshot = snapshot
        self._partitioning = partitioning
        self._files = FileWriter(location, level, limits, partitioning)
        self._limits = limits
        self._slice: list[bytes] = []
        self._slice_type: type[Message] | None = None  # of JSON texts; None: they are records
        self._slice_bytes = self._slice_json_bytes = 0
        self._most_bytes = min(_SLICE_BYTES, limits.group_bytes)  # of the slice
        self._most_rows = min(_SLICE_ROWS, limits.group_rows)
        self._records = self._json_bytes = 0
        self._written: Written | None = None
        self._others: list[Written] = []
        self._may_be_committed = False
        self._owner = Owner()

    @property
    def added(self) -> Added:
        """What was added; of use after the block."""
        written = [*self._others, *([] if self._written is None else [self._written])]
        files = [file for each in written for file in each.files]
        return Added(
            sum(each.records for each in written),
            sum(each.json_bytes for each in written),
            sum(file.size for file in files),
            tuple(file.name for file in files),
        )

    def taken_before(self, prefix: str) -> Mapping[str, int]:
        """What the table has of app transactions whose IDs begin with a prefix.

        Raises:
            DatasetConflictError: Others have replaced the log meanwhile.
            DatasetError: A file of the log is damaged.
        """
        if self._snapshot is None:
            return {}
        version = self._snapshot.version
        try:
            return transactions(self._location, version, prefix)
        except DatasetError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                now = load(self._location)
                if now is not None and now.version > version:
                    raise DatasetConflictError(self._location.uri, removed(version)) from None
            raise

    def write(self, record: bytes | CompletionRecord, json_bytes: int | None = None) -> None:
        """Adds a record.

        Args:
            record: The record, as a message or in binary form.
            json_bytes: The bytes of its JSON, where they are known. Default: they are counted.

        Raises:
            ConversionError: Bytes are not the binary form of a record. The path is its index among
                the records that become rows together.
            DatasetError: The writer belongs to another process.
        """
        self._check_owner()
        if self._slice_type is not None:
            self._end_slice(None)
        data = record if isinstance(record, bytes) else binary_of(record)
        del record  # so that only the slice has it
        json_bytes = json_size(data) if json_bytes is None else json_bytes
        self._make_room(len(data))
        self._slice.append(data)
        self._slice_bytes += len(data)
        self._slice_json_bytes += json_bytes
        del data
        self._end_long_slice()

    def write_json(self, text: bytes, message_type: type[Message] = ChatCompletion) -> None:
        """Adds a record that holds nothing but a message, whose JSON is given.

        The result is the same as of converting it and writing the record, but faster.

        Args:
            text: A JSON object.
            message_type: What it is, such as a completion.

        Raises:
            ConversionError: A text is not one JSON object. The path begins with its index among the
                texts that become rows together.
            DatasetError: The writer belongs to another process.
        """
        size = len(text)
        if (
            self._slice_type is not message_type
            or self._slice_bytes + size > self._most_bytes
            or len(self._slice) >= self._most_rows
            or not self._owner.is_here
        ):
            self._check_owner()
            self._end_slice(message_type, size)
        self._slice.append(text)
        self._slice_bytes += size
        if size >= LONG:
            del text  # so that only the slice has it
            self._end_slice(message_type)

    def write_rows(self, rows: pa.RecordBatch, json_bytes: int) -> None:
        """Adds records as rows, such as `json_to_batch` makes.

        Args:
            rows: The rows, with the columns of `SCHEMA`.
            json_bytes: The bytes of their JSON.

        Raises:
            DatasetError: The writer belongs to another process.
        """
        self._check_owner()
        self._end_slice(None, rows.nbytes)
        self._records += len(rows)
        self._json_bytes += json_bytes
        left, bytes_left = len(rows), rows.nbytes
        for piece in apart(rows):
            at = 0
            while at < len(piece):
                some = piece.slice(at, max(self._files.free_rows, 1))
                at += len(some)
                left -= len(some)
                share = json_bytes  # the last rows have the rest
                if left:
                    share = round(json_bytes * min(some.nbytes / max(bytes_left, 1), 1))
                json_bytes -= share
                bytes_left -= some.nbytes
                self._files.add(some, some.nbytes, share)
                self._files.make_room(0)
        self._end_slice(None)

    def _check_owner(self) -> None:
        if not self._owner.is_here:
            raise DatasetError(self._location.uri, self._owner.refusal("the writer"))

    def _make_room(self, size: int) -> None:
        if self._slice_bytes + size > self._most_bytes or len(self._slice) >= self._most_rows:
            self._end_slice(self._slice_type, size)

    def _end_long_slice(self) -> None:
        """Writes a long record at once, before the next one is read."""
        if self._slice_bytes >= LONG:
            self._end_slice(self._slice_type)

    def _end_slice(self, next_type: type[Message] | None, next_bytes: int = 0) -> None:
        """Turns the records gathered so far into rows."""
        kind = self._slice_type
        if self._slice:
            size = self._slice_bytes
            if kind is None:
                rows = to_batch(self._slice)
            else:
                rows = json_to_batch(self._slice, kind)
                self._slice_json_bytes = size
                size = rows.nbytes  # much less than JSON, or as much
            self._slice = []  # one may be so large that its memory is needed now
            self._files.add(rows, size, self._slice_json_bytes)
            self._records += len(rows)
            self._json_bytes += self._slice_json_bytes
        self._slice_type = next_type
        self._slice_bytes = self._slice_json_bytes = 0
        self._files.make_room(next_bytes)
        self._most_bytes = min(_SLICE_BYTES, self._files.free_bytes)
        self._most_rows = min(_SLICE_ROWS, self._files.free_rows)

    def finish(self) -> Written:
        """Ends the files, which another writer of the table may `take`."""
        self._check_owner()
        if self._written is None:
            self._end_slice(None)
            self._written = Written(tuple(self._files.close()), self._records, self._json_bytes)
        return self._written

    def take(self, written: Written) -> None:
        """Adds files that another writer has written, on this machine or another."""
        self._check_owner()
        self._others.append(written)

    def commit(self) -> None:
        """Adds what was written to the dataset, at the end of the block."""
        written = [file for each in (*self._others, self.finish()) for file in each.files]
        if written or self.taken or self._snapshot is None:
            kind = self._partitioning
            changes = Changes(
                adds=written,
                transactions=self.taken,
                taken=self.input,
                metadata=self.metadata,
                partition_by=[] if kind is None else [(kind.name, kind.type)],
            )
            base = None if self._snapshot is None else self._snapshot.version
            self._may_be_committed = True
            try:
                commit(self._location, base, changes)
            except DatasetConflictError:
                self._may_be_committed = False
                raise

    def abandon(self) -> None:
        """Removes the files, after a failure, unless they may belong to the table."""
        if self._owner.is_here and not self._may_be_committed:
            self._files.abandon()
