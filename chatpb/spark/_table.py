"""Tables: records as rows, read and written by Spark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from chatpb.spark._column import DATA, DATA_DDL, as_bytes, data_batch, local, slices
from chatpb.spark._write import write
from chatpb.table import SCHEMA, Added, Dataset, DatasetError, DatasetWriter, from_batch, to_batch
from chatpb.table._rows.conform import plain

_ROWS: Final = 1024  # that become records at once
# Before, Spark's vectorized reader refuses the encoding of log probabilities, BYTE_STREAM_SPLIT.
_READS_SPLIT_STREAMS: Final = (4, 3)


def table_schema() -> StructType:
    """The columns of a table, as Spark's types."""
    return from_arrow_schema(_COLUMNS, prefer_timestamp_ntz=False)


def to_table(records: DataFrame, column: str = DATA) -> DataFrame:
    """Records as rows of a table, lossless; see `chatpb.table.to_batch`.

    To be queried, or written by Spark to other places; its files are larger than those of
    `write_table`.

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


def read_table(
    spark: SparkSession,
    table: str | os.PathLike[str],
    *,
    version: int | datetime | None = None,
    columns: Sequence[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> DataFrame:
    """The rows of a table as it is now, or was.

    On a file system Spark reads the files itself: it reads the columns and row groups that a query
    needs. On an object store tasks of Python read them, one for each file, which needs no package
    of Hadoop; there `columns` says what is read.

    Args:
        spark: The session.
        table: The directory of the table, which all executors see, or its URI, as for
            `chatpb.table.Dataset`.
        version: The number of a commit, or a time with its zone: the table as it was then.
        columns: The names of the columns. Default: all of `table_schema`.
        storage_options: As for `chatpb.table.Dataset`.

    Raises:
        chatpb.table.DatasetError: There is no such table or version; or, without `columns`, a newer
            chatpb wrote columns that this version does not know.
    """
    dataset = Dataset(table, storage_options)
    if version is not None:
        dataset = dataset.at(version)
    parts = dataset.files()
    names = list(columns or SCHEMA.names)
    if not parts:
        return spark.createDataFrame([], table_schema()).select(*names)
    if all(part.is_local for part in parts):
        for part in parts if columns is None else ():
            part.check_known()
        if _version(spark) < _READS_SPLIT_STREAMS:
            spark.conf.set("spark.sql.parquet.enableNestedColumnVectorizedReader", "false")
        files = [local(part.path) for part in parts]
        return spark.read.schema(table_schema()).parquet(*files).select(*names)
    kinds = pa.schema([_COLUMNS.field(name) for name in names])

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0):
                part = parts[number.as_py()]
                if columns is None:
                    part.check_known()
                for rows in part.batches(names, None):
                    yield rows.cast(kinds)

    schema = from_arrow_schema(kinds, prefer_timestamp_ntz=False)
    return spark.range(0, len(parts), 1, len(parts)).mapInArrow(read, schema)


def _version(spark: SparkSession) -> tuple[int, ...]:
    return tuple(map(int, spark.version.split(".")[:2]))


def write_table(
    records: DataFrame,
    table: str | os.PathLike[str],
    *,
    append: bool = False,
    column: str = DATA,
    taken: Mapping[str, int] | None = None,
    storage_options: Mapping[str, str] | None = None,
    **options: Any,
) -> Added:
    """Writes records to a table, all or none, each once.

    Every attempt at a task writes files of its own, at their places. When the job is done, the
    driver commits those of the attempts that Spark counts, in one step. So what an executor that
    was killed, a speculative attempt or a failed job leaves is never seen, and
    `chatpb.table.Dataset.vacuum` removes it.

    Args:
        records: A table with records.
        table: The directory, which the driver and all executors see under this name, or a URI as
            for `chatpb.table.Dataset`.
        append: Whether there may be a table, to add to.
        column: The name of the column of records; the others are left out, and so is null in it.
        taken: What the records are: a number for each of some names that you choose, such as the
            number of a batch by the name of a stream. If the table has all of these or higher
            numbers already, nothing is added.
        storage_options: As for `chatpb.table.Dataset`. The executors get them too.
        **options: Of the files, as for `chatpb.table.Dataset.writer`.

    Returns:
        What was added.

    Raises:
        chatpb.table.DatasetConflictError: Another process has committed one of `taken` meanwhile.
        chatpb.table.DatasetError: There is a table, and `append` is false.
    """
    dataset = Dataset(_absolute(table), storage_options)
    if not append and dataset.exists():
        raise DatasetError(dataset.uri, "there is a table already; append=True adds to it")
    with dataset.writer(**options) as writer:
        if taken and _has(writer, taken):
            return writer.added
        write(records.select(as_bytes(column)), dataset, writer, _fill, options)
        writer.taken |= taken or {}
    return writer.added


def _fill(writer: DatasetWriter, batches: Iterable[pa.RecordBatch]) -> Mapping[str, int]:
    for batch in batches:
        for data in batch.column(0).drop_null():
            writer.write(data.as_py())
    return {}


def _has(writer: DatasetWriter, taken: Mapping[str, int]) -> bool:
    before = writer.taken_before("")
    return all(before.get(name, number - 1) >= number for name, number in taken.items())


def _absolute(table: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """A table as the executors find it, which are in other directories."""
    return table if isinstance(table, str) and "://" in table else Path(table).absolute()


_COLUMNS: Final = pa.schema([field.with_type(plain(field.type)) for field in SCHEMA])
