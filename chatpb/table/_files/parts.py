"""A file of a table, and how its rows are read."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet

from chatpb.table._delta.location import Location
from chatpb.table._delta.snapshot import Snapshot
from chatpb.table._delta.statistics import guarantee
from chatpb.table._delta.stores import filesystem
from chatpb.table._delta.trouble import one_line, refusal
from chatpb.table._errors import DatasetError
from chatpb.table._files.file_writer import JSON_BYTES, TRAILER, digests, footer_digest
from chatpb.table._files.quick import read
from chatpb.table._files.unknown import noted, unknown
from chatpb.table._rows.columns import RECORD, SCHEMA
from chatpb.table._rows.conform import plain
from chatpb.table._rows.long import LONG, let_go

if TYPE_CHECKING:
    import pyarrow.compute as pc
    from pyarrow import dataset

_READ_BYTES: Final = 4 << 20  # of rows that are read at once, as JSON
_READ_ROWS: Final = 16_384
_READ_NUMBERS: Final = 131_072  # rows, of columns of numbers
_TAIL: Final = 64 << 10  # bytes that are read for a footer, which is rarely larger
_MAGIC: Final = b"PAR1"


@functools.cache
def _format(*, is_near: bool) -> dataset.ParquetFileFormat:
    """How files are read; from object stores, in few and large pieces."""
    from pyarrow import dataset  # imports pandas, which writers do not need and wait for

    return dataset.ParquetFileFormat(
        default_fragment_scan_options=dataset.ParquetFragmentScanOptions(
            page_checksum_verification=True, pre_buffer=not is_near
        )
    )


def _dataset_of(
    fragment: dataset.Fragment,
    schema: pa.Schema,
    form: dataset.FileFormat,
    files: pa.fs.FileSystem,
) -> dataset.FileSystemDataset:
    from pyarrow import dataset  # see above

    return dataset.FileSystemDataset([fragment], schema, form, files)


def _rounded_up(largest: Mapping[str, Any]) -> dict[str, Any]:
    """The largest values of columns, or more: Delta's writers cut times after milliseconds."""
    return {name: _later(value) for name, value in largest.items()}


def _later(value: Any) -> Any:
    try:
        return value + timedelta(milliseconds=1) if isinstance(value, datetime) else value
    except OverflowError:  # in the last millisecond of Python's years
        return None


def _without_views(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.cast(_plain(rows.schema))


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([each.with_type(plain(each.type)) for each in schema])


def _has_views(kind: pa.DataType) -> bool:
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    is_view = pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    return is_view or any(map(_has_views, inner))


@dataclass(frozen=True)
class Part:
    """A file of a table.

    Attributes:
        name: Its path in the table, or its URI if it is elsewhere.
        location: Where the table is.
        size: Its bytes; None: unknown.
        rows: How many rows it has; None: unknown.
        partition: The values of the partition columns of the table, as text.
        smallest: The smallest value of some columns, or less.
        largest: The largest value of these columns, or more.
        time: Its place among the files of the table: when it was added, in milliseconds.
    """

    name: str
    location: Location
    size: int | None = None
    rows: int | None = None
    partition: Mapping[str, Any] = field(default_factory=dict)
    smallest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    largest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    time: int = 0

    @classmethod
    def of_file(cls, path: Path) -> Part:
        """A Parquet file of this machine, whether or not it belongs to a table."""
        return cls(path.name, Location(str(path.parent), path.parent), path.stat().st_size)

    @property
    def place(self) -> str:
        """Its path or URI."""
        return self.location.place(self.name)

    @property
    def is_local(self) -> bool:
        """Whether it has a path."""
        return self.location.local(self.name) is not None

    @property
    def path(self) -> Path:
        """Its path.

        Raises:
            DatasetError: It is on an object store.
        """
        if self.location.local(self.name) is None:
            raise DatasetError(self.place, "has no path: it is on an object store")
        return Path(self.place)

    @cached_property
    def metadata(self) -> pa.parquet.FileMetaData:
        """The footer of the file.

        Raises:
            DatasetError: It is not a Parquet file, or not the one that was written.
        """
        return self._read(lambda footer: pa.parquet.read_metadata(pa.BufferReader(footer)))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the file.

        Raises:
            DatasetError: As for `metadata`.
        """
        metadata = self.metadata
        return self._read(lambda _: metadata.schema.to_arrow_schema())

    @property
    def json_bytes(self) -> int | None:
        """How many bytes of JSON its records were, or None if chatpb did not write it."""
        text = (self.metadata.metadata or {}).get(JSON_BYTES)
        return int(text) if text is not None and text.isdigit() and len(text) < 19 else None

    @cached_property
    def unknown(self) -> frozenset[str]:
        """Columns and fields that this version of chatpb does not know, and records need."""
        metadata = self.metadata.metadata or {}
        if JSON_BYTES not in metadata:  # another tool wrote it
            return frozenset()
        found = unknown(self.schema)
        return frozenset(found) - noted(metadata)

    def check_known(self) -> None:
        """Checks that records can be made of the rows.

        Raises:
            DatasetError: A newer chatpb has moved values of them to columns that are unknown here.
        """
        if self.unknown:
            name = min(self.unknown)
            reason = f"a newer version of chatpb wrote its column {name}; update chatpb to read it"
            raise DatasetError(self.place, reason)

    def row_groups(self, where: pc.Expression | None) -> list[int]:
        """The numbers of the row groups that may contain rows that match."""
        fragments = self._open().get_fragments(where)
        found = [each for one in fragments for each in one.split_by_row_group(where, SCHEMA)]
        return [group.id for each in found for group in each.row_groups]

    def may_match(self, where: pc.Expression | None) -> bool:
        """Whether, by the statistics in the log, rows of the file may match. Opens no file."""
        if where is None or not (self.smallest or self.partition):
            return True
        files = pyarrow.fs.LocalFileSystem()
        # Of most of the columns nothing is asked, and each costs time.
        asked = str(where)
        form = _format(is_near=True)
        fragment = form.make_fragment(os.devnull, files, self._guarantee(asked))
        found = _dataset_of(fragment, SCHEMA, form, files).get_fragments(where)
        return any(True for _ in found)

    def batches(
        self,
        columns: list[str] | dict[str, pc.Expression] | None,
        where: pc.Expression | None,
        row_group: int | None = None,
        *,
        schema: pa.Schema = SCHEMA,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of it or of one row group, see `Dataset.scan`.

        Args:
            columns: The names of columns, or what to compute of them. Default: all, to make
                records of the rows.
            where: Which rows.
            row_group: The number of the row group.
            schema: The columns that there are. Default: those of this version of chatpb. Of files
                of others, dictionaries may be plain values.

        Raises:
            DatasetError: The file cannot be read, or not whole, see `check_known`.
        """
        if columns is None and schema is SCHEMA:
            self.check_known()
        if self._with_views and (where is not None or isinstance(columns, dict)):
            yield from self._computed(columns, where, row_group, schema)
            return
        if row_group is None and self._has_long:
            for group in self.row_groups(where):
                yield from self.batches(columns, where, group, schema=schema)
            return
        file = self._open(schema)
        if row_group is not None:
            (fragment,) = file.get_fragments()
            schema = self._readable(schema)
            fragment = fragment.subset(row_group_ids=[row_group], schema=schema)
            file = _dataset_of(fragment, schema, fragment.format, fragment.filesystem)
        scanner = file.scanner(
            columns=columns,
            filter=where,
            batch_size=self._rows_at_once(columns),
            use_threads=False,
            batch_readahead=1,
            fragment_readahead=1,
        )
        try:
            yield from let_go(
                scanner.to_batches(), self._count(row_group) if where is None else None
            )
        except (OSError, pa.ArrowException) as error:
            raise self._failure("damaged", error) from None

    def _computed(
        self,
        columns: list[str] | dict[str, pc.Expression] | None,
        where: pc.Expression | None,
        row_group: int | None,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        """What `batches` gives of a file with views, which Arrow does not compare with texts."""
        from pyarrow import dataset  # see above

        for rows in self.batches(list(schema.names), None, row_group, schema=schema):
            scanner = dataset.InMemoryDataset(rows).scanner(
                columns=columns, filter=where, use_threads=False
            )
            yield from (each for each in scanner.to_batches() if each.num_rows)

    def _count(self, row_group: int | None) -> int:
        """How many rows it has, or one row group, by its footer."""
        metadata = self.metadata
        count = metadata.num_rows if row_group is None else metadata.row_group(row_group).num_rows
        return int(count)

    @cached_property
    def _has_long(self) -> bool:
        """Whether a row is so long that it is a row group: others are not read ahead of it."""
        metadata = self.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        return any(group.num_rows == 1 and group.total_byte_size >= LONG for group in groups)

    def rows_stored(self, row_group: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of it or of one row group, to make records of them.

        The same as `batches`, but faster: of the columns of `SCHEMA`, a batch lacks those that the
        file lacks.

        Args:
            row_group: The number of the row group.

        Raises:
            DatasetError: As for `batches`.
        """
        if any(name in SCHEMA.names for name in self.partition):  # columns that only the log has
            yield from self.batches(None, None, row_group)
            return
        self.check_known()
        self._check_record()
        metadata = self.metadata
        groups = range(metadata.num_row_groups) if row_group is None else [row_group]
        try:
            with self.open() as stream:
                batches = read(
                    stream,
                    metadata,
                    self._rows_at_once(None),
                    groups,
                    is_own=JSON_BYTES in (metadata.metadata or {}),
                    is_near=self.is_local,
                )
                yield from map(_without_views, batches) if self._with_views else batches
        except (OSError, pa.ArrowException) as error:
            raise self._failure("damaged", error) from None

    def _check_record(self) -> None:
        if RECORD not in self.schema.names:
            raise DatasetError(self.place, f"not a table of chatpb: there is no column {RECORD}")

    def _rows_at_once(self, columns: list[str] | dict[str, pc.Expression] | None) -> int:
        types = (
            [] if not isinstance(columns, list) else [SCHEMA.field(name).type for name in columns]
        )
        if types and all(map(pa.types.is_primitive, types)):
            return _READ_NUMBERS
        metadata = self.metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        size: int = self.json_bytes or sum(group.total_byte_size for group in groups)
        rows: int = metadata.num_rows
        return min(max(_READ_BYTES * rows // max(size, 1), 1), _READ_ROWS)

    def _guarantee(self, asked: str | None = None) -> pc.Expression | None:
        """What is known of all rows without reading the file.

        Args:
            asked: A condition as text; columns that it does not contain are left out.
        """
        if not (self.smallest or self.partition):
            return None
        import pyarrow.compute as pc  # takes time, see `kernels`

        smallest = {
            name: value for name, value in self.smallest.items() if asked is None or name in asked
        }
        known = list(guarantee(smallest, dict(self.largest)))
        for name, value in self.partition.items():
            if name in SCHEMA.names:  # a partition column of somebody else
                kind = SCHEMA.field(name).type
                column = pc.field(name)
                known.append(
                    column.is_null() if value is None else column == pa.scalar(value).cast(kind)
                )
        return functools.reduce(operator.and_, known) if known else None

    def _open(self, schema: pa.Schema = SCHEMA) -> dataset.Dataset:
        self._check_record()
        schema = self._readable(schema)
        files = filesystem(self.location)
        path = self.location.local(self.name) or self.name
        form = _format(is_near=self.location.local(self.name) is not None)
        fragment = form.make_fragment(path, files, self._guarantee())
        return _dataset_of(fragment, schema, form, files)

    def _readable(self, schema: pa.Schema) -> pa.Schema:
        """Columns as Arrow can read them: it makes no dictionaries of what delta-rs writes."""
        return _plain(schema) if self._with_views else schema

    @cached_property
    def _with_views(self) -> bool:
        """Whether it has texts as views, of which Arrow can do little."""
        return any(_has_views(each.type) for each in self.schema)

    def open(self) -> Any:
        """The file, as pyarrow reads it.

        Raises:
            OSError: It cannot be opened.
        """
        return filesystem(self.location).open_input_file(
            self.location.local(self.name) or self.name
        )

    def _read(self, read: Callable[[bytes], Any]) -> Any:
        try:
            return read(self._footer())
        except FileNotFoundError:
            raise DatasetError(self.place, "was removed meanwhile") from None
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise self._failure("not a Parquet file", error) from None

    def check_footer(self) -> None:
        """Checks that the file is there, as long as it was, with the footer that was written.

        Raises:
            DatasetError: It is not.
        """
        self._read(lambda _: None)

    def _failure(self, what: str, error: Exception) -> DatasetError:
        if isinstance(error, OSError) and error.errno:  # Arrow's have none where data is damaged
            return DatasetError(self.place, os.strerror(error.errno).lower())
        return DatasetError(self.place, refusal(error) or f"{what}: {one_line(error)}")

    def _footer(self) -> bytes:
        """The end of the file with the whole footer, which is what was written."""
        with self.open() as stream:
            size = stream.size()
            if self.size is not None and size != self.size:
                raise DatasetError(
                    self.place, f"damaged: it has {size:,} bytes, not {self.size:,} as written"
                )
            begin = max(size - _TAIL, 0)
            tail: bytes = stream.read_at(size - begin, begin)
            footer = int.from_bytes(tail[-TRAILER:-4], "little") + TRAILER
            if not tail.endswith(_MAGIC) or footer > size:
                raise DatasetError(self.place, "not a Parquet file: its end is missing")
            if footer > len(tail):
                tail = stream.read_at(footer, size - footer)
        expected = digests(self.name)
        if expected is not None and footer_digest(tail[-footer:]) != expected[1]:
            raise DatasetError(self.place, "damaged: its footer is not what was written")
        return tail


def parts(
    snapshot: Snapshot, where: pc.Expression | None = None, *, with_statistics: bool = False
) -> list[Part]:
    """The files of a table, in the order in which they were added; see `Dataset.files`."""
    wanted = ["size_bytes", "num_records", "partition", "modification_time"]
    if where is not None or with_statistics:
        wanted += ["min", "max"]
    found = [
        Part(
            name,
            snapshot.location,
            add["size_bytes"],
            add.get("num_records"),
            add.get("partition") or {},
            add.get("min") or {},
            _rounded_up(add.get("max") or {}),
            add["modification_time"],
        )
        for name, add in zip(snapshot.names, snapshot.described(wanted), strict=True)
    ]
    return [part for part in found if part.may_match(where)]
