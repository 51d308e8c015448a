"""Writes records to the files of a dataset."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet
from google.protobuf.message import Message

from chatpb._errors import binary_of
from chatpb._forks import Owner
from chatpb._record import json_size
from chatpb.table import _commit
from chatpb.table._columns import SCHEMA
from chatpb.table._encoding import parquet_options
from chatpb.table._errors import DatasetError
from chatpb.table._rows import json_to_batch, to_batch
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord

JSON_BYTES: Final = b"chatpb.json_bytes"  # in the metadata of a file
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
class Limits:
    """How much goes into a file and into a row group, see `Dataset.writer`."""

    file_bytes: int
    group_bytes: int
    group_rows: int


class _File:
    """A file that is being written."""

    def __init__(self) -> None:
        self.json_bytes = 0
        self.record_bytes = 0
        self._path: Path | None = None
        self._writer: pa.parquet.ParquetWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def open(self, path: Path, options: dict[str, Any]) -> None:
        self._path = path
        self._writer = pa.parquet.ParquetWriter(
            os.path.abspath(path),  # Arrow takes a relative path with a colon for a URI
            SCHEMA,
            write_page_checksum=True,
            **options,
        )

    def write(self, rows: pa.Table) -> None:
        """Writes rows as one row group."""
        assert self._writer is not None
        rows = rows.unify_dictionaries()  # a second dictionary would not be written as one
        self._writer.write_table(rows, row_group_size=rows.num_rows)

    def close(self) -> Path:
        """Ends the file, makes it durable, and returns its path."""
        assert self._writer is not None
        assert self._path is not None
        self._writer.add_key_value_metadata({JSON_BYTES: str(self.json_bytes).encode()})
        self._writer.close()
        _commit.sync(self._path)
        return self._path

    def abandon(self) -> None:
        if self._writer is not None:
            with suppress(OSError):  # of a disk that is full; the file is removed
                self._writer.close()


class DatasetWriter:
    """Takes the records that are added to a dataset, see `Dataset.writer`.

    It belongs to the process that entered the block. In a forked child, its methods and the end of
    the block raise `DatasetError`, and nothing of the dataset changes.

    Attributes:
        sources: What to note of the input, as JSON. It begins as what was noted before.
    """

    def __init__(self, folder: Path, level: int, limits: Limits) -> None:
        self.sources: dict[str, Any] = dict(_commit.read_commit(folder).sources)
        self._before = dict(self.sources)
        self._folder = folder
        self._level = level
        self._limits = limits
        self._prefix = f"part-{_commit.next_generation(folder):06}-{uuid.uuid4().hex[:8]}"
        self._slice: list[bytes] = []
        self._slice_type: type[Message] | None = None  # of JSON texts; None: they are records
        self._slice_bytes = self._slice_json_bytes = 0
        self._most_bytes = min(_SLICE_BYTES, limits.group_bytes)  # of the slice
        self._most_rows = min(_SLICE_ROWS, limits.group_rows)
        self._group: list[pa.RecordBatch] = []
        self._group_bytes = self._group_json_bytes = self._group_rows = 0
        self._file: _File | None = None
        self._parts: dict[str, str] = {}
        self._records = self._json_bytes = self._table_bytes = 0
        self._owner = Owner()

    @property
    def added(self) -> Added:
        """What was added; of use after the block."""
        return Added(self._records, self._json_bytes, self._table_bytes, tuple(self._parts))

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
        self._slice_json_bytes += json_size(data) if json_bytes is None else json_bytes
        self._add(data, len(data))

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
        self._check_owner()
        if self._slice_type is not message_type:
            self._end_slice(message_type)
        self._add(text, len(text))

    def _check_owner(self) -> None:
        if not self._owner.is_here:
            raise DatasetError(self._folder, self._owner.refusal("the writer"))

    def _add(self, data: bytes, size: int) -> None:
        if self._slice_bytes + size > self._most_bytes or len(self._slice) >= self._most_rows:
            self._end_slice(self._slice_type, size)
        self._slice.append(data)
        self._slice_bytes += size

    def _end_slice(self, next_type: type[Message] | None, next_bytes: int = 0) -> None:
        """Turns the records gathered so far into rows."""
        gathered, kind = self._slice, self._slice_type
        if gathered and kind is None:
            self._group.append(to_batch(gathered))
            self._group_bytes += self._slice_bytes
        elif gathered and kind is not None:
            self._group.append(json_to_batch(gathered, kind))
            self._group_bytes += self._group[-1].nbytes  # much less than JSON, or as much
            self._slice_json_bytes = self._slice_bytes
        self._records += len(gathered)
        self._json_bytes += self._slice_json_bytes
        self._group_json_bytes += self._slice_json_bytes
        self._group_rows += len(gathered)
        self._slice, self._slice_type = [], next_type
        self._slice_bytes = self._slice_json_bytes = 0
        limits = self._limits
        is_full = self._group_bytes + next_bytes > limits.group_bytes
        if is_full or self._group_rows >= limits.group_rows:
            self._end_group()
        self._most_bytes = min(_SLICE_BYTES, limits.group_bytes - self._group_bytes)
        self._most_rows = min(_SLICE_ROWS, limits.group_rows - self._group_rows)

    def _end_group(self) -> None:
        """Writes the rows as one row group."""
        if not self._group:
            return
        self._file = self._file or _File()
        if not self._file.is_open:
            name = f"{self._prefix}-{len(self._parts):05}.parquet"
            staging = self._folder / _commit.STAGING
            staging.mkdir(exist_ok=True)
            self._file.open(staging / name, parquet_options(self._group[0], level=self._level))
        self._file.write(pa.Table.from_batches(self._group))
        self._file.record_bytes += self._group_bytes
        self._file.json_bytes += self._group_json_bytes
        self._group = []
        self._group_rows = self._group_bytes = self._group_json_bytes = 0
        if self._file.record_bytes >= self._limits.file_bytes:
            self._end_file()

    def _end_file(self) -> None:
        if self._file is not None:
            path = self._file.close()
            self._table_bytes += path.stat().st_size
            self._parts[path.name] = _commit.footer_digest(path)
            self._file = None

    def commit(self) -> None:
        """Adds what was written to the dataset, at the end of the block."""
        self._check_owner()
        self._end_slice(None)
        self._end_group()
        self._end_file()
        if self._parts or self.sources != self._before:
            _commit.commit(self._folder, self._parts, self.sources)

    def abandon(self) -> None:
        """Closes the open file, after a failure."""
        if self._file is not None and self._owner.is_here:
            self._file.abandon()
