"""Delta's statistics of the columns of a file, by which readers skip files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from chatpb.table._rows.columns import SCHEMA
from chatpb.table._rows.kernels import kernel

if TYPE_CHECKING:
    import pyarrow.compute as pc

_LETTERS: Final = 32  # of a text, as Delta's other writers keep
_LAST: Final = "\U0010ffff"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _is_counted(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_string(kind)
    )


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


#: The columns with the smallest and the largest value.
COUNTED: Final = {
    field.name: _value_type(field.type) for field in SCHEMA if _is_counted(_value_type(field.type))
}


class Statistics:
    """Gathers the statistics of a file from its rows."""

    def __init__(self) -> None:
        self.rows = 0
        self._nulls = dict.fromkeys(COUNTED, 0)
        self._smallest: dict[str, Any] = {}
        self._largest: dict[str, Any] = {}
        self._unknown: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        """Takes rows of the file, which may lack columns that are null."""
        for name, kind in COUNTED.items():
            if name not in rows.schema.names:
                self._nulls[name] += rows.num_rows
                continue
            values = rows.column(name)
            self._nulls[name] += values.null_count
            if values.null_count == len(values):
                continue
            if pa.types.is_dictionary(values.type):
                values = kernel("dictionary_decode", values)
            self._widen(name, kind, values)
        self.rows += rows.num_rows

    def _widen(self, name: str, kind: pa.DataType, values: pa.ChunkedArray) -> None:
        if pa.types.is_timestamp(kind):
            values = pa.chunked_array([each.view(pa.int64()) for each in values.chunks])
        found = kernel("min_max", values)
        low, high = found["min"].as_py(), found["max"].as_py()
        if isinstance(low, float) and not (math.isfinite(low) and math.isfinite(high)):
            self._unknown.add(name)
        self._smallest[name] = min(self._smallest.get(name, low), low)
        self._largest[name] = max(self._largest.get(name, high), high)

    def json(self) -> str:
        """The statistics, as Delta has them."""
        smallest: dict[str, Any] = {}
        largest: dict[str, Any] = {}
        for name, kind in COUNTED.items():
            if name not in self._smallest or name in self._unknown:
                continue
            low, high = self._smallest[name], self._largest[name]
            if pa.types.is_timestamp(kind):
                low, high = _time(low, up=False), _time(high, up=True)
            elif isinstance(low, str):
                low, high = low[:_LETTERS], _at_least(high)
            if low is not None and high is not None:
                smallest[name], largest[name] = low, high
        members = {
            "numRecords": self.rows,
            "minValues": smallest,
            "maxValues": largest,
            "nullCount": self._nulls,
        }
        # Delta's client misreads escapes of letters from U+20000 on.
        return json.dumps(members, separators=(",", ":"), ensure_ascii=False)


def _at_least(text: str) -> str | None:
    """A short text that does not sort before another one; None if there is none."""
    if len(text) <= _LETTERS:
        return text
    return None if text[_LETTERS] == _LAST else text[:_LETTERS] + _LAST


def _time(microseconds: int, *, up: bool) -> str | None:
    """A time in milliseconds, which is all that every reader understands."""
    milliseconds = -(-microseconds // 1000) if up else microseconds // 1000
    try:
        time = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"


def guarantee(smallest: dict[str, Any], largest: dict[str, Any]) -> Iterator[pc.Expression]:
    """What the statistics of a file say of all its rows."""
    import pyarrow.compute as pc  # takes time, see `kernels`

    for name, low in smallest.items():
        high = largest.get(name)
        if name in COUNTED and low is not None and high is not None:
            kind = COUNTED[name]
            column = pc.field(name)
            # Arrow understands comparisons in this form only.
            yield (column >= pa.scalar(low).cast(kind)) | column.is_null()
            yield (column <= pa.scalar(high).cast(kind)) | column.is_null()
