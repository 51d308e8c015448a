"""Columns of bytes, and records in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql.functions import col
from pyspark.sql.pandas import functions
from pyspark.sql.types import DataType

from chatpb._errors import ConversionError

Errors = Literal["raise", "null"]

DATA: Final = "data"
DATA_DDL: Final = f"{DATA} binary"
_BATCH_BYTES: Final = 16 << 20  # of records that go to Spark, or become rows, at once
_BATCH_ROWS: Final = 10_000


def check(errors: str) -> None:
    """Refuses a value other than `Errors`, before a job does."""
    if errors not in ("raise", "null"):
        raise ValueError(f"errors is {errors!r}; expected raise or null")


def as_bytes(column: Column | str) -> Column:
    """The column as bytes: strings too, since Spark lets those be no UTF-8."""
    return (col(column) if isinstance(column, str) else column).cast("binary")


def udf(convert: Callable[[pa.Array], pa.Array], kind: DataType | str) -> Callable[..., Column]:
    """A function over the Arrow arrays of a column, as one of Spark."""
    arrow_udf: Any = functions.arrow_udf  # its type requires a third argument
    result: Callable[..., Column] = arrow_udf(convert, kind)
    return result


def converted(
    values: pa.Array, errors: Errors, convert: Callable[[bytes], bytes | None]
) -> pa.Array:
    """What a function makes of the values that are not null, as bytes."""

    def one(value: pa.Scalar) -> bytes | None:
        data = value.as_py()
        try:
            return None if data is None else convert(data)
        except ConversionError:
            if errors == "raise":
                raise
            return None

    return pa.array(map(one, values), pa.binary(), size=len(values))


def slices(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The records in lists of bounded size."""
    some: list[bytes] = []
    size = 0
    for record in records:
        if some and (size + len(record) > _BATCH_BYTES or len(some) == _BATCH_ROWS):
            yield some
            some, size = [], 0
        some.append(record)
        size += len(record)
    if some:
        yield some


def data_batch(records: list[bytes] | pa.Array) -> pa.RecordBatch:
    """Records as a column."""
    return pa.record_batch([pa.array(records, pa.binary())], [DATA])


def local(path: str | os.PathLike[str]) -> str:
    """A path of the file system as Spark takes it, whatever its own file system is."""
    return f"file://{Path(path).absolute()}"
