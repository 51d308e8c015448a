"""Writes rows to Parquet files at their places. They belong to a table once they are committed.

A file's name ends in digests of its bytes, so that they are in the log of the table and are copied
with it. A file that was never committed is garbage, which `vacuum` removes.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet

from chatpb import _endings
from chatpb.table._delta.changes import NewFile
from chatpb.table._delta.commits import sync
from chatpb.table._delta.location import Location
from chatpb.table._delta.partitions import Partitioning
from chatpb.table._delta.statistics import Statistics
from chatpb.table._delta.stores import filesystem, upload
from chatpb.table._delta.trouble import one_line
from chatpb.table._errors import DatasetError
from chatpb.table._files.encoding import long_prefixed, parquet_options
from chatpb.table._files.repeats import Repeats
from chatpb.table._files.trim import has_fields, trimmed, used_schema
from chatpb.table._files.unknown import note_of
from chatpb.table._rows.columns import RECORD
from chatpb.table._rows.long import LONG, release

JSON_BYTES: Final = b"chatpb.json_bytes"  # in the metadata of a file
WRITING: Final = ".writing"  # after the name of a file that is not whole yet
_DIGESTS: Final = re.compile(r"-([0-9a-f]{32})-([0-9a-f]{16})\.parquet$")
_OPEN: Final = 32  # files of different partitions that are written at the same time
_MORE: Final = 4  # times the bytes of a row group, at most, if its texts repeat each other
_PIECE: Final = 1 << 20
TRAILER: Final = 8  # bytes: the length of the footer, and the magic word


@dataclass(frozen=True, slots=True)
class Limits:
    """How much goes into a file and into a row group, see `Dataset.writer`."""

    file_bytes: int
    group_bytes: int
    group_rows: int


def digests(name: str) -> tuple[str, str] | None:
    """The digests of a file of this name, of all its bytes and of its footer; None if not ours."""
    found = _DIGESTS.search(name)
    return None if found is None else (found[1], found[2])


def footer_digest(footer: bytes) -> str:
    """The digest of a footer, which Parquet does not protect by a checksum, as it does pages."""
    return hashlib.sha256(footer).hexdigest()[:16]


class _Written:
    """The digest of a file that Arrow writes, by reading again what it has written.

    Arrow writes to the file itself: to a file object of Python, it would copy each page again.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    def catch_up(self) -> None:
        """Reads what was written since the last time, which the system still has in memory."""
        self._stream.seek(self.size)
        while piece := self._stream.read(_PIECE):
            self._digest.update(piece)
            self.size += len(piece)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()[:32]


class _File:
    """A file that is being written.

    Attributes:
        json_bytes: The bytes of the JSON of its records.
        record_bytes: The bytes of its records, about.
    """

    def __init__(
        self,
        location: Location,
        prefix: Callable[[], str],
        rows: pa.Table,
        level: int,
        partition: dict[str, Any],
        note: dict[bytes, bytes],
    ) -> None:
        self._note = note
        self.json_bytes = self.record_bytes = 0
        self._schema = used_schema(rows, [RECORD])
        self._location = location
        self._prefix = prefix
        self._partition = partition
        self._statistics = Statistics()
        self._path = location.local(f"{prefix()}{_endings.PARQUET}{WRITING}")
        self._raw, self._sink = _opened(self._path)
        self._stream = _Written(self._raw)
        try:
            options = parquet_options(trimmed(rows, self._schema), level=level)
            self._encodings: dict[str, str] = options["column_encoding"]
            with _named(self._path):
                self._writer = pa.parquet.ParquetWriter(
                    self._sink, self._schema, write_page_checksum=True, **options
                )
        except BaseException:  # the disk may be full already
            self._remove()
            raise

    def takes(self, rows: pa.Table) -> bool:
        """Whether the file has all columns, and fields in them, of the rows that are not null.

        A long row must fit the encodings too, which the first rows of the file have decided.
        """
        is_there = has_fields(self._schema, used_schema(rows, [RECORD]))
        return is_there and not (
            rows.num_rows == 1 and rows.nbytes >= LONG and long_prefixed(rows, self._encodings)
        )

    def write(self, rows: pa.Table) -> None:
        """Writes rows as one row group."""
        rows = trimmed(rows, self._schema)
        rows = rows.unify_dictionaries()  # a second dictionary would not be written as one
        with _named(self._path):
            self._writer.write_table(rows, row_group_size=rows.num_rows)
        self._stream.catch_up()
        self._statistics.add(rows)

    def close(self) -> NewFile:
        """Ends the file and makes it durable, at its place."""
        self._writer.add_key_value_metadata(
            {JSON_BYTES: str(self.json_bytes).encode(), **self._note}
        )
        with _named(self._path):
            self._writer.close()
            self._sink.close()
        self._stream.catch_up()
        footer = _footer(self._raw)
        name = f"{self._prefix()}-{self._stream.hexdigest()}-{footer_digest(footer)}.parquet"
        if self._path is None:
            self._upload(name)
        else:
            os.fsync(self._raw.fileno())
            os.rename(self._path, os.path.join(os.path.dirname(self._path), name))
            sync(os.path.dirname(self._path))
        self._raw.close()
        return NewFile(
            name,
            self._stream.size,
            self._statistics.rows,
            self.json_bytes,
            self._statistics.json(),
            self._partition,
            time.time_ns() // 1_000_000,
        )

    def _upload(self, name: str) -> None:
        self._raw.seek(0)
        try:
            upload(self._location, name, self._raw)
        except OSError as error:
            reason = f"cannot be written: {one_line(error)}"
            raise DatasetError(self._location.place(name), reason) from error

    def abandon(self) -> None:
        """Removes the file."""
        with suppress(Exception):  # of a disk that is full
            self._writer.close()
        self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            self._sink.close()
            self._raw.close()
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)


@contextmanager
def _named(path: str | None) -> Iterator[None]:
    """Names the file that cannot be written, or where temporary ones are: Arrow does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        name = path or tempfile.gettempdir()
        raise OSError(error.errno, os.strerror(error.errno), name) from error


def _opened(path: str | None) -> tuple[IO[bytes], pa.OSFile]:
    """A new file, to be read and to be written; without a path, a temporary one without a name."""
    if path is not None:
        return open(path, "xb+"), pa.OSFile(path, mode="w")
    number, path = tempfile.mkstemp()
    try:
        return os.fdopen(number, "rb+"), pa.OSFile(path, mode="w")
    finally:
        os.unlink(path)


def _footer(stream: IO[bytes]) -> bytes:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(end - TRAILER)
    size = int.from_bytes(stream.read(4), "little") + TRAILER
    stream.seek(end - size)
    return stream.read()


class _Group:
    """Rows of one partition that become a row group, and the file that they go to."""

    def __init__(self, partition: dict[str, Any]) -> None:
        self.partition = partition
        self.batches: list[pa.RecordBatch] = []
        self.rows = self.held_bytes = self.record_bytes = self.json_bytes = 0
        self.file: _File | None = None


class FileWriter:
    """Writes rows to new files of a table. Others see them once they are committed.

    Args:
        location: Where the table is.
        level: The level of zstd.
        limits: The sizes of files and row groups.
        partitioning: How the files of the table are apart.
        others: Columns and fields of other tools, which belong to no record.
    """

    def __init__(
        self,
        location: Location,
        level: int,
        limits: Limits,
        partitioning: Partitioning | None = None,
        others: Iterable[str] = (),
    ) -> None:
        self._note = note_of(others)
        self._location = location
        self._level = level
        self._limits = limits
        self._partitioning = partitioning
        self._groups: dict[str | None, _Group] = {}
        self._held = 0  # bytes of records in all groups, see `add`
        self._repeats = Repeats()
        self._done: list[NewFile] = []
        self._random = uuid.uuid4().int
        self._time = self._count = 0

    @property
    def free_bytes(self) -> int:
        """How many bytes of records fit into memory before a row group is written."""
        return max(self._limits.group_bytes - self._held, 0)

    @property
    def free_rows(self) -> int:
        """How many rows surely fit into the row group that is gathered."""
        rows = max((group.rows for group in self._groups.values()), default=0)
        return max(self._limits.group_rows - rows, 0)

    def add(self, rows: pa.RecordBatch, record_bytes: int, json_bytes: int) -> None:
        """Takes rows.

        What a row group holds is counted without the texts that were there before, but as a quarter
        of its bytes at least, so that memory is bounded whatever the texts are.

        Args:
            rows: Rows with all columns of `SCHEMA`, at most `free_rows`. A long one that comes
                alone becomes a row group: nobody has to hold others with it.
            record_bytes: The bytes of their records in binary form, about.
            json_bytes: The bytes of their JSON.
        """
        if not rows.num_rows:
            return
        is_long = rows.num_rows == 1 and record_bytes >= LONG
        for value, some in self._split(rows):
            name = {} if self._partitioning is None else {self._partitioning.name: value}
            group = self._groups.setdefault(value, _Group(name))
            if is_long:
                self._end_group(group)
                release()
            share = some.num_rows / rows.num_rows
            held = round(
                max(record_bytes * share - self._repeats.count(some), record_bytes * share / _MORE)
            )
            group.batches.append(some)
            group.rows += some.num_rows
            group.record_bytes += round(record_bytes * share)
            group.json_bytes += round(json_bytes * share)
            group.held_bytes += held
            self._held += held
            if is_long or group.rows >= self._limits.group_rows:
                self._end_group(group)
        while self._held >= self._limits.group_bytes:
            self._end_group(max(self._groups.values(), key=lambda group: group.held_bytes))

    def make_room(self, record_bytes: int) -> None:
        """Writes row groups until that many bytes of records fit, or nothing is held."""
        while self._held and self._held + record_bytes > self._limits.group_bytes:
            self._end_group(max(self._groups.values(), key=lambda group: group.held_bytes))

    def _split(self, rows: pa.RecordBatch) -> Iterator[tuple[str | None, pa.RecordBatch]]:
        if self._partitioning is None:
            yield None, rows
        else:
            yield from self._partitioning.split(rows)

    def _end_group(self, group: _Group) -> None:
        """Writes the rows of a partition as one row group."""
        if not group.batches:
            self._held -= group.held_bytes
            group.held_bytes = group.record_bytes = 0
            return
        rows = pa.Table.from_batches(group.batches)
        if group.file is not None and not group.file.takes(rows):
            self._end_file(group)
        if group.file is None:
            self._close_others()
            group.file = _File(
                self._location, self._prefix, rows, self._level, group.partition, self._note
            )
        group.file.write(rows)
        group.file.record_bytes += group.record_bytes
        group.file.json_bytes += group.json_bytes
        self._held -= group.held_bytes
        self._repeats.forget()
        group.batches = []
        group.rows = group.held_bytes = group.record_bytes = group.json_bytes = 0
        if group.file.record_bytes >= self._limits.file_bytes:
            self._end_file(group)

    def _close_others(self) -> None:
        """Ends a file if too many are open."""
        opened = [group for group in self._groups.values() if group.file is not None]
        if len(opened) >= _OPEN:
            self._end_file(max(opened, key=lambda group: group.file.record_bytes))  # type: ignore[union-attr]

    def _prefix(self) -> str:
        """The name of a file before its digests: a UUID of version 7, which begins with the time.

        It is the time when the file is ended, which decides what `vacuum` takes for garbage.
        """
        now = max(time.time_ns() // 1_000_000, self._time)
        self._time, self._count = now, self._count + 1
        number = now << 80 | 7 << 76 | (self._count & 0xFFF) << 64 | 2 << 62
        return f"part-{uuid.UUID(int=number | self._random & (1 << 62) - 1)}"

    def _end_file(self, group: _Group) -> None:
        if group.file is not None:
            self._done.append(group.file.close())
            group.file = None

    def close(self) -> list[NewFile]:
        """Ends all files, and returns what was written, in order."""
        for group in self._groups.values():
            self._end_group(group)
            self._end_file(group)
        return self._done

    def abandon(self) -> None:
        """Removes the files, which were not committed."""
        for group in self._groups.values():
            if group.file is not None:
                group.file.abandon()
        for file in self._done:
            remove(self._location, file.name)


def remove(location: Location, name: str) -> None:
    """Removes a file that no commit has; what cannot be removed is left to `vacuum`."""
    with suppress(Exception):
        path = location.local(name)
        if path is not None:
            os.unlink(path)
        else:
            filesystem(location).delete_file(name)
