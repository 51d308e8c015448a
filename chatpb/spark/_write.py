"""How a Spark job adds to a table: any number of attempts, one commit."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame

from chatpb.table import Added, Dataset, DatasetError

_RESULT: Final = "task int, written binary"
_SCHEMA: Final = pa.schema([("task", pa.int32()), ("written", pa.binary())])


def write(records: DataFrame, dataset: Dataset, append: bool, options: Mapping[str, Any]) -> Added:
    """Adds records to a table, see `chatpb.spark.write_table`.

    Args:
        records: A column of records in binary form.
        dataset: The table.
        append: Whether there may be a table.
        options: Those of `Dataset.writer`.
    """
    if not append and dataset.exists():
        raise DatasetError(dataset.uri, "there is a table already; append=True adds to it")
    # A row for each task whatever became of its other attempts: Spark sees to that. What the others
    # wrote is never committed, and `vacuum` removes it.
    tasks = records.mapInArrow(_attempt(dataset, options), _RESULT).collect()
    with dataset.writer(**options) as writer:
        for task in sorted(tasks, key=lambda task: task.task):
            writer.take(pickle.loads(task.written))
    return writer.added


def _attempt(dataset: Dataset, options: Mapping[str, Any]) -> Any:
    """The work of a task: writes files, and reports them."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        with dataset.detached_writer(**options) as writer:
            for batch in batches:
                for data in batch.column(0).drop_null():
                    writer.write(data.as_py())
            written = writer.finish()
        if written.files:
            result = {"task": context.partitionId(), "written": pickle.dumps(written)}
            yield pa.RecordBatch.from_pylist([result], schema=_SCHEMA)

    return run
