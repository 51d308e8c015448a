"""A table on disk: a directory of Parquet files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from chatpb import _commit
from chatpb._columns import RECORD, SCHEMA
from chatpb._dataset_errors import DatasetError
from chatpb._record import json_size
from chatpb._table import from_batch, parquet_options, to_batch
from chatpb.v1.completion_record_pb2 import CompletionRecord

JSON_BYTES: Final = b"chatpb.json_bytes"  # in the metadata of a file
_SLICE_BYTES: Final = 8 << 20  # of records that become a batch at once
_SLICE_ROWS: Final = 10_000
_READ_BYTES: Final = 4 << 20  # of rows that are read at once, as JSON
_READ_ROWS: Final = 4096
_FORMAT: Final = pa.dataset.ParquetFileFormat(
    default_fragment_scan_options=pa.dataset.ParquetFragmentScanOptions(
        page_checksum_verification=True
    )
)


@dataclass(frozen=True)
class Part:
    """A file of a dataset.

    Attributes:
        name: Its name.
        folder: The directory of the dataset.
        digest: That of its footer, if chatpb wrote it.
    """

    name: str
    folder: Path
    digest: str | None = None

    @property
    def path(self) -> Path:
        """Where it is."""
        return _commit.locate(self.folder, self.name)

    @cached_property
    def metadata(self) -> pa.parquet.FileMetaData:
        """What Parquet says of it.

        Raises:
            DatasetError: It is no Parquet file.
        """
        return self._read(pa.parquet.read_metadata)

    @property
    def json_bytes(self) -> int | None:
        """How many bytes of JSON its records were, or None if chatpb did not write it."""
        text = (self.metadata.metadata or {}).get(JSON_BYTES)
        return None if text is None else int(text)

    def row_groups(self, where: pa.compute.Expression | None) -> list[int]:
        """The numbers of the row groups in which there may be rows that are wanted."""
        (fragment,) = self._read(self._open).get_fragments()
        found = fragment.split_by_row_group(where, SCHEMA)
        return [group.id for each in found for group in each.row_groups]

    def batches(
        self,
        columns: list[str] | None,
        where: pa.compute.Expression | None,
        row_group: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of it or of one row group, see `Dataset.scan`."""
        dataset = self._read(self._open)
        if row_group is not None:
            (fragment,) = dataset.get_fragments()
            fragment = fragment.subset(row_group_ids=[row_group], schema=SCHEMA)
            dataset = pa.dataset.FileSystemDataset(
                [fragment], SCHEMA, fragment.format, fragment.filesystem
            )
        scanner = dataset.scanner(
            columns=columns,
            filter=where,
            batch_size=self._rows_at_once(),
            batch_readahead=1,
            fragment_readahead=1,
        )
        batches = scanner.to_batches()
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                text = " ".join(str(error).split())
                raise DatasetError(self.path, f"damaged: {text}") from None
            if batch is None:
                return
            if batch.num_rows:
                yield batch

    def _rows_at_once(self) -> int:
        metadata = self.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        size: int = self.json_bytes or sum(group.total_byte_size for group in groups)
        rows: int = metadata.num_rows
        return min(max(_READ_BYTES * rows // max(size, 1), 1), _READ_ROWS)

    @staticmethod
    def _open(path: Path) -> pa.dataset.Dataset:
        dataset = pa.dataset.dataset([str(path)], SCHEMA, format=_FORMAT)
        (fragment,) = dataset.get_fragments()
        if RECORD not in fragment.physical_schema.names:
            raise DatasetError(path, f"not a table of chatpb: there is no column {RECORD}")
        return dataset

    def _read(self, read: Callable[[Path], Any]) -> Any:
        try:
            try:
                return self._checked(read)
            except FileNotFoundError:
                return self._checked(read)  # it was moved to its place meanwhile
        except FileNotFoundError:
            raise DatasetError(self.folder / self.name, "was removed meanwhile") from None
        except (OSError, pa.ArrowException) as error:
            text = " ".join(str(error).split())
            raise DatasetError(self.path, f"not a Parquet file: {text}") from None

    def _checked(self, read: Callable[[Path], Any]) -> Any:
        path = self.path
        if self.digest is not None and self.digest != _commit.footer_digest(path):
            raise DatasetError(path, "damaged: its footer is not what was written")
        return read(path)


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


class Dataset:
    """A directory of Parquet files with records, one in each row.

    DuckDB, pandas, Polars and Spark read it as ``DIRECTORY/*.parquet``. Several processes may read
    it while one adds to it; a file may be removed at any time, and its records are gone then.

    Args:
        path: The directory. It need not exist to be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            _commit.recover(self.path)

    def parts(self) -> list[Part]:
        """Its files at this moment.

        Raises:
            DatasetError: There is no such directory, or no table in it.
        """
        commit, names = _commit.snapshot(self.path)
        if not names and not commit.generation:
            raise DatasetError(self.path, "no table: there are no Parquet files in it")
        return [Part(name, self.path, commit.parts.get(name)) for name in names]

    def sources(self) -> Mapping[str, Any]:
        """What the last who added to it noted of the input that is in it."""
        return _commit.read_commit(self.path).sources

    def scan(
        self, columns: list[str] | None = None, where: pa.compute.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Reads rows, in order and a few at a time.

        Only the columns that are needed are read, and of these only row groups in which there may
        be rows that are wanted.

        Args:
            columns: The names of the columns, of those in `SCHEMA`. Default: all.
            where: Which rows are wanted, such as ``pyarrow.compute.field("model") == "gpt-5"``.

        Raises:
            DatasetError: A file is no table.
        """
        for part in self.parts():
            yield from part.batches(columns, where)

    def records(self, where: pa.compute.Expression | None = None) -> Iterator[bytes]:
        """Reads records in binary form, as they were added.

        Args:
            where: As for `scan`.

        Raises:
            ConversionError: The rows are not what chatpb wrote.
            DatasetError: A file is no table.
        """
        for batch in self.scan(where=where):
            yield from from_batch(batch)

    @contextmanager
    def writer(
        self,
        *,
        level: int = 3,
        max_file_bytes: int = 1 << 30,
        row_group_bytes: int = 64 << 20,
        row_group_rows: int = 100_000,
    ) -> Iterator[DatasetWriter]:
        """Adds records: all that were written when the block ends, or none if it fails.

        Args:
            level: The level of zstd, from 1 to 22.
            max_file_bytes: The most bytes of records in binary form, about, of one file.
            row_group_bytes: Likewise of one row group. So much is held in memory.
            row_group_rows: The most rows of one row group.

        Raises:
            DatasetLockedError: Another process adds to it.
            OSError: The files cannot be written. What was there before is whole.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with _commit.locked(self.path):
            limits = _Limits(max_file_bytes, row_group_bytes, row_group_rows)
            writer = DatasetWriter(self.path, level, limits)
            try:
                yield writer
                writer.commit()
            except BaseException:
                writer.abandon()
                raise

    def append(self, records: Iterable[bytes | CompletionRecord], **options: Any) -> Added:
        """Adds records, all or none.

        Args:
            records: The records, as messages or in binary form.
            **options: As for `writer`.

        Raises:
            ConversionError: Bytes are not the binary form of a record.
            DatasetLockedError: Another process adds to it.
            OSError: The files cannot be written. What was there before is whole.
        """
        with self.writer(**options) as writer:
            for record in records:
                writer.write(record)
        return writer.added


@dataclass(frozen=True, slots=True)
class _Limits:
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
            str(path), SCHEMA, write_page_checksum=True, **options
        )

    def write(self, rows: pa.Table) -> None:
        """Writes rows as one row group."""
        assert self._writer is not None
        rows = rows.unify_dictionaries()  # a second dictionary would not be written as one
        self._writer.write_table(rows, row_group_size=rows.num_rows)

    def close(self) -> Path:
        """Ends the file, makes it durable, and says where it is."""
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

    Attributes:
        sources: What to note of the input, as JSON. It begins as what was noted before.
    """

    def __init__(self, folder: Path, level: int, limits: _Limits) -> None:
        self.sources: dict[str, Any] = dict(_commit.read_commit(folder).sources)
        self._before = dict(self.sources)
        self._folder = folder
        self._level = level
        self._limits = limits
        self._prefix = f"part-{_commit.next_generation(folder):06}-{uuid.uuid4().hex[:8]}"
        self._slice: list[bytes] = []
        self._slice_bytes = 0
        self._group: list[pa.RecordBatch] = []
        self._group_bytes = 0
        self._group_rows = 0
        self._file: _File | None = None
        self._parts: dict[str, str] = {}
        self._records = self._json_bytes = self._table_bytes = 0

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
            ConversionError: Bytes are not the binary form of a record. Which, its path says, among
                those that become rows together.
        """
        data = record if isinstance(record, bytes) else record.SerializeToString()
        held, limits = self._group_bytes + self._slice_bytes, self._limits
        if held and held + len(data) > limits.group_bytes:
            self._end_group()
        self._slice.append(data)
        self._slice_bytes += len(data)
        self._file = self._file or _File()
        size = json_size(data) if json_bytes is None else json_bytes
        self._file.json_bytes += size
        self._json_bytes += size
        self._records += 1
        if self._group_rows + len(self._slice) >= limits.group_rows:
            self._end_group()
        elif self._slice_bytes >= _SLICE_BYTES or len(self._slice) >= _SLICE_ROWS:
            self._end_slice()

    def _end_slice(self) -> None:
        if self._slice:
            self._group.append(to_batch(self._slice))
            self._group_rows += len(self._slice)
            self._group_bytes += self._slice_bytes
            self._slice = []
            self._slice_bytes = 0

    def _end_group(self) -> None:
        self._end_slice()
        if not self._group:
            return
        assert self._file is not None
        if not self._file.is_open:
            name = f"{self._prefix}-{len(self._parts):05}.parquet"
            staging = self._folder / _commit.STAGING
            staging.mkdir(exist_ok=True)
            self._file.open(staging / name, parquet_options(self._group[0], level=self._level))
        self._file.write(pa.Table.from_batches(self._group))
        self._file.record_bytes += self._group_bytes
        self._group = []
        self._group_rows = self._group_bytes = 0
        if self._file.record_bytes >= self._limits.file_bytes:
            self._end_file()

    def _end_file(self) -> None:
        if self._file is not None:
            path = self._file.close()
            self._table_bytes += path.stat().st_size
            self._parts[path.name] = _commit.footer_digest(path)
            self._file = None

    def commit(self) -> None:
        self._end_group()
        self._end_file()
        if self._parts or self.sources != self._before:
            _commit.commit(self._folder, self._parts, self.sources)

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
