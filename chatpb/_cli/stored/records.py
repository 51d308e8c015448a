"""The records of tables and logs: all, or those that match a predicate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import pyarrow as pa

from chatpb._cli.log_keys import LogKeys
from chatpb._cli.stored.files import LogFile, opened
from chatpb._cli.stored.predicate import Predicate
from chatpb._errors import ConversionError
from chatpb._stream.fold import fold
from chatpb.table import Part, from_batch, to_batch
from chatpb.v1 import CompletionRecord

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
    paths: Sequence[str], wanted: Predicate | None = None, *, keys: LogKeys | None = None
) -> Iterator[Stored]:
    """The records of tables and logs.

    Args:
        paths: Directories of tables or logs, or files in them.
        wanted: Which records; None for all.
        keys: The file of keys of logs.

    Raises:
        CliError: A path is neither table nor log.
        DatasetError: A table is damaged.
        LogError: A log is damaged.
    """
    for file in opened(paths, keys):
        if isinstance(file, Part):
            found = _of_part(file, wanted)
        else:
            found = file.records() if wanted is None else _of_log(file, wanted)
        for number, data in enumerate(found, 1):
            yield Stored(data, f"{file.place}: record {number}" if wanted is None else file.place)


def _of_part(part: Part, wanted: Predicate | None) -> Iterator[bytes]:
    if wanted is None:
        for rows in part.batches(None, None):
            yield from from_batch(rows)
        return
    names = wanted.columns()
    looked_at = sorted(names)
    for group in part.row_groups(wanted.pushed()):
        # All columns are read only of row groups in which a row may match.
        some = part.batches(looked_at, None, group)
        if any(wanted.mask(rows).true_count for rows in some):
            for rows in part.batches(None, None, group):
                yield from from_batch(_chosen(rows, wanted))


def _of_log(log: LogFile, wanted: Predicate) -> Iterator[bytes]:
    found = log.records()
    while some := list(islice(found, _ROWS)):
        rows = to_batch(some)
        mask = wanted.mask(rows)
        yield from (data for data, hit in zip(some, mask.to_pylist(), strict=True) if hit)


def _chosen(rows: pa.RecordBatch, wanted: Predicate) -> pa.RecordBatch:
    return rows.filter(wanted.mask(rows))


def completion_of(record: CompletionRecord) -> Any:
    """The completion of a record, folded if it came in chunks."""
    if record.HasField("completion") or not record.chunks:
        return record.completion
    try:
        return fold(record.chunks)
    except ConversionError:
        return record.completion
