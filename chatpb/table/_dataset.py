"""A table on disk: a directory of Parquet files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from google.protobuf.message import Message

from chatpb._errors import path_of
from chatpb.table import _commit
from chatpb.table._columns import RECORD, SCHEMA
from chatpb.table._errors import DatasetError
from chatpb.table._rows import batch_to_lines, from_batch
from chatpb.table._writer import JSON_BYTES, Added, DatasetWriter, Limits
from chatpb.v1.chat_completion_pb2 import ChatCompletion
from chatpb.v1.completion_record_pb2 import CompletionRecord

_READ_BYTES: Final = 4 << 20  # of rows that are read at once, as JSON
_READ_ROWS: Final = 16_384
_READ_NUMBERS: Final = 131_072  # rows, of columns of numbers
_FORMAT: Final = pa.dataset.ParquetFileFormat(
    default_fragment_scan_options=pa.dataset.ParquetFragmentScanOptions(
        page_checksum_verification=True, pre_buffer=False
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
        """The footer of the file.

        Raises:
            DatasetError: It is not a Parquet file.
        """
        return self._read(lambda path: pa.parquet.read_metadata(os.path.abspath(path)))

    @property
    def json_bytes(self) -> int | None:
        """How many bytes of JSON its records were, or None if chatpb did not write it."""
        text = (self.metadata.metadata or {}).get(JSON_BYTES)
        return None if text is None else int(text)

    def row_groups(self, where: pa.compute.Expression | None) -> list[int]:
        """The numbers of the row groups that may contain rows that match."""
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
            batch_size=self._rows_at_once(columns),
            use_threads=False,
            batch_readahead=1,
            fragment_readahead=1,
        )
        batches = scanner.to_batches()
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise self._failure("damaged", error) from None
            if batch is None:
                return
            if batch.num_rows:
                yield batch

    def _rows_at_once(self, columns: list[str] | None) -> int:
        types = [] if columns is None else [SCHEMA.field(name).type for name in columns]
        if types and all(map(pa.types.is_primitive, types)):
            return _READ_NUMBERS
        metadata = self.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        size: int = self.json_bytes or sum(group.total_byte_size for group in groups)
        rows: int = metadata.num_rows
        return min(max(_READ_BYTES * rows // max(size, 1), 1), _READ_ROWS)

    @staticmethod
    def _open(path: Path) -> pa.dataset.Dataset:
        # Arrow takes a relative path with a colon for a URI.
        dataset = pa.dataset.dataset([os.path.abspath(path)], SCHEMA, format=_FORMAT)
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
            raise self._failure("not a Parquet file", error) from None

    def _failure(self, what: str, error: Exception) -> DatasetError:
        if isinstance(error, OSError) and error.errno:  # Arrow's have none where data is damaged
            return DatasetError(self.path, os.strerror(error.errno).lower())
        return DatasetError(self.path, f"{what}: {' '.join(str(error).split())}")

    def _checked(self, read: Callable[[Path], Any]) -> Any:
        path = self.path
        if self.digest is not None and self.digest != _commit.footer_digest(path):
            raise DatasetError(path, "damaged: its footer is not what was written")
        return read(path)


class Dataset:
    """A directory of Parquet files with records, one in each row.

    DuckDB, pandas, Polars and Spark read it as ``DIRECTORY/*.parquet``. Several processes may read
    it while one adds to it; a file may be removed at any time, and its records are gone then.

    A forked child may read it too, and may add to it after the parent's `writer` has ended. A
    writer that was open at the fork is the parent's alone.

    Args:
        path: The directory. It need not exist to be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of(path)
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
        """Which input is in it, as the last writer noted it."""
        return _commit.read_commit(self.path).sources

    def scan(
        self, columns: list[str] | None = None, where: pa.compute.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Reads rows, in order and a few at a time.

        Reads only the columns that are needed, and only row groups that may contain rows that
        match.

        Args:
            columns: The names of the columns, of those in `SCHEMA`. Default: all.
            where: Which rows to read, such as ``pyarrow.compute.field("model") == "gpt-5"``.

        Raises:
            DatasetError: A file is not a table.
            KeyError: There is no such column.
        """
        for part in self.parts():
            yield from part.batches(columns, where)

    def records(self, where: pa.compute.Expression | None = None) -> Iterator[bytes]:
        """Reads records in binary form, as they were added.

        Args:
            where: As for `scan`.

        Raises:
            ConversionError: The rows are not what chatpb wrote.
            DatasetError: A file is not a table.
        """
        for batch in self.scan(where=where):
            yield from from_batch(batch)

    def lines(
        self,
        message_type: type[Message] = ChatCompletion,
        where: pa.compute.Expression | None = None,
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
            DatasetError: A file is not a table.
        """
        for batch in self.scan(where=where):
            yield batch_to_lines(batch, message_type)

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
            row_group_bytes: The most bytes of one row group, about. They are held in memory.
            row_group_rows: The most rows of one row group.

        Raises:
            DatasetLockedError: Another process adds to it.
            OSError: The files cannot be written. What was there before is whole.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with _commit.locked(self.path):
            limits = Limits(max_file_bytes, row_group_bytes, row_group_rows)
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
