"""The records of tables and logs: all, or those that match a condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby, islice, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from chatpb._cli.failure import CliError
from chatpb._cli.log_keys import LogKeys
from chatpb._cli.stored.files import LogFile, opened
from chatpb._errors import ConversionError
from chatpb._stream.fold import fold
from chatpb.table import Part, to_batch
from chatpb.table._rows.batches import from_batches
from chatpb.v1 import CompletionRecord

if TYPE_CHECKING:
    from chatpb._cli.stored.condition import Condition  # imports duckdb

_ROWS: Final = 1000  # records of a log that are matched at once


class Stored(NamedTuple):
    """A record that was stored.

    Attributes:
        data: The record, in binary form.
        place: Where it comes from, for error messages.
    """

    data: bytes
    place: str


def records(
    paths: Sequence[str], wanted: Condition | None = None, *, keys: LogKeys | None = None
) -> Iterator[Stored]:
    """The records of tables and logs.

    Args:
        paths: Directories of tables or logs, or files in them.
        wanted: Which records; None for all.
        keys: The file of keys of logs.

    Raises:
        CliError: A path is neither table nor log, or a row of a table is not a record.
        DatasetError: A table is damaged.
        LogError: A log is damaged.
    """
    files = opened(paths, keys)
    if wanted is None:
        for file in files:
            found = _rows(file) if isinstance(file, Part) else file.records()
            places = (f"{file.place}: record {number}" for number in count(1))
            yield from map(Stored, found, places)  # so that only the caller has a record
        return
    for _, group in groupby(files, _store):
        some = list(group)
        parts = [file for file in some if isinstance(file, Part)]
        if parts:
            yield from _of_parts(parts, wanted)
        for file in some:
            if isinstance(file, LogFile):
                yield from _of_log(file, wanted)


def _store(file: Part | LogFile) -> object:
    """What files must share to be looked at together: an object store, or this machine."""
    if isinstance(file, LogFile):
        return None
    return "" if file.location.folder is not None else file.location


def _rows(part: Part) -> Iterator[bytes]:
    return _records_of(part, part.rows_stored())


def _records_of(part: Part, rows: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    """The records of rows of a file, which is named if other tools wrote rows that are no records.

    Raises:
        CliError: A row is not one of a table.
    """
    try:
        yield from from_batches(rows)
    except ConversionError as error:
        raise CliError(f"{part.place}: {error.reason}") from None


def _of_parts(parts: Sequence[Part], wanted: Condition) -> Iterator[Stored]:
    """The records of a table. The files that have none are not opened again."""
    for number, rows in wanted.within(parts):
        part = parts[number]
        yield from map(Stored, _chosen(part, rows), repeat(part.place))


def _chosen(part: Part, wanted: np.ndarray[Any, Any]) -> Iterator[bytes]:
    """The records of some rows. Only the row groups around them are read."""
    start = 0
    for group in range(part.metadata.num_row_groups):
        end = start + part.metadata.row_group(group).num_rows
        if np.searchsorted(wanted, start) < np.searchsorted(wanted, end):
            yield from _records_of(part, _taken(part.rows_stored(group), start, wanted))
        start = end


def _taken(
    batches: Iterator[pa.RecordBatch], start: int, wanted: np.ndarray[Any, Any]
) -> Iterator[pa.RecordBatch]:
    """Those of some rows, of which the first one has a number, that are wanted."""
    for rows in batches:
        first, last = np.searchsorted(wanted, (start, start + rows.num_rows))
        numbers, start = wanted[first:last] - start, start + rows.num_rows
        given = [rows if len(numbers) == rows.num_rows else rows.take(pa.array(numbers))]
        del rows  # they may take most of the memory
        yield given.pop()


def _of_log(log: LogFile, wanted: Condition) -> Iterator[Stored]:
    found = log.records()
    while some := list(islice(found, _ROWS)):
        for row in wanted.among(to_batch(some)):
            yield Stored(some[row], log.place)


def completion_of(record: CompletionRecord) -> Any:
    """The completion of a record, folded if it came in chunks."""
    if record.HasField("completion") or not record.chunks:
        return record.completion
    try:
        return fold(record.chunks)
    except ConversionError:
        return record.completion
