"""The rows of a query, written as text for people, CSV, JSON lines or Parquet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet

from chatpb._cli.failure import CliError, printable
from chatpb.table._sql.statements import Result

_Plain = Callable[[Any], Any]

_SAMPLE: Final = 1000  # rows whose values make the widths of a table
_CELL: Final = 60  # characters; longer values are cut in a table
_NULL: Final = "NULL"
_SPECIAL: Final = re.compile(r'[",\r\n]|^\s|\s$')


class Form(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class Writer(Protocol):
    """Writes the rows of one query."""

    def write(self, rows: pa.RecordBatch) -> None:
        """Writes some rows."""

    def close(self) -> None:
        """Writes the end."""


def write_rows(result: Result, out: BinaryIO, form: Form) -> None:
    """Writes the rows of a query while they come.

    Raises:
        CliError: Parquet has no such type.
        QueryError: The query fails.
    """
    schema = _distinct(result.schema)
    writer = _WRITERS[form](schema, out)
    for rows in result.batches:
        writer.write(pa.RecordBatch.from_arrays(rows.columns, schema=schema))
    writer.close()


def _distinct(schema: pa.Schema) -> pa.Schema:
    """The columns with names of their own: a, a_1, a_2."""
    names: list[str] = []
    for name in schema.names:
        unique, number = name, 0
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        names.append(unique)
    return pa.schema([each.with_name(name) for each, name in zip(schema, names, strict=True)])


class _Json:
    """One object a line."""

    def __init__(self, schema: pa.Schema, out: BinaryIO) -> None:
        self._out = out
        self._names = schema.names
        self._plain = [_plain(each.type) for each in schema]

    def write(self, rows: pa.RecordBatch) -> None:
        columns = [_values(*each) for each in zip(rows.columns, self._plain, strict=True)]
        for row in zip(*columns, strict=True):
            self._out.write(_dumped(dict(zip(self._names, row, strict=True))) + b"\n")

    def close(self) -> None:
        pass


class _Csv:
    """Values as JSON has them, texts without quotes of JSON; null is nothing, an empty text ""."""

    def __init__(self, schema: pa.Schema, out: BinaryIO) -> None:
        self._out = out
        self._plain = [_plain(each.type) for each in schema]
        self._lines([schema.names])

    def write(self, rows: pa.RecordBatch) -> None:
        columns = [_values(*each) for each in zip(rows.columns, self._plain, strict=True)]
        self._lines(
            [None if value is None else _text(value) for value in row]
            for row in zip(*columns, strict=True)
        )

    def _lines(self, rows: Iterable[Sequence[str | None]]) -> None:
        for row in rows:
            self._out.write(",".join(map(_quoted, row)).encode() + b"\n")

    def close(self) -> None:
        pass


class _Parquet:
    def __init__(self, schema: pa.Schema, out: BinaryIO) -> None:
        try:
            self._writer = pa.parquet.ParquetWriter(out, schema, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise CliError(f"sql: {error}; cast the column to another type") from None

    def write(self, rows: pa.RecordBatch) -> None:
        self._writer.write_batch(rows)

    def close(self) -> None:
        self._writer.close()


class _Table:
    """Columns of text, as wide as the first rows need."""

    def __init__(self, schema: pa.Schema, out: BinaryIO) -> None:
        self._out = out
        self._schema = schema
        self._plain = [_plain(each.type) for each in schema]
        self._right = [
            pa.types.is_integer(each.type)
            or pa.types.is_floating(each.type)
            or pa.types.is_decimal(each.type)
            for each in schema
        ]
        self._waiting: list[list[str]] = []
        self._widths: list[int] = []
        self._count = 0

    def write(self, rows: pa.RecordBatch) -> None:
        columns = [_values(*each) for each in zip(rows.columns, self._plain, strict=True)]
        limit = self._limit()
        for row in zip(*columns, strict=True):
            self._waiting.append([_cell(value, limit) for value in row])
            self._count += 1
            if not self._widths and len(self._waiting) == _SAMPLE:
                self._measure()
        if self._widths:
            self._flush()

    def close(self) -> None:
        if not self._widths:
            self._measure()
        self._flush()
        rows = "row" if self._count == 1 else "rows"
        self._out.write(f"({self._count:,} {rows})\n".encode())

    def _limit(self) -> int:
        """The characters of a cell: a lone column may fill the terminal."""
        if len(self._schema.names) > 1:
            return _CELL
        return max(shutil.get_terminal_size().columns - 1, _CELL)

    def _measure(self) -> None:
        names = [_cell(name, self._limit()) for name in self._schema.names]
        self._widths = [
            max(map(len, column)) for column in zip(names, *self._waiting, strict=True)
        ] or [0]
        self._print(names)
        self._print(["-" * width for width in self._widths])

    def _flush(self) -> None:
        for row in self._waiting:
            self._print(row)
        self._waiting.clear()

    def _print(self, row: Sequence[str]) -> None:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, self._widths, self._right, strict=True)
        ]
        self._out.write("  ".join(cells).rstrip().encode() + b"\n")


_WRITERS: Final[dict[Form, Callable[[pa.Schema, BinaryIO], Writer]]] = {
    Form.TABLE: _Table,
    Form.CSV: _Csv,
    Form.JSON: _Json,
    Form.PARQUET: _Parquet,
}


def _values(column: pa.Array, plain: Callable[[Any], Any] | None) -> Iterator[Any]:
    values = column.to_pylist(maps_as_pydicts="lossy")
    return iter(values) if plain is None else map(plain, values)


def _plain(kind: pa.DataType) -> _Plain | None:
    """How a value of a type becomes one of JSON; None: it is one."""
    if pa.types.is_float32(kind):
        return _unless_null(lambda value: float(str(np.float32(value))))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _unless_null(list)  # the numbers of the bytes, as in OpenAI's "bytes"
    if pa.types.is_timestamp(kind):
        return _unless_null(_time)
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return _unless_null(lambda value: value.isoformat())
    if pa.types.is_interval(kind):
        return _unless_null(_duration)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _unless_null(_list(_plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return _unless_null(_struct({each.name: _plain(each.type) for each in kind}))
    if pa.types.is_map(kind):
        return _unless_null(_map(_plain(kind.item_type)))
    return None


def _unless_null(plain: _Plain) -> _Plain:
    return lambda value: None if value is None else plain(value)


def _list(plain: _Plain | None) -> _Plain:
    return lambda value: value if plain is None else list(map(plain, value))


def _struct(parts: dict[str, _Plain | None]) -> _Plain:
    changed = {name: plain for name, plain in parts.items() if plain is not None}
    return lambda value: value | {name: plain(value[name]) for name, plain in changed.items()}


def _map(plain: _Plain | None) -> _Plain:
    return lambda value: {
        str(key): item if plain is None else plain(item) for key, item in value.items()
    }


def _time(value: datetime) -> str:
    """A time as ISO 8601; one with a zone in UTC."""
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _duration(value: pa.MonthDayNano) -> str:
    """An interval as a duration of ISO 8601, such as P1DT2.5S; its parts may be negative."""
    seconds = f"{Decimal(value.nanoseconds).scaleb(-9):f}".rstrip("0").rstrip(".")
    parts = f"P{value.months}M" if value.months else "P"
    parts += f"{value.days}D" if value.days else ""
    return parts if parts != "P" and not value.nanoseconds else f"{parts}T{seconds}S"


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, default=_other, option=orjson.OPT_NON_STR_KEYS)


def _other(value: Any) -> Any:
    if isinstance(value, Decimal):  # of sums too, which may have more than 64 bits
        return orjson.Fragment(format(value, "f") if value.is_finite() else "null")
    return str(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _dumped(value).decode()


def _quoted(text: str | None) -> str:
    """A value of CSV. Python's own module cannot tell null from an empty text before 3.12."""
    if text is None:
        return ""
    return '"' + text.replace('"', '""') + '"' if not text or _SPECIAL.search(text) else text


def _cell(value: Any, limit: int) -> str:
    if value is None:
        return _NULL
    text = _text(value)
    cut = text[: limit + 1].replace("\n", "\\n")
    return printable(cut if len(text) <= limit and len(cut) <= limit else cut[: limit - 1] + "…")
