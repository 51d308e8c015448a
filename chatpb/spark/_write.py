"""How a Spark job adds to a table: any number of attempts, one commit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame, Row

from chatpb.table import Dataset, DatasetWriter

#: Writes what a task is given, and returns what it took of which input: versions of app
#: transactions by their IDs.
Fill = Callable[[DatasetWriter, Iterable[pa.RecordBatch]], Mapping[str, int]]

_RESULT: Final = "task int, written binary"
_SCHEMA: Final = pa.schema([("task", pa.int32()), ("written", pa.binary())])


def write(
    rows: DataFrame, dataset: Dataset, writer: DatasetWriter, fill: Fill, options: Mapping[str, Any]
) -> None:
    """Runs a job whose tasks write files of a table, and gives the files to the driver's writer.

    Spark takes one result of each task, whatever becomes of its other attempts. Files of the others
    are never committed, and `vacuum` removes them.

    Args:
        rows: What the tasks are given.
        dataset: The table.
        writer: The driver's writer, which commits at the end of its block.
        fill: The work of a task.
        options: Those of `Dataset.writer`.
    """
    results = rows.mapInArrow(_attempt(dataset, fill, options), _RESULT).collect()
    _take(writer, sorted(results, key=lambda result: result.task))


def _attempt(dataset: Dataset, fill: Fill, options: Mapping[str, Any]) -> Any:
    """The work of a task: writes files, and reports them."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        assert context is not None
        with dataset.detached_writer(**options) as writer:
            taken = dict(fill(writer, batches))
            written = writer.finish()
        if written.files or taken:
            result = {
                "task": context.partitionId(),
                "written": pickle.dumps((written, taken)),
            }
            yield pa.RecordBatch.from_pylist([result], schema=_SCHEMA)

    return run


def _take(writer: DatasetWriter, results: list[Row]) -> None:
    """Takes what tasks wrote, in their order: a table is read in the order of its files' times."""
    last = 0
    for result in results:
        written, taken = pickle.loads(result.written)
        files = []
        for file in written.files:
            last = max(last + 1, file.time)
            files.append(replace(file, time=last))
        writer.take(replace(written, files=tuple(files)))
        writer.taken |= taken
