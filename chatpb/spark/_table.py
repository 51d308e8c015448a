"""Tables: records as rows, read and written by Spark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from chatpb.spark._column import DATA, DATA_DDL, as_bytes, data_batch, local, slices
from chatpb.spark._write import write
from chatpb.table import SCHEMA, Added, Dataset, from_batch, to_batch

_ROWS: Final = 1024  # that become records at once
# Before, Spark's vectorized reader refuses the encoding of log probabilities, BYTE_STREAM_SPLIT.
_READS_SPLIT_STREAMS: Final = (4, 3)


def table_schema() -> StructType:
    """The columns of a table, as Spark's types."""
    return from_arrow_schema(_COLUMNS, prefer_timestamp_ntz=False)


def to_table(records: DataFrame, column: str = DATA) -> DataFrame:
    """Records as rows of a table, lossless; see `chatpb.table.to_batch`.

    To be queried, or written by Spark where `write_table` cannot, as on an object store; its
    files are larger than those of `write_table`.

    The law: ``from_table(to_table(records))`` holds the same records.

    Args:
        records: A table with records.
        column: The name of their column; the others are left out, and so is null in it.
    """

    def convert(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        columns = (batch.column(0).drop_null() for batch in batches)
        for some in slices(data.as_py() for column in columns for data in column):
            yield to_batch(some).cast(_COLUMNS)

    return records.select(as_bytes(column)).mapInArrow(convert, table_schema())


def from_table(rows: DataFrame) -> DataFrame:
    """Rows of a table as the records that they were made of, in the column ``data``.

    Args:
        rows: Rows with all columns of `table_schema`, such as those of `read_table`, filtered.
    """

    def convert(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                yield data_batch(from_batch(batch.slice(start, _ROWS)))

    return rows.select(*SCHEMA.names).mapInArrow(convert, DATA_DDL)


def read_table(spark: SparkSession, path: str | os.PathLike[str]) -> DataFrame:
    """A table as Spark reads Parquet: columns that are not used are not read, filters pushed down.

    Args:
        spark: The session.
        path: The directory of the table, which all executors see; or, with a scheme such as
            ``s3a://``, what Spark reads Parquet files from.

    Raises:
        chatpb.table.DatasetError: There is no such table.
    """
    if _version(spark) < _READS_SPLIT_STREAMS:
        spark.conf.set("spark.sql.parquet.enableNestedColumnVectorizedReader", "false")
    where = os.fspath(path)
    parts = [where] if "://" in where else [local(part.path) for part in Dataset(where).files()]
    reader = spark.read.schema(table_schema())
    return reader.parquet(*parts) if parts else spark.createDataFrame([], table_schema())


def _version(spark: SparkSession) -> tuple[int, ...]:
    return tuple(map(int, spark.version.split(".")[:2]))


def write_table(
    records: DataFrame,
    path: str | os.PathLike[str],
    *,
    append: bool = False,
    column: str = DATA,
    **options: Any,
) -> Added:
    """Writes records to a table, all or none, each once.

    Every attempt at a task writes its files where no other does. When the job is done the driver
    commits those of the attempts that Spark counts, in one step. So what an executor that was
    killed, a speculative attempt or a failed job leaves is never seen.

    Args:
        records: A table with records.
        path: The directory, which the driver and all executors see under this name.
        append: Whether there may be a table, to add to.
        column: The name of the column of records; the others are left out, and so is null in it.
        **options: Of the files, as for `chatpb.table.Dataset.writer`.

    Returns:
        What was added.

    Raises:
        chatpb.table.DatasetError: There is a table, and `append` is false.
    """
    return write(records.select(as_bytes(column)), Dataset(Path(path).absolute()), append, options)


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type without dictionaries, which Spark does not have."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind


_COLUMNS: Final = pa.schema([field.with_type(_plain(field.type)) for field in SCHEMA])
