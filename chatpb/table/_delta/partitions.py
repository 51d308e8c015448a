"""Partitions: which files the rows of a table go to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

_DAY: Final = "%Y-%m-%d"
_MONTH: Final = "%Y-%m"


@dataclass(frozen=True)
class Partitioning:
    """A column by which the files of a table are apart. Only Delta's log has it, not the files.

    Attributes:
        name: Its name.
        type: Its type, in Delta's words.
        source: The column that it is made of.
        form: How a time is written; None: the values are those of the source.
    """

    name: str
    type: str
    source: str
    form: str | None = None

    def split(self, rows: pa.RecordBatch) -> Iterator[tuple[str | None, pa.RecordBatch]]:
        """The rows of each value, in order."""
        import pyarrow.compute as pc  # takes time, see `kernels`

        if self.source not in rows.schema.names:  # null in all rows
            yield None, rows
            return
        keys = rows.column(self.source)
        if pa.types.is_dictionary(keys.type):
            keys = keys.cast(pa.string())
        if self.form is not None:
            keys = pc.strftime(keys, self.form)
        values = keys.unique().to_pylist()
        if len(values) == 1:
            yield values[0] or None, rows
            return
        for value in values:
            mask = pc.is_null(keys) if value is None else pc.equal(keys, value)
            yield value or None, rows.filter(mask)  # Delta takes an empty text for null


#: What `--partition-by` takes.
PARTITIONINGS: Final[Mapping[str, Partitioning]] = {
    "day": Partitioning("partition_day", "date", "start_time", _DAY),
    "month": Partitioning("partition_month", "string", "start_time", _MONTH),
    "model": Partitioning("partition_model", "string", "model"),
    "caller": Partitioning("partition_caller", "string", "caller"),
}


def partitioning_of(columns: tuple[str, ...]) -> Partitioning | None:
    """The partitioning of a table with these partition columns.

    Raises:
        LookupError: It is not one of chatpb's.
    """
    if not columns:
        return None
    found = next((each for each in PARTITIONINGS.values() if (each.name,) == columns), None)
    if found is None:
        raise LookupError(columns)
    return found
