"""Checks whether the files of a table are what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from chatpb._errors import ConversionError
from chatpb.table._care.audit import log_damage
from chatpb.table._care.whole import check_digest
from chatpb.table._delta.location import Location
from chatpb.table._delta.partitions import PARTITIONINGS
from chatpb.table._delta.statistics import COUNTED
from chatpb.table._errors import DatasetError
from chatpb.table._files.file_writer import digests
from chatpb.table._files.parts import Part
from chatpb.table._rows.batches import from_batch

_PARTITIONS: Final = {each.name: each for each in PARTITIONINGS.values()}


@dataclass(frozen=True, slots=True)
class Verified:
    """What `Dataset.verify` found.

    Attributes:
        files: How many files were read.
        records: How many records they have.
        table_bytes: The bytes of the files.
        without_digest: How many files others wrote, so that there is no digest to compare with.
        damaged: The errors of files that are missing or damaged, those of the log first.
        log_damaged: How many of them are of Delta's log.
    """

    files: int
    records: int
    table_bytes: int
    without_digest: int
    damaged: tuple[DatasetError, ...]
    log_damaged: int = 0


def verify(location: Location, parts: Iterable[Part], advance: Callable[[int], object]) -> Verified:
    """Reads the log and files whole, see `Dataset.verify`.

    Args:
        location: Where the table is.
        parts: The files, with their statistics.
        advance: Called with the number of bytes read.
    """
    files = records = size = without = 0
    of_log = log_damage(location)
    damaged = list(of_log)
    for part in parts:
        files += 1
        expected = digests(part.name)
        without += expected is None
        try:
            check_digest(part, advance)
            found = _records(part)
            if part.rows is not None and found != part.rows:
                reason = f"damaged: it has {found:,} records, not {part.rows:,} as the log says"
                raise DatasetError(part.place, reason)
        except DatasetError as error:
            damaged.append(error)
            continue
        records += found
        size += part.size or 0
    return Verified(files, records, size, without, tuple(damaged), len(of_log))


def _records(part: Part) -> int:
    count = 0
    for batch in part.rows_stored():
        _check_described(part, batch)
        try:
            count += len(from_batch(batch))
        except ConversionError as error:
            place = f"row {count} and following"
            raise DatasetError(part.place, f"damaged: {place}: {error}") from None
        del batch  # before the next one is read
    return count


def _check_described(part: Part, rows: pa.RecordBatch) -> None:
    """Checks rows against what the log says of the file, by which readers leave out files.

    Raises:
        DatasetError: They contradict each other.
    """
    import pyarrow.compute as pc  # which few commands need, and takes a while

    for name, low in part.smallest.items():
        high = part.largest.get(name)
        if name not in COUNTED or name not in rows.schema.names or low is None or high is None:
            continue
        kind = COUNTED[name]
        values = rows.column(name)
        values = values if values.type == kind else values.cast(kind)  # others have other texts
        found = pc.min_max(values)
        low, high = (pa.scalar(each).cast(kind) for each in (low, high))
        is_outside = pc.or_(pc.less(found["min"], low), pc.greater(found["max"], high))
        if is_outside.as_py():
            reason = f"its column {name} has values outside of what the log says"
            raise DatasetError(part.place, f"{reason}, so queries may leave it out")
    kind = _PARTITIONS.get(next(iter(part.partition), ""))
    if kind is not None:
        value = part.partition[kind.name]
        is_there = kind.source in rows.schema.names
        found = {each for each, _ in kind.split(rows)} if is_there else {None}
        if found != {None if value is None else str(value)}:
            raise DatasetError(part.place, f"its rows do not belong to the partition {value}")
